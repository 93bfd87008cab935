/* pool_model.h: one heap, and a model that knows every block alive: where it is, its key, how many of each.
 *
 * The blocks are numbered; each is to be filled with its number's pattern, wholly or here and there.
 */
#ifndef POOL_MODEL_H
#define POOL_MODEL_H

#include "tests/heap_user.h"

enum { MODEL_BLOCKS = 4000 };

struct model {
	unsigned char *at[MODEL_BLOCKS]; /* NULL: none */
	uint8_t key[MODEL_BLOCKS];
	uint32_t alive[USER_KEYS], total;
};
extern struct model model;

/* The heap. */
extern struct user *user;

/* How a test begins: an empty heap; of 96 keys half share a class with another. */
void model_begin(void);

/* The same, with keys of the classes whose slabs have a single block. */
void model_begin_single(void);

/* Number `i` is taken by the key, or given back, in the model only. */
void model_add(unsigned i, void *block, unsigned key);
void model_drop(unsigned i);

/* The pools are whole and say what the model says; `when` and `step` are for the message if not. */
void model_walk(const char *when, uint64_t step);

/* Bytes of the key's blocks. */
static inline size_t model_size(unsigned key)
{
	return class_table[user_class_of[key]].size;
}

static inline unsigned char model_pattern(unsigned i)
{
	return (unsigned char)(i * 7 + 1);
}

#endif
