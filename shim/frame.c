/* frame.c: see frame.h. Reading is lock-free, as in site.c: a record is complete before its number is stored. */
#include "frame.h"

#include "mapping.h"
#include "pools/apart.h"
#include "pools/os.h"
#include "site.h"

#include <stdatomic.h>

enum { SLOTS_FIRST = 1 << 10, SLOTS = 1 << 18, STEP_BYTES = 64 << 10 };

_Static_assert(SLOTS >= 2 * LEDGER_FRAMES_MAX, "the index is never more than half full");

/* Frame number + 1. As much of it is used as is needed, so that few pages are touched; who reads while it grows may miss, and
 * looks again under the lock. */
static APART _Atomic uint32_t index_table[SLOTS];
static _Atomic uint32_t index_slots = SLOTS_FIRST;

/* A section of the ledger that grows, in bytes from its start. */
struct section {
	uint64_t committed;
};
static struct section frames_section, stacks_section, ids_section;

static bool grow(struct section *s, uint64_t at, uint64_t bytes, uint64_t max)
{
	while (bytes > s->committed) {
		if (s->committed >= max || !os_commit((char *)ledger() + at + s->committed, STEP_BYTES))
			return false;
		s->committed += STEP_BYTES;
	}
	return true;
}

static uint32_t hash(uint32_t mapping, uint64_t offset)
{
	return (uint32_t)((offset + ((uint64_t)mapping << 40)) * UINT64_C(0x9E3779B97F4A7C15) >> 40);
}

static uint32_t find(uint32_t mapping, uint64_t offset)
{
	uint32_t mask = atomic_load_explicit(&index_slots, memory_order_acquire) - 1;
	for (uint32_t slot = hash(mapping, offset) & mask;; slot = (slot + 1) & mask) {
		uint32_t frame = atomic_load_explicit(&index_table[slot], memory_order_acquire);
		if (!frame)
			return LEDGER_NONE;
		const struct ledger_frame *is = &ledger_frames(ledger())[frame - 1];
		if (is->offset == offset && is->mapping == mapping)
			return frame - 1;
	}
}

static void index_locked(uint32_t frame)
{
	const struct ledger_frame *is = &ledger_frames(ledger())[frame];
	uint32_t mask = index_slots - 1, slot = hash(is->mapping, is->offset) & mask;
	while (atomic_load_explicit(&index_table[slot], memory_order_relaxed))
		slot = (slot + 1) & mask;
	atomic_store_explicit(&index_table[slot], frame + 1, memory_order_release);
}

/* Twice the part in use. */
static void index_grow_locked(uint32_t frames)
{
	uint32_t slots = index_slots;
	for (uint32_t i = 0; i < slots; i++)
		atomic_store_explicit(&index_table[i], 0, memory_order_relaxed);
	atomic_store_explicit(&index_slots, 2 * slots, memory_order_release);
	for (uint32_t i = 0; i < frames; i++)
		index_locked(i);
}

static uint32_t add_locked(uint32_t mapping, uint64_t offset)
{
	struct ledger_header *l = ledger();
	uint32_t frame = find(mapping, offset);
	if (frame != LEDGER_NONE)
		return frame;
	frame = l->frames_count;
	if (frame >= LEDGER_FRAMES_MAX || !grow(&frames_section, l->frames_at, (frame + 1) * sizeof(struct ledger_frame),
	                                        LEDGER_FRAMES_MAX * sizeof(struct ledger_frame))) {
		l->quality.dropped_frames++;
		return LEDGER_NONE;
	}
	ledger_frames(l)[frame] = (struct ledger_frame){.offset = offset, .mapping = mapping};
	l->frames_count = frame + 1;
	if (2 * frame >= index_slots && index_slots < SLOTS)
		index_grow_locked(frame);
	index_locked(frame);
	return frame;
}

static uint64_t offset_in(uint32_t mapping, uintptr_t pc)
{
	return mapping == LEDGER_NONE ? pc : pc - ledger_mappings(ledger())[mapping].bias;
}

uint32_t frame_of(uintptr_t pc)
{
	if (!ledger())
		return LEDGER_NONE;
	uint32_t mapping = mapping_of(pc);
	uint64_t offset = offset_in(mapping, pc);
	uint32_t frame = find(mapping, offset);
	if (frame != LEDGER_NONE)
		return frame;
	sites_lock();
	frame = add_locked(mapping, offset);
	sites_unlock();
	return frame;
}

uint32_t frame_try(uintptr_t pc)
{
	uint32_t mapping = mapping_of(pc);
	uint64_t offset = offset_in(mapping, pc);
	uint32_t frame = find(mapping, offset);
	if (frame != LEDGER_NONE || ledger()->frames_count >= LEDGER_FRAMES_MAX / 4 * 3 || !sites_try_lock())
		return frame;
	frame = add_locked(mapping, offset);
	sites_unlock();
	return frame;
}

uintptr_t frame_pc(const struct ledger_frame *frame)
{
	if (frame->mapping == LEDGER_NONE)
		return frame->offset;
	return mapping_is_retired(frame->mapping) ? 0 : frame->offset + ledger_mappings(ledger())[frame->mapping].bias;
}

uint32_t stack_add_locked(const uint32_t *frames, uint32_t count, bool truncated)
{
	struct ledger_header *l = ledger();
	uint32_t stack = l->stacks_count, at = l->stack_ids_count;
	if (stack >= LEDGER_STACKS_MAX || at + count > LEDGER_STACK_IDS_MAX ||
	    !grow(&stacks_section, l->stacks_at, (stack + 1) * sizeof(struct ledger_stack),
	          LEDGER_STACKS_MAX * sizeof(struct ledger_stack)) ||
	    !grow(&ids_section, l->stack_ids_at, (at + count) * sizeof(uint32_t),
	          LEDGER_STACK_IDS_MAX * sizeof(uint32_t))) {
		l->quality.dropped_stacks++;
		return LEDGER_NONE;
	}
	for (uint32_t i = 0; i < count; i++)
		ledger_stack_ids(l)[at + i] = frames[i];
	ledger_stacks(l)[stack] = (struct ledger_stack){.at = at, .count = (uint16_t)count, .truncated = truncated};
	l->stack_ids_count = at + count;
	l->stacks_count = stack + 1;
	return stack;
}

const uint32_t *stack_frames(uint32_t stack, uint32_t *count)
{
	const struct ledger_stack *is = &ledger_stacks(ledger())[stack];
	*count = is->count;
	return &ledger_stack_ids(ledger())[is->at];
}
