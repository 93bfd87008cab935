/* decay.h: which free granules of the range hold old bytes, for how long they have, and which go back to the kernel next.
 *
 *   dirty   it is free, and was in a slab since the kernel last gave it
 *   aged    it was already dirty at the last tick of the clock
 *
 * A tick has what is still aged purged and makes aged what is dirty. So a granule goes between one and two periods after
 * it fell free, and one that is reused in time never goes: hysteresis without a timestamp per granule. The clock is read
 * when a run is given back or taken, so an idle process ticks no more; malloc_trim is there for it. Of a huge page that
 * has few holes none goes: it would be split for them (huge.h).
 *
 * The caller holds the range's lock.
 */
#ifndef SLUICE_DECAY_H
#define SLUICE_DECAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of zero-filled memory for so many granules, aligned to 8: touched as far as granules have ever been dirty. */
size_t decay_bytes(uint32_t granules);
void decay_init(void *memory, uint32_t granules);

/* Milliseconds; 0: at once, -1: never. 1000 from the start. */
void decay_period_set(int64_t ms);
int64_t decay_period(void);

/* Free granules that hold old bytes from now on. */
void decay_add(uint32_t first, uint32_t count);

/* They are free no more, or about to be purged. Returns how many of them were dirty. */
uint32_t decay_remove(uint32_t first, uint32_t count);

/* How many of them are dirty; of all granules. */
uint32_t decay_count(uint32_t first, uint32_t count);
uint32_t decay_count_all(void);

/* The next run below `top` to be purged, from `from` on: an aged one or, at `all`, a dirty one; it ends where a huge page begins or
 * ends. Returns its length, 0: there is none. */
uint32_t decay_next(bool all, uint32_t from, uint32_t top, uint32_t *first);

/* Is a tick due, or the last one's work not done? Then the caller purges, after it has dropped the lock, and says whether it came
 * to the end. */
bool decay_is_due(void);
void decay_done(bool all_of_it, uint32_t top);

#endif
