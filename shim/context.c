/* context.c: learning who is a wrapper. See context.h.
 *
 * A site is looked at when it is new, at its refills, at a new route's first allocations, and at those that a route was armed
 * for later (lifetime.h), which reach also those whose blocks come and go. The first looks and some of the later ones unwind
 * the call; the others only read the next return address where it was the last times, and unwind when nobody called from there
 * before. A site is a wrapper when
 * its function's name says so (wrapper_names.h), or when three callers were seen and none of them makes nine tenths, or when
 * one does that six others call. Its site stays for the blocks it has; its routes are known as SITE_RETIRED | number from then
 * on, so that the fast path misses. Where the next return address lies is certain when the unwind tables give the frames one
 * size, else it must have been the same three times; when it is not, the site is left as it is.
 *
 * The lock is the sites' own; unwinding comes before it.
 */
#include "context.h"

#include "pools/apart.h"
#include "pools/meta.h"
#include "route.h"
#include "unwind.h"

enum {
	CALLERS = 4,
	CALLERS_WRAPPER = 3,
	SECONDS = 6, /* so many callers behind a single one make both pass things on */
	DISTANCE_MAX = 64 << 10,
	WRAPPERS_MAX = WRAPPER_SLOTS / 4,
	LOOKS_ALL = 8,   /* the first are all unwound */
	LOOKS_EACH = 64, /* and one in so many for ever; at the others the next caller is only peeked at */
	SAMPLES_MAX = 1 << 30,
	CHUNK = 64
};

enum state { WATCHED, WRAPPER, UNSTABLE };

struct learner {
	_Atomic uint64_t context; /* as it was asked for; its site's may be SITE_RETIRED now */
	_Atomic uint64_t callers[CALLERS];
	_Atomic uint32_t counts[CALLERS]; /* how often each was seen; threads may lose one another's */
	_Atomic uint32_t samples;         /* and all together */
	uint32_t seconds[SECONDS];        /* callers of the callers, by the low half of their addresses */
	_Atomic uint32_t distance;        /* of the next return address from the frame; 0: not known */
	_Atomic uint32_t looks;
	_Atomic uint8_t state;
};

APART struct wrapper context_wrappers[WRAPPER_SLOTS];
static APART void *_Atomic chunks[LEDGER_SITES_MAX / CHUNK + 1];
static _Atomic uint64_t unwound_count, wrong_count;
static uint32_t wrappers, slots_used;
static bool disabled;
static __thread bool busy __attribute__((tls_model("initial-exec"))); /* a handler interrupted context_meet */

void contexts_enable(bool on)
{
	disabled = !on;
}

bool contexts_enabled(void)
{
	return !disabled;
}

bool context_may_read(uintptr_t frame, uintptr_t slot)
{
	return frame && stack_may_read(frame, slot);
}

