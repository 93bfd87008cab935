/* A thread allocates much and sleeps for good; another frees all of it. The memory goes back to the system though the
 * owner never moves again: at malloc_trim at the latest. What may stay is a fraction, and no more after further rounds.
 */
#include "victim.h"

#include <malloc.h>
#include <pthread.h>

enum { ROUNDS = 4, BLOCKS = 400000 };

static void *block[BLOCKS];
static pthread_barrier_t full, end;

static size_t size_of(size_t i)
{
	return i % 500 == 3 ? 9000 : 16 + i * 7919 % 400;
}

static void *allocate_and_sleep(void *unused)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		block[i] = malloc(size_of(i));
		CHECK(block[i], "malloc gives NULL");
		memset(block[i], (int)i, size_of(i));
	}
	pthread_barrier_wait(&full);
	pthread_barrier_wait(&end);
	return unused;
}

static void *free_all(void *unused)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		size_t at = i * 1013 % BLOCKS;
		CHECK(*(unsigned char *)block[at] == (unsigned char)at, "block %zu is damaged", at);
		free(block[at]);
	}
	return unused;
}

static size_t resident_bytes(void)
{
	size_t pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	CHECK(f && fscanf(f, "%*u %zu", &pages) == 1, "no statm");
	fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

int main(void)
{
	pthread_t sleeper[ROUNDS], freer;
	size_t before = resident_bytes(), with = 0, left = 0;
	pthread_barrier_init(&full, NULL, 2);
	pthread_barrier_init(&end, NULL, ROUNDS + 1);
	for (int round = 0; round < ROUNDS; round++) {
		CHECK(pthread_create(&sleeper[round], NULL, allocate_and_sleep, NULL) == 0, "pthread_create");
		pthread_barrier_wait(&full);
		with = round ? with : resident_bytes() - before;
		CHECK(pthread_create(&freer, NULL, free_all, NULL) == 0, "pthread_create");
		pthread_join(freer, NULL);
		malloc_trim(0);
		left = resident_bytes() - before;
		CHECK(left < with / 4, "of %zu KiB %zu KiB stay after round %d", with / 1024, left / 1024, round);
	}
	pthread_barrier_wait(&end);
	for (int round = 0; round < ROUNDS; round++) {
		pthread_join(sleeper[round], NULL);
	}
	return victim_ok();
}
