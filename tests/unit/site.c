/* Sites: one number for one return address, whoever asks first; what has no room is "other". */
#define _GNU_SOURCE
#include "shim/site.h"
#include "pools/meta.h"
#include "shim/context.h"
#include "shim/mapping.h"
#include "tests/dice.h"
#include "tests/forked.h"
#include "tests/guest.h"
#include "tests/refusal.h"
#include "tests/sanitized.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

enum { THREADS = 4, PCS = 3000 };

static void setup(void)
{
	cr_assert(sites_init());
}

TestSuite(site, .init = setup);
TestSuite(site_start);

/* Return addresses that no code is at. */
static uintptr_t far_pc(uint64_t n)
{
	return 0x10000 + 16 * n;
}

Test(site_start, without_a_ledger_everything_is_other)
{
	cr_assert_eq(site_of(far_pc(1)), SITE_OTHER);
	cr_assert_eq(site_pc(SITE_OTHER), 0);
	cr_assert_null(ledger());
	cr_assert_eq(ledger_string("text", 4).at, 0);
	cr_assert_not_null(site_fallback(SITE_OTHER));
}

Test(site, other_is_the_only_one_at_first)
{
	cr_assert_eq(ledger()->sites_count, 1);
	cr_assert_eq(site_pc(SITE_OTHER), 0);
	cr_assert_eq(ledger_sites(ledger())[SITE_OTHER].mapping, LEDGER_NONE);
}

/* 1 stands for "other" where a return address is asked for: no code is there. */
Test(site, no_address_is_other)
{
	cr_assert_eq(site_of(0), SITE_OTHER);
	cr_assert_eq(site_of(1), SITE_OTHER);
	cr_assert_eq(ledger()->sites_count, 1);
}

Test(site, a_number_for_an_address_for_ever)
{
	for (uint64_t n = 0; n < PCS; n++)
		cr_assert_eq(site_of(far_pc(n)), n + 1);
	for (uint64_t n = 0; n < PCS; n++) {
		cr_assert_eq(site_of(far_pc(n)), n + 1);
		cr_assert_eq(site_pc((uint16_t)(n + 1)), far_pc(n));
	}
	cr_assert_eq(ledger()->sites_count, PCS + 1);
}

/* Addresses whose hashes are equal, or follow each other, are told apart all the same. */
Test(site, collisions_are_told_apart)
{
	for (uint64_t n = 1; n < 1000; n++)
		cr_assert_eq(site_of(n << 19 | (n & 1) << 2), n);
	for (uint64_t n = 1; n < 1000; n++)
		cr_assert_eq(site_of(n << 19 | (n & 1) << 2), n);
}

Test(site, code_knows_its_file)
{
	uintptr_t here = (uintptr_t)&far_pc + 1, there = (uintptr_t)dlsym(RTLD_DEFAULT, "gnu_get_libc_version") + 1;
	const struct ledger_site *mine = &ledger_sites(ledger())[site_of(here)];
	const struct ledger_site *libc = &ledger_sites(ledger())[site_of(there)];
	const struct ledger_site *nobody = &ledger_sites(ledger())[site_of(far_pc(7))];
	cr_assert_eq(nobody->mapping, LEDGER_NONE);
	cr_assert_eq(nobody->offset, far_pc(7));
	if (mine->mapping == LEDGER_NONE)
		cr_skip_test("this C library cannot be asked (glibc before 2.35)");
	cr_assert_neq(mine->mapping, libc->mapping);
	const struct ledger_mapping *map = &ledger_mappings(ledger())[mine->mapping];
	cr_assert(map->start <= here && here < map->limit);
	cr_assert_eq(mine->offset, here - map->bias);
	map = &ledger_mappings(ledger())[libc->mapping];
	cr_assert(map->start <= there && there < map->limit);
	cr_assert_not_null(strstr(ledger_strings(ledger()) + map->path.at, "libc"));
	cr_assert_gt(map->build_id_bytes, 0);
	cr_assert_eq(ledger()->mappings_count, 2);
	site_of(here + 1);
	cr_assert_eq(ledger()->mappings_count, 2, "a file is one mapping, however many sites it has");
}

Test(site, past_the_cap_it_is_other)
{
	sites_limit(100);
	for (uint64_t n = 0; n < 150; n++)
		cr_assert_eq(site_of(far_pc(n)), n < 99 ? n + 1 : SITE_OTHER);
	cr_assert_eq(ledger()->sites_count, 100);
	for (uint64_t n = 0; n < 99; n++)
		cr_assert_eq(site_of(far_pc(n)), n + 1, "those that are known stay");
}

