/* unwind.c: walking over frames by the rules of .eh_frame (eh_frame.h).
 *
 * Why not libunwind: Debian's archive is not position-independent, so it would be one more library in every process, as
 * much start-up as all of ours; it blocks signals by two system calls a step and holds locks that a fork's child would
 * inherit; and it asks dl_iterate_phdr, which waits for whoever is inside dlopen. tests/unit/unwind.c holds this file
 * against it, frame by frame.
 *
 * What the tables say of a return address does not change while its file is loaded, so it is kept in a small table: a step is then
 * some ten instructions. An entry is two words, the second xored into the first, so that a torn one never matches (R. Hyatt and T.
 * Mann, "A lockless transposition table", 2002).
 */
#include "unwind.h"

#include "confined.h"
#include "eh_frame.h"
#include "pools/apart.h"
#include "pools/os.h"
#include "stack.h"

#include <stdatomic.h>
#include <stddef.h>

enum { OWN_FRAMES_MAX = 16, SLOTS = 1024 };

struct walk {
	struct eh_registers at;
	bool exact; /* at.pc is where the code goes on, not behind a call: a signal came there */
	bool fixed; /* the frame just left has one size */
	bool outermost;
};

static bool load(uintptr_t from, uintptr_t slot, uintptr_t *value)
{
	if (slot % sizeof(slot))
		return false;
	if (stack_may_read(from, slot)) {
		*value = *(const uintptr_t *)slot;
		return true;
	}
	return !confined() && os_peek(value, (const void *)slot, sizeof(*value));
}

/* --- a step ------------------------------------------------------------------------------------------------------- */

/* What is kept of a return address: the frame's size in words, by which register, where the old frame pointer is (words below the
 * frame's end, 0: not saved). */
enum { KEPT_BY_BP = 1, KEPT_OUTERMOST = 2, KEPT_VALID = 4, KEPT_SHIFT = 3, KEPT_FIELD = 28 };

static APART struct {
	_Atomic uint64_t key, kept;
} table[SLOTS];

