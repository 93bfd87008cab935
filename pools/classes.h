/* classes.h: the sizes blocks come in.
 *
 * 16-byte steps up to 512 (an exact class costs a site-owned pool nothing, and every block is 16-byte aligned), then
 * eight steps to each doubling up to 4 MiB, so that a block wastes at most an eighth. A slab is a run of granules cut
 * into blocks from its start, so a block is aligned to the largest power of two that divides its class size: every class
 * that is a multiple of 64 gives 64-byte aligned blocks, every multiple of 4096 page-aligned ones. Above 16 KiB a slab
 * is a single block: it needs no tag for each block, grows and shrinks where it lies, an empty one goes back whole, and
 * what the block does not fill of its granules is never touched.
 */
#ifndef SLUICE_CLASSES_H
#define SLUICE_CLASSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	GRANULE_SHIFT = 14,
	GRANULE_BYTES = 1 << GRANULE_SHIFT,
	CLASS_STEP_SHIFT = 4,
	CLASS_LARGE_STEP_SHIFT = 12,
	CLASS_SIZE_MAX = 4 << 20,
	CLASS_TABLE_MAX = 32 << 10, /* sizes that class_index knows */
	CLASS_LINEAR_MAX = 512,
	CLASS_SHARED_MAX = 16 << 10, /* the largest block that shares a slab */
	CLASS_SINGLE = 32 + 5 * 8,   /* the first class above: from it on a slab is a single block */
	CLASSES = 32 + 13 * 8,
	CLASS_SHARED_GRANULES_MAX = 16, /* of a slab of several blocks */
	CLASS_SLAB_GRANULES_MAX = CLASS_SIZE_MAX >> GRANULE_SHIFT
};

struct class
{
	uint32_t size;     /* bytes of a block */
	uint16_t capacity; /* blocks in a slab */
	uint16_t granules; /* granules of a slab */
	uint8_t tag_shift; /* offset >> tag_shift is another for each block: a division would cost more */
};

extern struct class class_table[CLASSES];
extern uint8_t class_index[(CLASS_TABLE_MAX >> CLASS_STEP_SHIFT) + 1];
extern uint8_t class_index_large[(CLASS_SIZE_MAX >> CLASS_LARGE_STEP_SHIFT) + 1];

/* Fills both tables; before it every size maps to class 0 and no slab exists. */
void classes_init(void);

/* The class for a request of at most CLASS_TABLE_MAX bytes; 0 bytes get the smallest. */
static inline unsigned class_of_small(size_t size)
{
	return class_index[(size + (1 << CLASS_STEP_SHIFT) - 1) >> CLASS_STEP_SHIFT];
}

/* The class for a request of more than CLASS_TABLE_MAX and at most CLASS_SIZE_MAX bytes. */
static inline unsigned class_of_large(size_t size)
{
	return class_index_large[(size + (1 << CLASS_LARGE_STEP_SHIFT) - 1) >> CLASS_LARGE_STEP_SHIFT];
}

/* The class for a request of at most CLASS_SIZE_MAX bytes. */
static inline unsigned class_of(size_t size)
{
	return size <= CLASS_TABLE_MAX ? class_of_small(size) : class_of_large(size);
}

static inline bool class_is_single(unsigned class)
{
	return class >= CLASS_SINGLE;
}

/* Tags a slab of the class has, with those between that no block has. */
static inline uint32_t class_tags(unsigned class)
{
	return ((uint32_t)class_table[class].granules << GRANULE_SHIFT) >> class_table[class].tag_shift;
}

/* The smallest class of at least `size` whose blocks are aligned to `align` (a power of two, at most a page);
 * CLASSES when there is none. */
unsigned class_of_aligned(size_t size, size_t align);

#endif
