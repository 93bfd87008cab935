/* huge.h: which parts of the range get huge pages, and which lose them.
 *
 * A region is 2 MiB, 128 granules. It is asked for as a huge page when the first run comes to it and
 *
 *   all of it is free and clean            the kernel gives a huge page at the first touch, or never
 *   at least HUGE_FROM is in slabs         a small heap pays nothing
 *   7/8 of what lies below it are          runs are taken lowest address first, so it is about to be filled as well
 *   the run is of a slab of small blocks   a large block need not be touched as a whole
 *   blocks fill 15/16 of their runs        what a page of 4 KiB would leave untouched, a huge one makes resident
 *   huge pages come quickly                where the kernel must find or clear them slowly, it is asked more and more rarely
 *
 * It is given up when an eighth of it or more is to be purged: then the kernel is told to keep it in small pages, or it would
 * fill the holes again. Free granules of a region with less are not purged, so no huge page is split for little.
 *
 * The caller holds the range's lock, but for huge_make and huge_split.
 */
#ifndef SLUICE_HUGE_H
#define SLUICE_HUGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HUGE_GRANULES = 128, HUGE_FROM = 64 << 20, HUGE_HOLES = HUGE_GRANULES / 8 };

/* Bytes of zero-filled memory for so many granules, aligned to 8. */
size_t huge_bytes(uint32_t granules);
void huge_init(void *memory);

/* The option; on from the start. */
void huge_allow(bool allowed);

/* So many more bytes of runs are beyond the end of their only block. Any thread, no lock. */
void huge_unfilled(int64_t bytes);

/* `used` granules are in slabs. Shall the region that begins at the granule, free and clean, be a huge page? Then it is one
 * from now on, and huge_make follows before anybody touches it. */
bool huge_wants(uint32_t granule, uint32_t used);
void huge_make(uint32_t granule);

/* Is the granule in such a region? */
bool huge_is(uint32_t granule);

/* The region of the granule is none any more; huge_split follows. */
void huge_end(uint32_t granule);
void huge_split(uint32_t granule);

/* How many there are. */
uint32_t huge_count(void);

/* For tests: in place of the kernel's answer and the clock, in nanoseconds. */
void huge_simulate(void (*advise)(void *start, size_t bytes, bool huge), uint64_t (*clock)(void));

#endif