static struct learner *learner_of(uint16_t site)
{
	struct learner *chunk = meta_chunk(&chunks[site / CHUNK], CHUNK * sizeof(*chunk));
	return chunk ? &chunk[site % CHUNK] : NULL;
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

/* false: the table is full. An entry's place stays its context's for ever, unless that is gone. */
static bool wrapper_add_locked(uintptr_t context, uint64_t how)
{
	struct wrapper *free = NULL;
	for (uint32_t i = (uint32_t)(context_home(context) - context_wrappers);; i++) {
		struct wrapper *w = &context_wrappers[i % WRAPPER_SLOTS];
		uint64_t is = atomic_load_explicit(&w->context, memory_order_relaxed);
		if (is == WRAPPER_GONE && !free)
			free = w;
		if (is)
			continue;
		if (!free && slots_used == WRAPPERS_MAX)
			return false;
		slots_used += !free;
		free = free ? free : w;
		break;
	}
	wrappers++;
	atomic_store_explicit(&free->how, how, memory_order_relaxed);
	atomic_store_explicit(&free->context, context, memory_order_seq_cst);
	return true;
}

/* Places of contexts that are gone, from `i` down, where nothing lies behind them: no look-up goes on there. */
static void sweep_locked(uint32_t i)
{
	if (context_wrappers[(i + 1) % WRAPPER_SLOTS].context != 0)
		return;
	for (struct wrapper *w; (w = &context_wrappers[i % WRAPPER_SLOTS])->context == WRAPPER_GONE; i--) {
		atomic_store_explicit(&w->context, 0, memory_order_relaxed);
		slots_used--;
	}
}

static void wrapper_drop_locked(uintptr_t context)
{
	struct wrapper *w = (struct wrapper *)(uintptr_t)context_wrapper(context);
	if (w) {
		atomic_store_explicit(&w->context, WRAPPER_GONE, memory_order_relaxed);
		wrappers--;
		sweep_locked((uint32_t)(w - context_wrappers));
	}
}

static uint64_t how_of(const struct learner *l, uint16_t site)
{
	return (uint64_t)l->distance << 17 | site;
}

/* Tells the wrapper before this one that there is one behind it. */
static void deepen_locked(const struct unwound *seen, unsigned level)
{
	uintptr_t context = seen->pcs[0];
	for (unsigned i = 0; i < level; i++) {
		struct wrapper *w = (struct wrapper *)(uintptr_t)context_wrapper(context);
		if (w)
			atomic_fetch_or_explicit(&w->how, WRAPPER_DEEPER, memory_order_relaxed);
		context = context_extend(context, seen->pcs[i + 1]);
	}
}

/* --- learning ----------------------------------------------------------------------------------------------------- */

static bool is_due(struct learner *l)
{
	uint32_t looks = atomic_fetch_add_explicit(&l->looks, 1, memory_order_relaxed) + 1;
	if (looks <= LOOKS_ALL)
		return true;
	return (looks & (looks - 1)) == 0 || looks % LOOKS_EACH == 0;
}

static void count(_Atomic uint32_t *of)
{
	uint32_t now = atomic_load_explicit(of, memory_order_relaxed);
	atomic_store_explicit(of, now + 1, memory_order_relaxed);
}

/* Which of its callers that is, or the first place where there is none; CALLERS: another, and all are in use. */
static unsigned caller_at(const struct learner *l, uintptr_t pc)
{
	for (unsigned i = 0; i < CALLERS; i++) {
		uint64_t is = atomic_load_explicit(&l->callers[i], memory_order_relaxed);
		if (is == pc || !is)
			return i;
	}
	return CALLERS;
}

static void note_caller(struct learner *l, uintptr_t pc)
{
	unsigned i = caller_at(l, pc);
	count(&l->samples);
	if (i == CALLERS)
		return;
	atomic_store_explicit(&l->callers[i], pc, memory_order_relaxed);
	count(&l->counts[i]);
}

/* The cheap look: the next return address is read where it was the last times. true: it is none that was seen before, which a
 * real look has to confirm. */
static bool peek(struct learner *l, uintptr_t frame)
{
	uint32_t distance = atomic_load_explicit(&l->distance, memory_order_relaxed);
	uintptr_t slot = frame + distance;
	if (l->state != WATCHED || !distance || l->samples > SAMPLES_MAX ||
	    !(stack_holds(slot) || stack_may_read(frame, slot)))
		return false;
	uintptr_t caller = *(const uintptr_t *)slot;
	unsigned i = caller_at(l, caller);
	if (i < CALLERS && atomic_load_explicit(&l->callers[i], memory_order_relaxed) != caller)
		return true;
	note_caller(l, caller);
	return false;
}

static void note_second(struct learner *l, uintptr_t pc)
{
	for (unsigned i = 0; i < SECONDS; i++)
		if (l->seconds[i] == (uint32_t)pc || !l->seconds[i]) {
			l->seconds[i] = (uint32_t)pc;
			return;
		}
}

/* Its callers are many, or one that many call: an allocator behind an allocator (sqlite3's, lua's). */
static bool has_many_callers(const struct learner *l)
{
	uint32_t most = 0;
	for (unsigned i = 0; i < CALLERS; i++)
		most = l->counts[i] > most ? l->counts[i] : most;
	if ((uint64_t)most * 10 >= (uint64_t)l->samples * 9)
		return l->seconds[SECONDS - 1] != 0;
	return l->callers[CALLERS_WRAPPER - 1] != 0;
}

/* Notes who called the context's outermost function; true: it is a wrapper now. */
static bool note_locked(struct learner *l, uint16_t site, uintptr_t context, const struct unwound *seen, unsigned level,
                        uintptr_t frame, bool listed)
{
	uint32_t distance = (uint32_t)(seen->slots[level + 1] - frame);
	bool fixed = true;
	for (unsigned i = 0; i <= level; i++)
		fixed = fixed && seen->fixed[i];
	if (l->state != WATCHED || !distance || distance > DISTANCE_MAX)
		return false;
	if (l->samples && l->distance != distance) {
		l->state = UNSTABLE;
		return false;
	}
	atomic_store_explicit(&l->distance, distance, memory_order_relaxed);
	note_caller(l, seen->pcs[level + 1]);
	if (level + 2 < seen->count)
		note_second(l, seen->pcs[level + 2]);
	if (!(listed || has_many_callers(l)) || !(fixed || l->samples >= 3))
		return false;
	atomic_store_explicit(&l->context, context, memory_order_relaxed);
	if (!wrapper_add_locked(context, how_of(l, site)))
		return false;
	l->state = WRAPPER;
	deepen_locked(seen, level);
	site_rename_locked(site, SITE_RETIRED | site);
	return true;
}

static bool note(uint16_t site, uintptr_t context, const struct unwound *seen, unsigned level, uintptr_t frame)
{
	struct learner *l = learner_of(site);
	if (!l || level >= CONTEXT_LEVELS_MAX || level + 1 >= seen->count)
		return false;
	/* What an allocator by name calls is one too. */
	bool listed = site_is_listed(site) || site_pc_is_listed(seen->pcs[level + 1]);
	sites_lock();
	bool became = note_locked(l, site, context, seen, level, frame, listed);
	sites_unlock();
	return became || l->state == WRAPPER;
}

/* The call is not what the learned distances said: the first wrapper whose next return address lies elsewhere is none. */
static void give_up(const struct unwound *seen, uintptr_t frame)
{
	uintptr_t context = seen->pcs[0];
	sites_lock();
	for (unsigned i = 0; i < CONTEXT_LEVELS_MAX && i + 1 < seen->count; i++) {
		const struct wrapper *w = context_wrapper(context);
		if (!w)
			break;
		uint64_t how = atomic_load_explicit(&w->how, memory_order_relaxed);
		if (how >> 17 != seen->slots[i + 1] - frame) {
			uint16_t site = (uint16_t)how;
			wrapper_drop_locked(context);
			learner_of(site)->state = UNSTABLE;
			site_move_locked(site, context);
			atomic_fetch_add_explicit(&wrong_count, 1, memory_order_relaxed);
			break;
		}
		context = context_extend(context, seen->pcs[i + 1]);
	}
	sites_unlock();
}

/* How many callers beside its leaf the context has, by what was unwound; more than CONTEXT_LEVELS_MAX: it is another. */
static unsigned level_of(uintptr_t context, const struct unwound *seen)
{
	uintptr_t is = seen->pcs[0];
	unsigned level = 0;
	while (is != context && ++level <= CONTEXT_LEVELS_MAX && level < seen->count)
		is = context_extend(is, seen->pcs[level]);
	return is == context ? level : CONTEXT_LEVELS_MAX + 1;
}

/* With no room for further sites a new one is "other", seen or not. One in so many is seen all the same: a wrong load may have
 * made it up. */
static bool is_one_of_the_rest(void)
{
	static _Atomic uint32_t rest;
	return atomic_fetch_add_explicit(&rest, 1, memory_order_relaxed) % LOOKS_EACH == LOOKS_EACH - 1;
}

/* One look; true: look again, something was learned. */
static bool look(uintptr_t *context, uintptr_t frame)
{
	uint16_t site = site_find(*context);
	struct learner *l = site ? learner_of(site) : NULL;
	struct unwound seen;
	if (site && (!l || !(is_due(l) || peek(l, frame))))
		return false;
	if (!site && sites_are_full() && !is_one_of_the_rest())
		return false;
	atomic_fetch_add_explicit(&unwound_count, 1, memory_order_relaxed);
	unwind(frame, site ? UNWIND_SLOTS_MAX : UNWIND_FRAMES_MAX, &seen);
	if (!seen.count)
		return false;
	unsigned level = level_of(*context, &seen);
	if (level > CONTEXT_LEVELS_MAX) {
		uintptr_t leaf = seen.pcs[0];
		if (!context_wrapper(leaf)) /* a caller that says another address than it has */
			return false;
		give_up(&seen, frame);
		*context = context_of(leaf, frame);
		return true;
	}
	if (!site)
		site = site_born(*context, &seen, level + 1);
	if (site == SITE_OTHER || !note(site, *context, &seen, level, frame))
		return false;
	*context = context_of(seen.pcs[0], frame);
	return true;
}

uintptr_t context_meet(uintptr_t context, uintptr_t frame)
{
	if (!frame || disabled || busy || context & SITE_RETIRED || context <= PC_OTHER)
		return context;
	busy = true;
	for (unsigned i = 0; i <= 2 * CONTEXT_LEVELS_MAX && !(context & SITE_RETIRED) && look(&context, frame); i++)
		;
	busy = false;
	return context;
}

bool context_moved_locked(uint16_t site, uintptr_t context)
{
	struct learner *chunk = atomic_load_explicit(&chunks[site / CHUNK], memory_order_acquire);
	struct learner *l = chunk ? &chunk[site % CHUNK] : NULL;
	if (!l || l->state != WRAPPER)
		return false;
	if (l->context != context) {
		if (l->context)
			wrapper_drop_locked(l->context);
		atomic_store_explicit(&l->context, context, memory_order_relaxed);
		if (context && !wrapper_add_locked(context, how_of(l, site) | WRAPPER_DEEPER))
			atomic_store_explicit(&l->state, UNSTABLE, memory_order_relaxed);
	}
	return l->state == WRAPPER;
}

struct context_counts context_counts(void)
{
	return (struct context_counts){.wrappers = wrappers,
	                               .unwound = atomic_load_explicit(&unwound_count, memory_order_relaxed),
	                               .wrong = atomic_load_explicit(&wrong_count, memory_order_relaxed)};
}
