/* classes.c: computes the class tables. See classes.h for the reasons of the sizes.
 *
 * Slab lengths up to 16 KiB: one granule up to 1 KiB, because a block in a slab's first granule is freed on the shortest path; above
 * that the shortest run that holds at least eight blocks and leaves at most 1/32 of itself unused at the end.
 */
#include "classes.h"

#include "apart.h"

#include <string.h>

/* Written once. */
ONCE struct class class_table[CLASSES];
ONCE uint8_t class_index[(CLASS_TABLE_MAX >> CLASS_STEP_SHIFT) + 1];
ONCE uint8_t class_index_large[(CLASS_SIZE_MAX >> CLASS_LARGE_STEP_SHIFT) + 1];

enum { ONE_GRANULE_SIZE_MAX = 1024, SLAB_BLOCKS_MIN = 8, TAIL_FRACTION = 32 };

static uint32_t class_size(unsigned class)
{
	if (class < CLASS_LINEAR_MAX >> CLASS_STEP_SHIFT)
		return (class + 1) << CLASS_STEP_SHIFT;
	unsigned doubling = (class - 32) / 8, step = (class - 32) % 8;
	return (CLASS_LINEAR_MAX << doubling) + (step + 1) * (CLASS_LINEAR_MAX / 8 << doubling);
}

static unsigned slab_granules(uint32_t size)
{
	if (size <= ONE_GRANULE_SIZE_MAX)
		return 1;
	if (size > CLASS_SHARED_MAX)
		return (size + GRANULE_BYTES - 1) >> GRANULE_SHIFT;
	for (unsigned n = (SLAB_BLOCKS_MIN * size + GRANULE_BYTES - 1) >> GRANULE_SHIFT; n < CLASS_SHARED_GRANULES_MAX;
	     n++) {
		uint32_t bytes = n << GRANULE_SHIFT;
		if (bytes % size <= bytes / TAIL_FRACTION)
			return n;
	}
	return CLASS_SHARED_GRANULES_MAX;
}

/* The largest power of two that is at most the size: two blocks begin at least so far apart. */
static uint8_t tag_shift_of(uint32_t size)
{
	return (uint8_t)(31 - __builtin_clz(size));
}

/* Class by class, not step by step: every process pays for this. */
static void fill_index(uint8_t *index, size_t max, unsigned shift)
{
	size_t step = 0, steps = (max >> shift) + 1;
	for (unsigned c = 0; step < steps; c++) {
		size_t end = (class_table[c].size >> shift) + 1; /* the first step that is larger */
		if (end > step)
			memset(index + step, (int)c, end - step);
		step = end;
	}
}

void classes_init(void)
{
	for (unsigned c = 0; c < CLASSES; c++) {
		uint32_t size = class_size(c);
		unsigned granules = slab_granules(size);
		class_table[c] = (struct class){.size = size,
		                                .capacity = (uint16_t)((granules << GRANULE_SHIFT) / size),
		                                .granules = (uint16_t)granules,
		                                .tag_shift = tag_shift_of(size)};
	}
	fill_index(class_index, CLASS_TABLE_MAX, CLASS_STEP_SHIFT);
	fill_index(class_index_large, CLASS_SIZE_MAX, CLASS_LARGE_STEP_SHIFT);
}

unsigned class_of_aligned(size_t size, size_t align)
{
	size_t rounded = (size + align - 1) & -align;
	if (rounded == 0)
		rounded = align;
	if (rounded < size || rounded > CLASS_SIZE_MAX)
		return CLASSES;
	unsigned c = class_of(rounded);
	while (c < CLASSES && class_table[c].size & (align - 1))
		c++;
	return c;
}
