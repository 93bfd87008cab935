/* One thread only allocates, one only frees, through a ring: what test_one_way.py holds the peak of RSS of against
 * another allocator's. Argument: blocks to pass.
 */
#include "victim.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { RING = 60000 };

static _Atomic(void *) ring[RING];
static size_t blocks_max = 3000000;

static size_t size_of(size_t i)
{
	return i % 300 == 0 ? 6000 : 16 + i * 7919 % 900;
}

static void *produce(void *unused)
{
	for (size_t i = 0; i < blocks_max; i++) {
		void *p = malloc(size_of(i));
		CHECK(p, "malloc gives NULL");
		memset(p, 1, size_of(i));
		while (atomic_load(&ring[i % RING])) {
			sched_yield();
		}
		atomic_store(&ring[i % RING], p);
	}
	return unused;
}

static void *consume(void *unused)
{
	for (size_t i = 0; i < blocks_max; i++) {
		void *p;
		while (!(p = atomic_exchange(&ring[i % RING], NULL))) {
			sched_yield();
		}
		free(p);
	}
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t t[2];
	blocks_max = argc > 1 ? strtoull(argv[1], NULL, 10) : blocks_max;
	CHECK(pthread_create(&t[0], NULL, produce, NULL) == 0, "pthread_create");
	CHECK(pthread_create(&t[1], NULL, consume, NULL) == 0, "pthread_create");
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	return victim_ok();
}
