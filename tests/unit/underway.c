/* Frees on their way to another thread's heap: wherever they are, the report counts each once, and no signal loses one. */
#define _GNU_SOURCE
#include "pools/walk.h"
#include "shim/allocate.h"
#include "shim/publish.h"
#include "shim/site.h"
#include "tests/acting.h"
#include "tests/sites.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>

static __attribute__((constructor(101))) void begin(void)
{
	acting_begin("decay:-1,range:64M");
}

enum { SENT = 5000, SENT_SITES = 3 };

static void *sent[SENT];
static pthread_barrier_t halt, go;

static void *free_and_halt(void *unused)
{
	for (int i = 0; i < SENT; i++) {
		release(sent[i]);
		if (i % 1000 == 500) {
			pthread_barrier_wait(&halt);
			pthread_barrier_wait(&go);
		}
	}
	return unused;
}

static void check_sent(uint64_t frees)
{
	const struct ledger_header *l = publish(END_LIVE);
	uint64_t found = 0, crossed = 0;
	for (unsigned s = 0; s < SENT_SITES; s++) {
		const struct ledger_site *site = &ledger_sites(l)[site_of(pc_of(s))];
		found += site->tally.free_objects;
		crossed += site->cross_thread_free_objects;
	}
	cr_assert_eq(found, frees);
	cr_assert_eq(crossed, frees);
	struct walk seen = walk_pools();
	cr_assert_null(seen.wrong, "%s", seen.wrong);
}

/* Wherever a freed block is, the report counts it once: with its slab, in a parcel that is open, under way, or that was
 * given up, in a slab that was purged, at home. */
Test(underway, frees_on_their_way_are_counted)
{
	pthread_t thread;
	pthread_barrier_init(&halt, NULL, 2);
	pthread_barrier_init(&go, NULL, 2);
	for (int i = 0; i < SENT; i++)
		cr_assert_not_null(sent[i] = allocate(24 + (size_t)i % 70, pc_of((unsigned)i % SENT_SITES)));
	cr_assert_eq(pthread_create(&thread, NULL, free_and_halt, NULL), 0);
	for (uint64_t n = 0; n < SENT / 1000; n++) {
		pthread_barrier_wait(&halt);
		check_sent(1000 * n + 501);
		if (n == 2)
			heap_tend_all(NULL);
		if (n == 3)
			heap_drain(&thread_get()->heap);
		check_sent(1000 * n + 501);
		pthread_barrier_wait(&go);
	}
	pthread_join(thread, NULL);
	check_sent(SENT);
	heap_tend_all(NULL);
	check_sent(SENT);
	heap_drain(&thread_get()->heap);
	check_sent(SENT);
}

static _Atomic bool signalled;

static void note_signal(int number)
{
	(void)number;
	signalled = true;
}

static void *free_under_signals(void *unused)
{
	for (int i = 0; i < SENT; i++)
		release(sent[i]);
	return unused;
}

/* Signals whose handler does not allocate interrupt a sender anywhere. */
Test(underway, signals_lose_no_free)
{
	signal(SIGUSR1, note_signal);
	for (int round = 0; round < 20; round++) {
		pthread_t thread;
		for (int i = 0; i < SENT; i++)
			cr_assert_not_null(sent[i] = allocate(24 + (size_t)i % 70, pc_of((unsigned)i % SENT_SITES)));
		cr_assert_eq(pthread_create(&thread, NULL, free_under_signals, NULL), 0);
		for (int i = 0; i < 50; i++)
			pthread_kill(thread, SIGUSR1); /* joined below, so it is there */
		pthread_join(thread, NULL);
	}
	cr_assert(signalled);
	check_sent(20 * SENT);
}