Test(site, the_table_holds_as_many_as_a_ledger)
{
	for (uint64_t n = 1; n < LEDGER_SITES_MAX; n++)
		cr_assert_eq(site_of(far_pc(n)), n);
	cr_assert_eq(site_of(far_pc(LEDGER_SITES_MAX)), SITE_OTHER);
	for (uint64_t n = 1; n < LEDGER_SITES_MAX; n++) {
		cr_assert_eq(site_of(far_pc(n)), n);
		cr_assert_eq(site_pc((uint16_t)n), far_pc(n));
	}
	cr_assert_eq(site_fallback(LEDGER_SITES_MAX - 1)->allocs, 0);
}

/* --- libraries that go -------------------------------------------------------------------------------------------- */

Test(site, a_closed_library_takes_its_sites_along)
{
	uintptr_t pc, again;
	uint16_t libc = site_of((uintptr_t)dlsym(RTLD_DEFAULT, "gnu_get_libc_version") + 1), nobody = site_of(far_pc(1));
	uintptr_t libc_pc = site_pc(libc);
	void *handle = guest_open(&pc);
	if (!handle)
		cr_skip_test("libanl cannot be loaded");
	uint16_t site = site_of(pc), beside = site_of(pc + 1);
	if (ledger_sites(ledger())[site].mapping == LEDGER_NONE)
		cr_skip_test("this C library cannot be asked (glibc before 2.35)");
	mappings_retire_unloaded();
	cr_assert_eq(site_pc(site), pc, "it is still there");
	for (int i = 0; i < 50; i++) {
		cr_assert_eq(dlclose(handle), 0);
		mappings_retire_unloaded();
		cr_assert_eq(site_pc(site), SITE_RETIRED | site);
		cr_assert_eq(site_pc(beside), SITE_RETIRED | beside);
		cr_assert_eq(site_pc(libc), libc_pc);
		cr_assert_eq(site_pc(nobody), far_pc(1));
		handle = guest_open(&again);
		if (!handle || again != pc)
			cr_skip_test("it came back elsewhere");
		cr_assert_eq(site_of(pc), site, "the same code");
		cr_assert_eq(site_of(pc + 1), beside);
	}
	cr_assert_eq(ledger()->mappings_count, 2);
	cr_assert_eq(ledger()->sites_count, 5);
}

