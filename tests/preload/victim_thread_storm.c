/* Ten thousand short threads (argument: how many), eight at a time, joined and detached; each allocates, frees some, and
 * leaves the rest to main, which checks and frees them. Memory stays bounded: the peak of RSS, less what it was after the
 * first tenth, is no more than a few MiB.
 */
#include "victim.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

enum { AT_ONCE = 8, LEFT = 24 };

static void *left[AT_ONCE][LEFT];
static atomic_int detached_alive;

static size_t size_of(int i)
{
	return (size_t)(i % LEFT == 7 ? 60000 : i * 53 % 1500);
}

static void *body(void *arg)
{
	void **mine = arg;
	for (int i = 0; i < 3 * LEFT; i++) {
		void *p = malloc(size_of(i));
		CHECK(p, "malloc gives NULL");
		if (i % 3 == 0) {
			mine[i / 3] = p;
			fill(p, size_of(i), (uint64_t)i);
		} else {
			free(p);
		}
	}
	return NULL;
}

static void *detached_body(void *p)
{
	free(p);
	free(kept(malloc(777)));
	detached_alive--;
	return NULL;
}

static void wave(void)
{
	pthread_t t[AT_ONCE];
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (int i = 0; i < AT_ONCE - 1; i++) {
		CHECK(pthread_create(&t[i], NULL, body, left[i]) == 0, "pthread_create");
	}
	while (detached_alive > 50) {
		sched_yield();
	}
	detached_alive++;
	CHECK(pthread_create(&t[AT_ONCE - 1], &attr, detached_body, malloc(99)) == 0, "pthread_create, detached");
	for (int i = 0; i < AT_ONCE - 1; i++) {
		pthread_join(t[i], NULL);
		for (int k = 0; k < LEFT; k++) {
			size_t n = size_of(3 * k);
			CHECK(first_wrong(left[i][k], n, (uint64_t)(3 * k)) == n, "a block of a thread that is gone is damaged");
			free(left[i][k]);
		}
	}
}

static long peak_kib(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss;
}

int main(int argc, char **argv)
{
	int waves = (argc > 1 ? atoi(argv[1]) : 10000) / AT_ONCE;
	for (int i = 0; i < waves / 10; i++) {
		wave();
	}
	long first = peak_kib();
	for (int i = 0; i < waves - waves / 10; i++) {
		wave();
	}
	CHECK(peak_kib() - first < 6 * 1024, "RSS grew by %ld KiB over %d threads", peak_kib() - first, waves * AT_ONCE);
	return victim_ok();
}
