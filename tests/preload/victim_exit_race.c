/* The process ends while its threads allocate, free and end: the report is written beside them. The argument says how:
 * exit, _exit, quick_exit, return, or exit in a thread. The status is 0 whichever way.
 */
#include "victim.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 5, SLOTS = 256 };

static _Atomic(void *) exchange[SLOTS];
static atomic_int running;

static void *body(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	running++;
	for (;;) {
		uint64_t r = next_random(&seed);
		void *p = malloc(r % 50 == 0 ? (r >> 20) % 200000 : (r >> 20) % 1000);
		free(atomic_exchange(&exchange[(r >> 40) % SLOTS], p));
	}
	return NULL;
}

static void *nothing(void *unused)
{
	return kept(unused);
}

static void *breed(void *unused)
{
	running++;
	for (;;) {
		pthread_t t;
		if (pthread_create(&t, NULL, nothing, malloc(100)) == 0) {
			pthread_join(t, NULL);
		}
	}
	return unused;
}

static void *leave(void *unused)
{
	(void)unused;
	exit(victim_ok());
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "exit";
	pthread_t t;
	for (uintptr_t i = 0; i < THREADS; i++) {
		CHECK(pthread_create(&t, NULL, i ? body : breed, (void *)i) == 0, "pthread_create");
	}
	while (running < THREADS) {
		free(kept(malloc(10)));
	}
	for (size_t i = 0; i < 3000; i++) {
		free(kept(malloc(i)));
	}
	if (strcmp(how, "_exit") == 0) {
		_exit(victim_ok());
	}
	if (strcmp(how, "quick_exit") == 0) {
		quick_exit(victim_ok());
	}
	if (strcmp(how, "thread") == 0) {
		pthread_create(&t, NULL, leave, NULL);
		for (;;) {
			free(kept(malloc(20)));
		}
	}
	if (strcmp(how, "return") == 0) {
		return victim_ok();
	}
	exit(victim_ok());
}