static uint32_t slot_of(uintptr_t pc)
{
	return (uint32_t)(pc * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (SLOTS - 1);
}

static uint64_t kept_of(uintptr_t pc)
{
	uint32_t slot = slot_of(pc);
	uint64_t kept = atomic_load_explicit(&table[slot].kept, memory_order_relaxed);
	return (atomic_load_explicit(&table[slot].key, memory_order_relaxed) ^ kept) == pc ? kept : 0;
}

static void keep(uintptr_t pc, uint64_t kept)
{
	uint32_t slot = slot_of(pc);
	atomic_store_explicit(&table[slot].kept, kept, memory_order_relaxed);
	atomic_store_explicit(&table[slot].key, pc ^ kept, memory_order_relaxed);
}

void unwind_forget(void)
{
	for (uint32_t i = 0; i < SLOTS; i++)
		if (atomic_load_explicit(&table[i].kept, memory_order_relaxed))
			atomic_store_explicit(&table[i].kept, 0, memory_order_relaxed);
}

/* The usual frame in one word; 0: it is another. */
static uint64_t compress(const struct eh_rules *r)
{
	uint64_t words = (uint64_t)r->cfa_offset / 8, saved = r->bp.how == EH_AT_CFA ? (uint64_t)-r->bp.offset / 8 : 0;
	if (r->is_signal)
		return 0;
	if (r->ra.how == EH_UNKNOWN)
		return KEPT_VALID | KEPT_OUTERMOST;
	if ((r->cfa_register != EH_SP && r->cfa_register != EH_BP) || r->cfa_offset <= 0 || r->cfa_offset % 8 ||
	    r->ra.how != EH_AT_CFA || r->ra.offset != -8 || (r->bp.how != EH_SAME && r->bp.how != EH_AT_CFA) ||
	    r->bp.offset % 8 || r->bp.offset > 0 || words >> KEPT_FIELD || saved >> KEPT_FIELD)
		return 0;
	return KEPT_VALID | (r->cfa_register == EH_BP ? KEPT_BY_BP : 0) | words << KEPT_SHIFT |
	       saved << (KEPT_SHIFT + KEPT_FIELD);
}

static bool step_kept(struct walk *w, uint64_t kept)
{
	uint64_t mask = (UINT64_C(1) << KEPT_FIELD) - 1, saved = kept >> (KEPT_SHIFT + KEPT_FIELD) & mask;
	uintptr_t cfa = (kept & KEPT_BY_BP ? w->at.bp : w->at.sp) + 8 * (kept >> KEPT_SHIFT & mask), pc;
	if (kept & KEPT_OUTERMOST) {
		w->outermost = true;
		return false;
	}
	if (cfa <= w->at.sp || !load(w->at.sp, cfa - 8, &pc) || (saved && !load(w->at.sp, cfa - 8 * saved, &w->at.bp)))
		return false;
	w->fixed = !(kept & KEPT_BY_BP);
	w->at.sp = cfa;
	w->at.pc = pc;
	w->exact = false;
	return true;
}

static bool find_place(const struct eh_place *place, const struct walk *w, uintptr_t cfa, uintptr_t *value)
{
	uintptr_t slot = cfa + (uintptr_t)place->offset;
	if (place->how == EH_SAME)
		return true;
	if (place->how == EH_UNKNOWN ||
	    (place->how == EH_EXPRESSION && !eh_frame_evaluate(place->block, &w->at, load, &slot)))
		return false;
	return load(w->at.sp, slot, value);
}

static bool find_cfa(const struct eh_rules *r, const struct walk *w, uintptr_t *cfa)
{
	*cfa = 0;
	if (r->cfa_register == -1)
		return eh_frame_evaluate(r->cfa_block, &w->at, load, cfa);
	*cfa = (r->cfa_register == EH_BP ? w->at.bp : w->at.sp) + (uintptr_t)r->cfa_offset;
	return r->cfa_register == EH_BP || r->cfa_register == EH_SP;
}

/* Frames that do not fit the table: a signal's, those of assembler and of functions that align their stack. */
static bool step_other(struct walk *w, const struct eh_rules *r)
{
	uintptr_t cfa, pc = 0, bp = w->at.bp;
	if (!find_cfa(r, w, &cfa))
		return false;
	if ((!r->is_signal && cfa <= w->at.sp) || !find_place(&r->ra, w, cfa, &pc))
		return false;
	if (!find_place(&r->bp, w, cfa, &bp))
		bp = 0;
	*w = (struct walk){.at = {.pc = pc, .sp = cfa, .bp = bp}, .exact = r->is_signal};
	return true;
}

/* One frame outwards; false: the end, or it cannot be followed. */
static bool step(struct walk *w)
{
	uintptr_t pc = w->at.pc - !w->exact; /* a call may be its function's last instruction */
	uint64_t kept = kept_of(pc);
	if (kept)
		return step_kept(w, kept);
	if (w->at.pc < 4096) {
		w->outermost = w->at.pc == 0;
		return false;
	}
	struct eh_rules rules;
	if (!eh_frame_rules(pc, &rules))
		return false;
	kept = compress(&rules);
	if (!kept)
		return step_other(w, &rules);
	keep(pc, kept);
	return step_kept(w, kept);
}

static bool reach(struct walk *w, uintptr_t cfa)
{
	for (int i = 0; i < OWN_FRAMES_MAX && w->at.sp < cfa; i++)
		if (!step(w))
			return false;
	return w->at.sp == cfa;
}

__attribute__((noinline)) void unwind(uintptr_t cfa, uint32_t max, struct unwound *to)
{
	/* This function has a frame pointer, since it is asked for; so the caller's is where it points. */
	const uintptr_t *frame = __builtin_frame_address(0);
	struct walk w = {.at = {.pc = frame[1], .sp = (uintptr_t)(frame + 2), .bp = frame[0]}};
	to->count = 0;
	to->whole = false;
	if (!reach(&w, cfa))
		return;
	for (max = max < UNWIND_FRAMES_MAX ? max : UNWIND_FRAMES_MAX; to->count < max;) {
		uint32_t i = to->count++;
		to->pcs[i] = w.at.pc;
		if (i < UNWIND_SLOTS_MAX)
			to->slots[i] = w.at.sp - sizeof(uintptr_t);
		bool more = step(&w);
		if (i < UNWIND_SLOTS_MAX)
			to->fixed[i] = more && w.fixed;
		if (!more)
			break;
	}
	to->whole = w.outermost;
}
