/* A thousand sites of a hundred sizes, each with its own count, on several threads: more sites than are hot in any
 * cache, most of them too small to own anything. Prints "SYMBOL alloc_objects alloc_space free_objects inuse_objects" for
 * each.
 */
#include "victim.h"

#include <pthread.h>

#define SITE(n)                                                                                                        \
	__attribute__((noinline)) void *site_##n(size_t bytes);                                                            \
	__attribute__((noinline)) void *site_##n(size_t bytes)                                                             \
	{                                                                                                                  \
		return kept(malloc(bytes));                                                                                    \
	}
#define TEN(n)                                                                                                         \
	SITE(n##0) SITE(n##1) SITE(n##2) SITE(n##3) SITE(n##4) SITE(n##5) SITE(n##6) SITE(n##7) SITE(n##8) SITE(n##9)
#define HUNDRED(n) TEN(n##0) TEN(n##1) TEN(n##2) TEN(n##3) TEN(n##4) TEN(n##5) TEN(n##6) TEN(n##7) TEN(n##8) TEN(n##9)
HUNDRED(0)
HUNDRED(1)
HUNDRED(2)
HUNDRED(3)
HUNDRED(4)
HUNDRED(5)
HUNDRED(6)
HUNDRED(7)
HUNDRED(8)
HUNDRED(9)

#define NAME(n) site_##n,
#define TEN_NAMES(n)                                                                                                   \
	NAME(n##0) NAME(n##1) NAME(n##2) NAME(n##3) NAME(n##4) NAME(n##5) NAME(n##6) NAME(n##7) NAME(n##8) NAME(n##9)
#define HUNDRED_NAMES(n)                                                                                               \
	TEN_NAMES(n##0)                                                                                                    \
	TEN_NAMES(n##1)                                                                                                    \
	TEN_NAMES(n##2)                                                                                                    \
	TEN_NAMES(n##3) TEN_NAMES(n##4) TEN_NAMES(n##5) TEN_NAMES(n##6) TEN_NAMES(n##7) TEN_NAMES(n##8) TEN_NAMES(n##9)

static void *(*const site[])(size_t) = {HUNDRED_NAMES(0) HUNDRED_NAMES(1) HUNDRED_NAMES(2) HUNDRED_NAMES(3)
                                            HUNDRED_NAMES(4) HUNDRED_NAMES(5) HUNDRED_NAMES(6) HUNDRED_NAMES(7)
                                                HUNDRED_NAMES(8) HUNDRED_NAMES(9)};

enum { SITES = sizeof(site) / sizeof(site[0]), THREADS = 3, ROUNDS = 40 };

/* Site i allocates blocks of (i % 100) * 24 bytes, one in each round that i + round divides by (1 + i % 7); every fourth
 * stays alive. So the truth is arithmetic, and needs no books.
 */
static size_t size_of(int i)
{
	return (size_t)(i % 100) * 24;
}

static int takes(int i, int round)
{
	return (i + round) % (1 + i % 7) == 0;
}

static int stays(int i, int round)
{
	return (i + round) % 4 == 0;
}

static void *body(void *unused)
{
	void *batch[SITES];
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < SITES; i++) {
			batch[i] = takes(i, round) ? site[i](size_of(i)) : NULL;
			CHECK(!takes(i, round) || batch[i], "malloc(%zu) gives NULL", size_of(i));
		}
		for (int i = 0; i < SITES; i++) {
			if (batch[i] && !stays(i, round)) {
				free(batch[i]);
			}
		}
	}
	return unused;
}

int main(void)
{
	pthread_t t[THREADS];
	for (int i = 0; i < THREADS; i++) {
		CHECK(pthread_create(&t[i], NULL, body, NULL) == 0, "pthread_create");
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
	}
	for (int i = 0; i < SITES; i++) {
		int made = 0, kept_alive = 0;
		for (int round = 0; round < ROUNDS; round++) {
			made += takes(i, round);
			kept_alive += takes(i, round) && stays(i, round);
		}
		printf("site_%03d %d %zu %d %d\n", i, THREADS * made, (size_t)(THREADS * made) * size_of(i),
		       THREADS * (made - kept_alive), THREADS * kept_alive);
	}
	return 0;
}