/* A destructor forks; the child's other threads, and so their dlcloses, are gone, its own goes on. */
Test(site, a_fork_inside_a_dlclose_leaves_its_end_to_the_child)
{
	uintptr_t pc;
	void *handle = guest_open(&pc);
	uint32_t mapping = handle ? mapping_of(pc) : LEDGER_NONE;
	if (mapping == LEDGER_NONE)
		cr_skip_test("libanl cannot be loaded, or this C library cannot be asked (glibc before 2.35)");
	mappings_closing(1);
	mappings_fork_child();
	cr_assert_eq(dlclose(handle), 0);
	cr_assert_eq(mapping_of(pc), LEDGER_NONE, "it is asked for");
	mappings_closing(-1);
	cr_assert_eq(mapping_of(pc), mapping, "nothing is under way: the table is believed");
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

struct asker {
	uint64_t seed;
	uint16_t answers[PCS];
};

static void *ask(void *argument)
{
	struct asker *asker = argument;
	struct dice dice = dice_of(asker->seed);
	for (int i = 0; i < 4 * PCS; i++) {
		uint64_t n = dice_below(&dice, PCS);
		asker->answers[n] = site_of(far_pc(n));
		if (site_pc(asker->answers[n]) != far_pc(n))
			return asker;
	}
	for (uint64_t n = 0; n < PCS; n++)
		asker->answers[n] = site_of(far_pc(n));
	return NULL;
}

Test(site, threads_agree)
{
	static struct asker askers[THREADS];
	static bool seen[PCS + 1];
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++) {
		askers[i].seed = (uint64_t)i;
		cr_assert_eq(pthread_create(&threads[i], NULL, ask, &askers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		void *wrong;
		pthread_join(threads[i], &wrong);
		cr_assert_null(wrong, "thread %d: a site has another address", i);
	}
	cr_assert_eq(ledger()->sites_count, PCS + 1, "none was made twice");
	for (uint64_t n = 0; n < PCS; n++) {
		uint16_t site = askers[0].answers[n];
		cr_assert(site >= 1 && site <= PCS && !seen[site]);
		seen[site] = true;
		for (int i = 1; i < THREADS; i++)
			cr_assert_eq(askers[i].answers[n], site);
	}
}

static _Atomic bool grown;

/* How often a context of two return addresses, which has a site, was said to have none. */
static void *ask_on_and_on(void *site)
{
	uintptr_t context = context_extend(far_pc(1), far_pc(2)), missed = 0;
	while (!grown)
		missed += site_of(context) != *(uint16_t *)site;
	return (void *)missed;
}

/* It would be counted as "other" on that thread for ever. */
Test(site, a_context_is_not_missed_while_the_index_grows)
{
	static const struct unwound seen = {.count = 2, .whole = true, .pcs = {0x10010, 0x10020}};
	uint16_t site = site_born(context_extend(far_pc(1), far_pc(2)), &seen, 2);
	pthread_t other;
	void *missed;
	cr_assert(seen.pcs[0] == far_pc(1) && seen.pcs[1] == far_pc(2) && site != SITE_OTHER);
	cr_assert_eq(pthread_create(&other, NULL, ask_on_and_on, &site), 0);
	for (uint64_t i = 3; i < LEDGER_SITES_MAX; i++)
		site_of(far_pc(i));
	grown = true;
	pthread_join(other, &missed);
	cr_assert_null(missed, "%lu times", (uintptr_t)missed);
}

static void *ask_for_fallback(void *pointers)
{
	for (uint16_t site = 0; site < 1000; site++) {
		struct site_fallback *on = site_fallback(site);
		atomic_fetch_add(&on->allocs, 1);
		((struct site_fallback **)pointers)[site] = on;
	}
	return NULL;
}

Test(site, threads_share_the_fallback_counters)
{
	static struct site_fallback *pointers[THREADS][1000];
	pthread_t threads[THREADS];
	cr_assert_null(site_fallback_seen(5));
	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, ask_for_fallback, pointers[i]), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (uint16_t site = 0; site < 1000; site++) {
		cr_assert_eq(site_fallback_seen(site), pointers[0][site]);
		cr_assert_eq(atomic_load(&pointers[0][site]->allocs), THREADS, "site %u", site);
		for (uint16_t other = 0; other < site; other++)
			cr_assert_neq(pointers[0][site], pointers[0][other]);
	}
}

/* --- no room ------------------------------------------------------------------------------------------------------ */

static int without_memory(void)
{
	while (ledger()->sites_count % 256) /* to the end of the records that are there */
		site_of(far_pc(ledger()->sites_count));
	uint32_t count = ledger()->sites_count;
	HOLDS(memory_refuse());
	tables_use_up();
	HOLDS(site_of(far_pc(5000)) == SITE_OTHER && ledger()->sites_count == count);
	HOLDS(site_fallback(300) && site_fallback(300) == site_fallback(40000));
	HOLDS(site_of(far_pc(1)) == 1 && memory_allow());
	HOLDS(site_of(far_pc(5000)) == count && site_fallback(300) != site_fallback(40000));
	return 0;
}

Test(site, without_memory_it_is_other_until_there_is_some)
{
	if (SANITIZED)
		cr_skip_test("a sanitizer needs the kernel's yes");
	site_of(far_pc(1));
	cr_assert_eq(forked(without_memory), 0);
}

Test(site, strings_are_kept_until_they_are_full)
{
	struct ledger_string first = ledger_string("first", 5), empty = ledger_string("", 0),
						 part = ledger_string("part", 2);
	const char *strings = ledger_strings(ledger());
	cr_assert_str_eq(strings + first.at, "first");
	cr_assert_str_eq(strings + empty.at, "");
	cr_assert_str_eq(strings + part.at, "pa");
	static char big[1000];
	memset(big, 'x', sizeof(big));
	struct ledger_string last = part, next;
	while ((next = ledger_string(big, sizeof(big))).at)
		last = next;
	cr_assert_eq(strlen(strings + last.at), sizeof(big));
	while ((next = ledger_string("y", 1)).at)
		last = next;
	cr_assert_leq(ledger()->strings_used, LEDGER_STRINGS_BYTES);
	cr_assert_str_eq(strings + last.at, "y");
	cr_assert_str_eq(strings + first.at, "first");
	cr_assert_str_eq(strings, "", "offset 0 is the empty string");
}

enum { STRINGS = 2000 };

static void *keep_strings(void *at)
{
	for (int i = 0; i < STRINGS; i++)
		((struct ledger_string *)at)[i] = ledger_string("abcdefghijklmnopqrstuvwxyz", (size_t)i % 26);
	return NULL;
}

/* The report adds names while threads add paths. */
Test(site, threads_keep_strings_apart)
{
	static struct ledger_string kept[THREADS][STRINGS];
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, keep_strings, kept[i]), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < THREADS; i++)
		for (int k = 0; k < STRINGS; k++)
			cr_assert_eq(strlen(ledger_strings(ledger()) + kept[i][k].at), (size_t)k % 26);
}

static void prepare(void)
{
	sites_fork_prepare();
	meta_fork_prepare();
}

static void go_on(void)
{
	meta_fork_parent();
	sites_fork_parent();
}

static int ask_in_the_child(void)
{
	meta_fork_child();
	sites_fork_child();
	return ask(&(struct asker){.seed = 6}) ? 1 : 0;
}

Test(site, fork_handlers_leave_the_child_a_whole_table)
{
	static struct asker asker = {.seed = 5};
	pthread_t thread;
	cr_assert_eq(pthread_create(&thread, NULL, ask, &asker), 0);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(forked_between(prepare, ask_in_the_child, go_on), 0);
	void *wrong;
	pthread_join(thread, &wrong);
	cr_assert_null(wrong);
}
