/* A short process full of threads that end with live blocks, some of them while others free these, some in main's exit.
 * Run hundreds of times by its driver.
 */
#include "victim.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 48, SLOTS = 128 };

static _Atomic(void *) exchange[SLOTS];

static void *body(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	for (int i = 0; i < 400; i++) {
		uint64_t r = next_random(&seed);
		free(atomic_exchange(&exchange[(r >> 40) % SLOTS], malloc(r % 60 == 0 ? 50000 : (r >> 20) % 900)));
	}
	return NULL;
}

int main(void)
{
	pthread_t t[THREADS];
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (uintptr_t i = 0; i < THREADS; i++) {
		CHECK(pthread_create(&t[i], i % 3 ? NULL : &attr, body, (void *)i) == 0, "pthread_create");
	}
	for (int i = 0; i < THREADS; i++) {
		if (i % 3) {
			pthread_join(t[i], NULL);
		}
	}
	return victim_ok();
}
