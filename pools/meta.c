/* meta.c: a bump allocator with a free list per power of two, for tables that live about as long as the process.
 *
 * Tables double as they grow, so what they leave behind sums to less than the table itself, and the free lists give
 * it to the next thread's smaller table. A piece larger than a chunk gets a mapping of its own.
 */
#include "meta.h"

#include "apart.h"
#include "lock.h"
#include "os.h"

#include <stdint.h>
#include <string.h>

enum { MIN_SHIFT = 6, SHIFTS = 48, CHUNK_BYTES = 64 << 10, MAPPINGS_MAX = 128 };

struct piece {
	struct piece *next;
};

static struct lock lock;
static struct piece *free_pieces[SHIFTS];
static char *chunk, *chunk_end;
static _Atomic size_t total;
static APART struct {
	const void *start;
	size_t bytes;
} mappings[MAPPINGS_MAX];
static _Atomic unsigned mappings_count;

static unsigned shift_of(size_t bytes)
{
	unsigned shift = MIN_SHIFT;
	while (((size_t)1 << shift) < bytes)
		shift++;
	return shift;
}

static void note_mapping_locked(const void *start, size_t bytes)
{
	unsigned number = atomic_load_explicit(&mappings_count, memory_order_relaxed);
	if (number == MAPPINGS_MAX)
		return;
	mappings[number].start = start;
	mappings[number].bytes = bytes;
	atomic_store_explicit(&mappings_count, number + 1, memory_order_release);
}

bool meta_mapping(unsigned number, const void **start, size_t *bytes)
{
	if (number >= atomic_load_explicit(&mappings_count, memory_order_acquire))
		return false;
	*start = mappings[number].start;
	*bytes = mappings[number].bytes;
	return true;
}

static void *chunk_take_locked(size_t bytes)
{
	if ((size_t)(chunk_end - chunk) < bytes) {
		bool own = bytes > CHUNK_BYTES / 4;
		size_t fresh_bytes = own ? (bytes + OS_PAGE - 1) & -(size_t)OS_PAGE : CHUNK_BYTES;
		char *fresh = os_map(fresh_bytes);
		if (!fresh)
			return NULL;
		atomic_fetch_add_explicit(&total, fresh_bytes, memory_order_relaxed);
		note_mapping_locked(fresh, fresh_bytes);
		if (own)
			return fresh;
		chunk = fresh; /* what was left of the old chunk is under a quarter of it */
		chunk_end = fresh + CHUNK_BYTES;
	}
	void *piece = chunk;
	chunk += bytes;
	return piece;
}

void *meta_take(size_t bytes)
{
	unsigned shift = shift_of(bytes);
	lock_take(&lock);
	struct piece *piece = free_pieces[shift];
	if (piece)
		free_pieces[shift] = piece->next;
	void *fresh = piece ? NULL : chunk_take_locked((size_t)1 << shift);
	lock_drop(&lock);
	return piece ? memset(piece, 0, (size_t)1 << shift) : fresh;
}

void *meta_chunk(void *_Atomic *home, size_t bytes)
{
	void *is = atomic_load_explicit(home, memory_order_acquire);
	void *fresh = is ? NULL : meta_take(bytes);
	if (!fresh || atomic_compare_exchange_strong(home, &is, fresh))
		return is ? is : fresh;
	meta_give(fresh, bytes); /* another thread was first */
	return is;
}

void meta_give(void *returned, size_t bytes)
{
	struct piece *piece = returned;
	unsigned shift = shift_of(bytes);
	lock_take(&lock);
	piece->next = free_pieces[shift];
	free_pieces[shift] = piece;
	lock_drop(&lock);
}

size_t meta_bytes(void)
{
	return atomic_load_explicit(&total, memory_order_relaxed);
}

void meta_fork_prepare(void)
{
	lock_take(&lock);
}

void meta_fork_parent(void)
{
	lock_drop(&lock);
}

void meta_fork_child(void)
{
	lock_reset(&lock);
}
