/* The size classes: every size gets the smallest block that holds it, at the alignment promised, at the waste promised. */
#include "pools/slab.h"

#include <criterion/criterion.h>

static void setup(void)
{
	classes_init();
}

TestSuite(classes, .init = setup);

static size_t alignment_of(size_t n)
{
	return n & -n;
}

Test(classes, ascend_from_16_bytes_to_4_mib)
{
	cr_assert_eq(class_table[0].size, 16);
	cr_assert_eq(class_table[CLASSES - 1].size, CLASS_SIZE_MAX);
	for (unsigned c = 1; c < CLASSES; c++)
		cr_assert_gt(class_table[c].size, class_table[c - 1].size, "class %u", c);
}

Test(classes, every_size_gets_the_smallest_class_that_holds_it)
{
	cr_assert_eq(class_of(0), 0);
	for (size_t size = 0, least = 0; size <= CLASS_SIZE_MAX; size++) {
		while (class_table[least].size < size)
			least++;
		cr_assert_eq(class_of(size), least, "%zu bytes: class %u, not %zu", size, class_of(size), least);
	}
}

Test(classes, steps_of_16_up_to_512_and_an_eighth_of_waste_above)
{
	for (size_t size = 1; size <= CLASS_SIZE_MAX; size++) {
		size_t block = class_table[class_of(size)].size, waste = block - size;
		if (size <= CLASS_LINEAR_MAX)
			cr_assert_lt(waste, 16, "%zu bytes in %zu", size, block);
		else
			cr_assert_leq(waste * 8, block, "%zu bytes in %zu", size, block);
	}
}

/* Slabs begin at granules, so a block's alignment is that of its offset: of the class size, wherever it lies. */
Test(classes, every_block_is_aligned_as_its_class_is)
{
	unsigned vectors = 0, pages = 0;
	for (unsigned c = 0; c < CLASSES; c++) {
		size_t size = class_table[c].size;
		cr_assert_eq(size % 16, 0, "class %u", c);
		for (size_t i = 0; i < class_table[c].capacity; i++)
			cr_assert_eq(i * size % alignment_of(size), 0);
		vectors += size % 64 == 0;
		pages += size % 4096 == 0;
	}
	cr_assert_eq(vectors, 8 + 13 * 8, "64 to 512, and everything above");
	cr_assert_eq(pages, 1 + 1 + 2 + 4 + 7 * 8, "4; 8; 12, 16; 20, 24, 28, 32 KiB; everything above");
	cr_assert_eq(GRANULE_BYTES % 4096, 0);
}

Test(classes, slabs_hold_what_they_say)
{
	for (unsigned c = 0; c < CLASSES; c++) {
		const struct class *class = &class_table[c];
		size_t bytes = (size_t) class->granules << GRANULE_SHIFT;
		cr_assert(class->granules >= 1 && class->granules <= CLASS_SLAB_GRANULES_MAX, "class %u", c);
		cr_assert_eq(class->capacity, bytes / class->size, "class %u", c);
		cr_assert_eq(class_is_single(c), class->capacity == 1, "class %u", c);
		if (class->size <= CLASS_SHARED_MAX) {
			cr_assert_leq(class->granules, CLASS_SHARED_GRANULES_MAX, "class %u", c);
			cr_assert_geq(class->capacity, 8, "class %u: %u blocks a slab", c, class->capacity);
			cr_assert_leq(bytes % class->size, bytes / 16, "class %u: the slab's tail", c);
		} else {
			cr_assert_eq(class->capacity, 1, "class %u: a slab of its own", c);
			cr_assert_lt(bytes - class->size, GRANULE_BYTES, "class %u: the slab's tail", c);
		}
		/* What the records can count. */
		cr_assert_leq(class->capacity, GRANULE_BYTES / 16);
		cr_assert_leq(class_is_single(c) ? 1 : bytes / 16 + 1, UINT16_MAX);
		cr_assert_leq(c, UINT8_MAX);
	}
}

/* Each block of a slab has a place of its own among the slab's tags. */
Test(classes, every_block_of_a_slab_has_a_tag_of_its_own)
{
	static struct slab record;
	range.slabs = &record;
	for (unsigned c = 0; c < CLASSES; c++) {
		record.class = (uint8_t)c;
		uint32_t size = class_table[c].size, before = 0;
		for (uint32_t block = 0; block < class_table[c].capacity; block++) {
			uint32_t index = slab_tag_index(&record, range.base + (size_t)block * size);
			bool good = (block ? index > before : index == 0) && index < class_tags(c);
			cr_assert(good, "class %u, block %u: tag %u after %u of %u", c, block, index, before, class_tags(c));
			before = index;
		}
		cr_assert(class_is_single(c) || class_tags(c) < 2u * class_table[c].capacity + 2, "class %u", c);
	}
}

Test(classes, aligned_class_is_the_smallest_that_is_aligned)
{
	for (size_t align = 1; align <= 4096; align *= 2) {
		for (size_t size = 0; size <= CLASS_SIZE_MAX; size += size < 2048 ? 1 : 61) {
			unsigned least = 0;
			while (least < CLASSES && (class_table[least].size < size || class_table[least].size % align))
				least++;
			unsigned got = class_of_aligned(size, align);
			cr_assert_eq(got, least, "%zu bytes at %zu: class %u, not %u", size, align, got, least);
		}
	}
}

Test(classes, no_aligned_class_above_the_largest)
{
	for (size_t align = 1; align <= 4096; align *= 2) {
		cr_assert_eq(class_of_aligned(CLASS_SIZE_MAX, align), CLASSES - 1);
		cr_assert_eq(class_of_aligned(CLASS_SIZE_MAX + 1, align), CLASSES);
		cr_assert_eq(class_of_aligned(SIZE_MAX, align), CLASSES, "the sum must not wrap");
		cr_assert_eq(class_of_aligned(SIZE_MAX - align, align), CLASSES);
	}
}
