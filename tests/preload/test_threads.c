/* test_threads.c: blocks that cross threads, threads that end, forks and loads beside them. Each race is run hundreds of
 * times (SLUICE_RUNS; more under `make soak`), by many short runs or by one victim that repeats it, since most of what can
 * go wrong here goes wrong seldom.
 */
#include "tests/run_victim.h"

#include <criterion/criterion.h>
#include <stdio.h>

static const char *const doors[] = {"", "range:0", NULL};

Test(threads, producer_consumer)
{
	cr_assert(victim_passes_both("producer_consumer", NULL));
}

Test(threads, only_frees)
{
	const char *const ours[] = {"", "decay:0,budget:0", NULL}, *const theirs[] = {"range:0", "pool_max:4M", NULL};
	const char *const any[] = {"any", NULL};
	cr_assert(victim_passes_both("only_frees", ours));
	for (const char *const *c = theirs; *c; c++)
		cr_assert(
			victim_passes(&(struct victim){.name = "only_frees", .args = any, .preload = victim_sluice(), .conf = *c}));
}

/* glibc's malloc and others fail this one. */
Test(threads, sleeping_producer)
{
	const char *const confs[] = {"", "own:off", "decay:0", NULL};
	for (const char *const *c = confs; *c; c++)
		cr_assert(victim_passes(&(struct victim){.name = "sleeping_producer", .preload = victim_sluice(), .conf = *c}));
}

Test(threads, storm)
{
	cr_assert(victim_passes_both("thread_storm", doors));
}

/* One victim that repeats the race `usual` times, with the count as its argument. */
static bool repeats_inside(const char *name, int usual, const char *const *confs)
{
	char count[16];
	const char *const args[] = {count, NULL};
	snprintf(count, sizeof(count), "%d", victim_runs(usual));
	int watchdog_s = VICTIM_WATCHDOG_S * (1 + victim_runs(usual) / usual);
	for (const char *const *c = confs; *c; c++) {
		struct victim v = {
			.name = name, .args = args, .preload = victim_sluice(), .conf = *c, .watchdog_s = watchdog_s};
		if (!victim_passes(&v)) {
			return false;
		}
	}
	return victim_passes(&(struct victim){.name = name});
}

Test(threads, forks_while_threads_allocate)
{
	cr_assert(repeats_inside("fork_threads", 200, doors));
}

Test(threads, forks_while_threads_print)
{
	cr_assert(repeats_inside("stdio_fork", 200, doors));
}

Test(threads, loads_and_closes)
{
	cr_assert(repeats_inside("dlopen", 2000, doors));
}

/* Short runs, many of them, so that start and end are in the race. */
static bool repeats_with(const char *name, const char *const *args, int runs, const char *conf)
{
	return victim_repeats(&(struct victim){.name = name, .args = args, .preload = victim_sluice(), .conf = conf}, runs);
}

static bool repeats(const char *name, const char *arg, int runs, const char *conf)
{
	const char *const args[] = {arg, NULL};
	return repeats_with(name, args, runs, conf);
}

Test(threads, exit_race)
{
	const char *const ways[] = {"exit", "_exit", "quick_exit", "return", "thread"};
	int runs = victim_runs(200) / 5 + 1;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		cr_assert(repeats("exit_race", ways[i], runs, ""));
	}
	cr_assert(repeats("exit_race", "exit", runs, "range:0"));
}

Test(threads, thread_exit_heavy)
{
	cr_assert(repeats("thread_exit", NULL, victim_runs(200), ""));
	cr_assert(repeats("thread_exit", NULL, victim_runs(200) / 4 + 1, "range:0"));
	cr_assert(repeats("thread_exit", NULL, victim_runs(200) / 4 + 1, "decay:0,budget:0,owned_max:1"));
}

Test(threads, fork_heavy)
{
	cr_assert(repeats("fork_threads", "2", victim_runs(200), ""));
	cr_assert(repeats("stdio_fork", "2", victim_runs(200), ""));
}

Test(threads, dlopen_heavy)
{
	cr_assert(repeats("dlopen", "3", victim_runs(200), ""));
}

/* The report is written while libraries come and go. */
Test(threads, dlopen_exit_race)
{
	const char *const args[] = {"30", "leave", NULL};
	cr_assert(repeats_with("dlopen", args, victim_runs(200) / 2 + 1, ""));
}
