/* pool_model.c: see pool_model.h. */
#include "pool_model.h"

#include <criterion/criterion.h>

struct model model;
struct user *user;

void model_begin(void)
{
	users_begin();
	for (unsigned key = 0; key < USER_KEYS; key++)
		user_class_of[key] = (uint8_t)(key < 52 ? 2 * key : key % 48);
	cr_assert_not_null(user = user_enter());
}

void model_begin_single(void)
{
	model_begin();
	for (unsigned key = 0; key < USER_KEYS; key++)
		user_class_of[key] = (uint8_t)(CLASS_SINGLE + key % (CLASSES - CLASS_SINGLE));
}

void model_add(unsigned i, void *block, unsigned key)
{
	model.at[i] = block;
	model.key[i] = (uint8_t)key;
	model.alive[key]++;
	model.total++;
}

void model_drop(unsigned i)
{
	model.at[i] = NULL;
	model.alive[model.key[i]]--;
	model.total--;
}

void model_walk(const char *when, uint64_t step)
{
	struct walk seen = walk_pools();
	cr_assert_null(seen.wrong, "%s, step %lu: %s (granule %u)", when, step, seen.wrong, seen.granule);
	cr_assert_eq(seen.used - seen.cached, model.total, "%s, step %lu: %lu alive", when, step, seen.used - seen.cached);
	cr_assert_eq(seen.owned_bytes, user->heap.owned_bytes);
	for (unsigned key = 0; key < USER_KEYS; key++)
		cr_assert_eq(user_alive(key), model.alive[key], "%s, step %lu: key %u", when, step, key);
}
