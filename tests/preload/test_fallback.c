/* test_fallback.c: jemalloc is set up when the pools do not serve for the first time, wherever that is, and never when they
 * always do.
 */
#include "tests/run_victim.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <sys/wait.h>

static bool passes(const char *place, const char *preload, const char *setting)
{
	const char *const args[] = {place, NULL}, *const env[] = {setting, NULL};
	return victim_passes(&(struct victim){.name = "first_fallback", .args = args, .env = env, .preload = preload});
}

static void passes_both(const char *place)
{
	cr_assert(passes(place, NULL, NULL));
	cr_assert(passes(place, victim_sluice(), NULL));
}

#define PLACE(name)                                                                                                    \
	Test(fallback_first, name)                                                                                         \
	{                                                                                                                  \
		passes_both(#name);                                                                                            \
	}

PLACE(never)
PLACE(small_stack)
PLACE(at_once)
PLACE(in_handler)
PLACE(keys)
PLACE(child)
PLACE(races)

/* The filter that "never" lives under sees the start; else that would prove nothing. */
Test(fallback_first, its_start_is_seen)
{
	const char *const args[] = {"killed", NULL};
	struct victim v = {.name = "first_fallback", .args = args, .preload = victim_sluice()};
	struct outcome o = victim_run(&v);
	victim_explain(&v, &o);
	cr_assert(!o.hung && WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGSYS);
	victim_forget(&o);
}

static void passes_filtered(const char *place)
{
	const char *const args[] = {place, NULL};
	cr_assert(passes(place, NULL, NULL));
	cr_assert(victim_passes(
		&(struct victim){.name = "first_fallback", .args = args, .preload = victim_sluice(), .report = "off"}));
}

Test(fallback_first, filtered)
{
	passes_filtered("filtered");
	passes_filtered("filtered_by_syscall");
}

Test(fallback_first, its_options_are_those_of_the_start)
{
	cr_assert(passes("told", victim_sluice(), "MALLOC_CONF=narenas:3"));
	cr_assert(passes("told_late", victim_sluice(), NULL));
}
