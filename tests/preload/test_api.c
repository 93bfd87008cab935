/* test_api.c: the contract of every interposed function, by one victim each. A victim first runs on glibc, which shows
 * that the victim is right, then under sluice as it comes and with the options that send its blocks through other doors:
 * everything to the fallback, no owned pools, pools that are soon full, memory given back at once.
 */
#include "tests/run_victim.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const doors[] = {"", "range:0", "own:off", "pool_max:1M", "decay:0,budget:0,owned_max:2", NULL};

#define CONTRACT(name)                                                                                                 \
	Test(api, name)                                                                                                    \
	{                                                                                                                  \
		cr_assert(victim_passes_both(#name, doors));                                                                   \
	}

CONTRACT(malloc_zero)
CONTRACT(malloc_sizes)
CONTRACT(realloc_keep)
CONTRACT(realloc_contract)
CONTRACT(calloc_zero)
CONTRACT(memalign)
CONTRACT(memalign_wrong)
CONTRACT(valloc)
CONTRACT(usable_size)
CONTRACT(errno)
CONTRACT(enomem)
CONTRACT(libc_aliases)
CONTRACT(mallinfo)
CONTRACT(new_delete)
CONTRACT(own_new)

/* What only sluice promises. */
Test(api, align64)
{
	cr_assert(victim_passes_sluice("align64", doors));
}

Test(api, jemalloc_names)
{
	cr_assert(victim_passes_sluice("jemalloc_names", doors));
}

/* With the argument "all" the victim asks more than glibc and libstdc++ 12 give. */
static bool passes_more(const char *name)
{
	const char *const all[] = {"all", NULL};
	bool ok = victim_passes(&(struct victim){.name = name});
	for (const char *const *c = doors; ok && *c; c++) {
		ok = victim_passes(&(struct victim){.name = name, .args = all, .preload = victim_sluice(), .conf = *c});
	}
	return ok;
}

Test(api, sized_free)
{
	cr_assert(passes_more("sized_free"));
}

Test(api, bad_alloc)
{
	cr_assert(passes_more("bad_alloc"));
}

Test(api, vector_loads)
{
	const char *const glibc[] = {"memalign", NULL}, *const say[] = {"say", NULL};
	cr_assert(victim_passes(&(struct victim){.name = "vector_loads", .args = glibc}));
	cr_assert(victim_passes_sluice("vector_loads", doors));
	struct victim v = {.name = "vector_loads", .args = say, .preload = victim_sluice()};
	struct outcome o = victim_run(&v);
	cr_log_info("vector loads of: %s", o.out);
	cr_assert(o.status == 0 && strncmp(o.out, "sse", 3) == 0);
	victim_forget(&o);
}

/* Every function comes from libsluice.so: what binds elsewhere would be handed blocks it does not know. */
Test(api, bindings)
{
	struct victim v = {.name = "bindings", .preload = victim_sluice()};
	struct outcome o = victim_run(&v);
	int lines = 0, others = 0;
	for (char *line = strtok(o.out, "\n"); line; line = strtok(NULL, "\n")) {
		lines++;
		if (!strstr(line, " libsluice.so")) {
			fprintf(stderr, "not ours: %s\n", line);
			others++;
		}
	}
	cr_assert_eq(others, 0);
	cr_assert_geq(lines, 57);
	victim_forget(&o);
}
