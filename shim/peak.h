/* peak.h: the highest number of bytes alive, at a cost of nothing on the fast path.
 *
 * Threads tell how their live bytes changed when they refill, in steps of PEAK_STEP_BYTES; the fallback tells at once.
 * So the peak seen is within (threads x step) of the truth, plus what lay ready in the threads' slots.
 */
#ifndef SLUICE_PEAK_H
#define SLUICE_PEAK_H

#include <stdatomic.h>
#include <stdint.h>

enum { PEAK_STEP_BYTES = 64 << 10 };

extern _Atomic int64_t peak_live, peak_highest;

static inline void peak_note(int64_t change)
{
	int64_t live = atomic_fetch_add_explicit(&peak_live, change, memory_order_relaxed) + change;
	int64_t highest = atomic_load_explicit(&peak_highest, memory_order_relaxed);
	while (live > highest && !atomic_compare_exchange_weak_explicit(&peak_highest, &highest, live, memory_order_relaxed,
	                                                                memory_order_relaxed))
		;
}

#endif
