/* Threads that only free, blocks of every range, while the owner allocates on; and a thread that only reallocates what
 * others made. The freeing threads need no memory of their own: RSS does not grow with their
 * number. (Any argument leaves RSS out: for runs in which another allocator serves.)
 */
#include "victim.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/resource.h>

enum { BLOCKS = 4000, FREERS = 200 };

static void *block[BLOCKS];

static size_t size_of(size_t i)
{
	return i % 100 == 3 ? 100000 : i % 10 == 1 ? 5000 : i % 600;
}

static void allocate_all(void)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		block[i] = malloc(size_of(i));
		CHECK(block[i], "malloc gives NULL");
		fill(block[i], size_of(i) < 64 ? size_of(i) : 64, i);
	}
}

static void *free_all(void *arg)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		size_t at = (i * 1013 + (uintptr_t)arg) % BLOCKS, look = size_of(at) < 64 ? size_of(at) : 64;
		CHECK(first_wrong(block[at], look, at) == look, "block %zu is damaged", at);
		free(block[at]);
	}
	return NULL;
}

static void *resize_all(void *unused)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		size_t n = size_of((i + 37) % BLOCKS) + 1, look = size_of(i) < n ? size_of(i) : n;
		look = look < 64 ? look : 64;
		block[i] = realloc(block[i], n);
		CHECK(block[i] && first_wrong(block[i], look, i) == look, "block %zu is damaged by realloc", i);
		block[i] = realloc(block[i], size_of(i) + 1);
		CHECK(block[i], "realloc gives NULL");
		fill(block[i], size_of(i) < 64 ? size_of(i) : 64, i);
	}
	return unused;
}

static void in_thread(void *(*body)(void *), uintptr_t arg)
{
	pthread_t t;
	CHECK(pthread_create(&t, NULL, body, (void *)arg) == 0, "pthread_create");
	pthread_join(t, NULL);
}

int main(int argc, char **argv)
{
	(void)argv;
	long first = 0;
	for (uintptr_t i = 0; i < FREERS; i++) {
		struct rusage u;
		allocate_all();
		if (i % 4 == 0) {
			in_thread(resize_all, 0);
		}
		in_thread(free_all, i);
		getrusage(RUSAGE_SELF, &u);
		if (i == FREERS / 4) {
			first = u.ru_maxrss;
		}
		CHECK(argc > 1 || !first || u.ru_maxrss - first < 8 * 1024, "RSS grew from %ld KiB to %ld KiB", first,
		      u.ru_maxrss);
	}
	return victim_ok();
}
