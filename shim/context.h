/* context.h: from where an allocation really comes: its return address, and behind a wrapper the callers' too.
 *
 *   malloc ◄─ l_alloc ◄─ luaM_malloc_ ◄─ luaH_new           pc of l_alloc: a wrapper, 0x38 bytes up is the next
 *      context = pc              extend(pc, next)           that one too, 0x58 bytes up ...
 *
 * A context is a number of 55 bits that stands where the return address stands in keys (thread.h). For most calls it is
 * that address. A wrapper's frame has one size, so where its caller's return address lies is learned once, and from then
 * on the next context is one load and one multiplication away. The wrapper's own address never has a route, so the fast
 * path misses there by itself and knows nothing of all this.
 *
 * Nothing found this way is believed for ever: a context never seen is unwound and compared, and so is every so many a
 * refill. A wrapper that was wrong is one no longer.
 */
#ifndef SLUICE_CONTEXT_H
#define SLUICE_CONTEXT_H

#include "site.h"
#include "stack.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { CONTEXT_LEVELS_MAX = 4 /* callers a context may have beside its leaf */, WRAPPER_SLOTS = 2048 };

#define CONTEXT_EXTENDED (UINT64_C(1) << 54) /* no code is there, and it is not SITE_RETIRED */

/* Frames have one size where the compiler gave them one. `how`: distance << 17 | whether a wrapper is behind it << 16 | site. */
struct wrapper {
	_Atomic uint64_t context; /* 0: none, and none behind it; WRAPPER_GONE: one that was */
	_Atomic uint64_t how;
};

#define WRAPPER_GONE SITE_RETIRED /* retired number 0: nobody's */
#define WRAPPER_DEEPER (UINT64_C(1) << 16)
extern struct wrapper context_wrappers[WRAPPER_SLOTS];

/* Multiplicative hashing of both halves; 54 bits, so among 10^5 contexts two agree with probability 3e-7. */
static inline uintptr_t context_extend(uintptr_t context, uintptr_t pc)
{
	uint64_t both = (context << 32 | context >> 32) ^ pc;
	return CONTEXT_EXTENDED | both * UINT64_C(0x9E3779B97F4A7C15) >> 10;
}

static inline struct wrapper *context_home(uintptr_t context)
{
	return &context_wrappers[(context ^ context >> 11) % WRAPPER_SLOTS]; /* an extended one is well mixed already */
}

static inline const struct wrapper *context_wrapper(uintptr_t context)
{
	for (uint32_t i = (uint32_t)(context_home(context) - context_wrappers);; i++) {
		const struct wrapper *w = &context_wrappers[i % WRAPPER_SLOTS];
		uint64_t is = atomic_load_explicit(&w->context, memory_order_acquire);
		if (is == context)
			return w;
		if (__builtin_expect(is == 0, 1))
			return NULL;
	}
}

/* Asks for what stack_holds does not know. */
bool context_may_read(uintptr_t frame, uintptr_t slot);

/* The context of a call that returns to `pc` and whose canonical frame address is `frame` (0: unknown), as far as it has been
 * learned. Where the stack may not be read, the wrapper's own: SITE_RETIRED | its site. */
static inline uintptr_t context_of(uintptr_t pc, uintptr_t frame)
{
	const struct wrapper *w = context_wrapper(pc);
	while (__builtin_expect(w != NULL, 0)) {
		uint64_t how = atomic_load_explicit(&w->how, memory_order_relaxed);
		uintptr_t slot = frame + (how >> 17);
		if (__builtin_expect(!stack_holds(slot), 0) && !context_may_read(frame, slot))
			return SITE_RETIRED | (uint16_t)how;
		pc = context_extend(pc, *(const uintptr_t *)slot);
		w = how & WRAPPER_DEEPER ? context_wrapper(pc) : NULL;
	}
	return pc;
}

/* The same, and learns: off the fast path, with no lock held. Makes the site when it is new. */
uintptr_t context_meet(uintptr_t context, uintptr_t frame);

/* Option `callers`: off leaves every call its return address. Before the first. */
void contexts_enable(bool on);
bool contexts_enabled(void);

/* Under the sites' lock: the site's context is another now, or none until it comes back (0). true: it is a wrapper's. */
bool context_moved_locked(uint16_t site, uintptr_t context);

struct context_counts {
	uint64_t wrappers; /* contexts that are seen through now */
	uint64_t unwound;  /* calls that were unwound */
	uint64_t wrong;    /* of them, those where a learned distance had led astray: the wrapper was given up */
};
struct context_counts context_counts(void);

#endif
