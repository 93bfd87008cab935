/* test_differential.c: ten million operations of the whole API at random, on several threads, every byte checked; first
 * a part of them on glibc, which holds the victim to its own model. The seed is fixed, so that a failure comes back; `make
 * soak` takes many seeds, and prints the one that fails.
 */
#include "tests/run_victim.h"

#include <criterion/criterion.h>
#include <stdio.h>

static bool agrees(const char *operations, int seed, const char *threads, const char *preload, const char *conf)
{
	char seed_text[16];
	const char *const args[] = {operations, seed_text, threads, NULL};
	snprintf(seed_text, sizeof(seed_text), "%d", seed);
	return victim_passes(&(struct victim){.name = "differential", .args = args, .preload = preload, .conf = conf});
}

Test(differential, model_holds_on_glibc)
{
	cr_assert(agrees("1000000", 1, "4", NULL, NULL));
}

Test(differential, ten_million_operations)
{
	int rounds = victim_runs(200) / 200;
	for (int seed = 1; seed <= (rounds ? rounds : 1); seed++) {
		cr_assert(agrees("10000000", seed, "4", victim_sluice(), ""), "seed %d", seed);
	}
}

Test(differential, one_thread)
{
	cr_assert(agrees("1000000", 7, "1", victim_sluice(), ""));
}

/* More threads than CPUs, and every door in turn. */
Test(differential, other_doors)
{
	const char *const confs[] = {"range:0",      "own:off", "pool_max:2M", "decay:0", "budget:0,owned_max:1",
	                             "site_max:64K", NULL};
	for (int i = 0; confs[i]; i++) {
		cr_assert(agrees("1000000", 100 + i, "8", victim_sluice(), confs[i]), "%s", confs[i]);
	}
}
