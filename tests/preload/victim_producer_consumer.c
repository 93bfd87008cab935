/* One thread only allocates, one only frees, as in a pipeline, through a ring of bounded size: memory stays near the live
 * bytes for ever. (A famous allocator went from 437 MiB to 1.77 GiB here.) Then many producers and consumers, threads that
 * take over from threads that ended, and a consumer that lags and catches up. Argument: blocks per phase.
 */
#include "victim.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { RING = 20000, PAIRS_MAX = 3 };

static size_t blocks_max = 600000;

struct ring {
	_Atomic(void *) slot[RING];
	atomic_size_t produced, consumed;
};

static struct ring rings[PAIRS_MAX];
static atomic_size_t live_max, live;

static size_t size_of(size_t i)
{
	return i % 200 == 0 ? 20000 : 16 + i * 7919 % 900;
}

static void *produce(void *arg)
{
	struct ring *r = arg;
	for (size_t i = 0; i < blocks_max; i++) {
		while (atomic_load(&r->produced) - atomic_load(&r->consumed) >= RING) {
			sched_yield();
		}
		size_t n = size_of(i);
		void *p = malloc(n);
		CHECK(p, "malloc gives NULL");
		memset(p, 1, n);
		size_t now = atomic_fetch_add(&live, n) + n;
		if (now > atomic_load(&live_max)) {
			atomic_store(&live_max, now); /* races lose a little, which only makes the test stricter */
		}
		atomic_store(&r->slot[atomic_load(&r->produced) % RING], p);
		atomic_fetch_add(&r->produced, 1);
	}
	return NULL;
}

/* Lags: lets the ring fill, empties it, lets it fill again. */
static void *consume(void *arg)
{
	struct ring *r = arg;
	for (size_t i = 0; i < blocks_max; i++) {
		while (atomic_load(&r->produced) == atomic_load(&r->consumed)) {
			sched_yield();
		}
		if (i % (4 * RING) == 0) {
			while (atomic_load(&r->produced) - atomic_load(&r->consumed) < RING / 2 && i + RING < blocks_max) {
				sched_yield();
			}
		}
		void *p = atomic_load(&r->slot[atomic_load(&r->consumed) % RING]);
		free(p);
		atomic_fetch_sub(&live, size_of(i));
		atomic_fetch_add(&r->consumed, 1);
	}
	return NULL;
}

static size_t peak_bytes(void)
{
	char line[256];
	size_t kib = 0;
	FILE *f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "VmHWM: %zu", &kib) == 1) {
			break;
		}
	}
	CHECK(f && kib, "no VmHWM");
	fclose(f);
	return kib * 1024;
}

static void phase(int pairs)
{
	pthread_t t[2 * PAIRS_MAX];
	for (int i = 0; i < pairs; i++) {
		CHECK(pthread_create(&t[2 * i], NULL, produce, &rings[i]) == 0, "pthread_create");
		CHECK(pthread_create(&t[2 * i + 1], NULL, consume, &rings[i]) == 0, "pthread_create");
	}
	for (int i = 0; i < 2 * pairs; i++) {
		pthread_join(t[i], NULL);
	}
}

int main(int argc, char **argv)
{
	blocks_max = argc > 1 ? strtoull(argv[1], NULL, 10) : blocks_max;
	size_t before = peak_bytes();
	phase(1);
	for (int round = 0; round < 3; round++) {
		phase(1); /* new threads, which must find what the old ones left */
		phase(PAIRS_MAX);
	}
	size_t grown = peak_bytes() - before, bound = live_max + live_max / 2 + 12 * MIB;
	CHECK(live == 0, "the victim lost count: %zu", (size_t)live);
	CHECK(grown <= bound, "RSS grew by %zu KiB for %zu KiB of live blocks", grown / 1024, (size_t)live_max / 1024);
	return victim_ok();
}
