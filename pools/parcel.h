/* parcel.h: frees of other heaps' blocks, many at a time.
 *
 * A thread that frees blocks of another's gathers them in a parcel, an array of pointers, and puts the full parcel on
 * that heap's inbox: one compare-and-swap for up to 61 blocks, and the blocks themselves are not touched. (A list through
 * the blocks would move the cache line of each to the freeing core and, when it is allocated again, back.) Their owner
 * takes the whole inbox in one exchange.
 *
 *   outbox.open[hash(heap)] ─► parcel being filled ──heap_send──► heap.inbox ─► parcel ─► parcel
 *                                    ▲                                              │
 *                                    └────────── count is 0 again ◄────heap_drain───┘
 *
 * Parcels belong to the outbox for good. A block in one counts as used, so its slab stays. What an outbox may hold back is
 * bounded: OUTBOX_LANES parcels being filled, each sent when it holds PARCEL_BYTES or when its thread has refilled
 * OUTBOX_AGE times; and OUTBOX_PARCELS in all. A sender whose parcels are all on their way takes them out of the inboxes
 * again and gives the blocks to their slabs one by one, and so does everybody until that heap has drained: an idle owner
 * has an empty inbox, and what it owns can be seen by slab (remote.c).
 */
#ifndef SLUICE_PARCEL_H
#define SLUICE_PARCEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PARCEL_BLOCKS = 61,
	PARCEL_BYTES = 16 << 10,
	PARCEL_BLOCK_MAX = 2 << 10, /* larger blocks go at once */
	OUTBOX_LANES = 8,
	OUTBOX_PARCELS = 32,
	OUTBOX_AGE = 64
};

struct heap;

struct parcel {
	struct parcel *next;
	struct heap *to;
	_Atomic uint32_t count; /* blocks not yet home; 0: the sender's to fill again */
	uint32_t bytes;
	void *blocks[PARCEL_BLOCKS];
};

_Static_assert(sizeof(struct parcel) == 512, "a piece of meta's");

struct outbox {
	struct parcel *open[OUTBOX_LANES];              /* being filled, at least one block in each */
	struct parcel *_Atomic parcels[OUTBOX_PARCELS]; /* all there are; others may look (sum, walk) */
	uint32_t cursor;                                /* where the one longest under way is expected */
	uint32_t drains;
};

#endif
