/* walk.h: checks every structure of the pools against every other.
 *
 * For tests and for the audit variant. Nobody else may allocate, free or drain meanwhile. Reads only.
 */
#ifndef SLUICE_WALK_H
#define SLUICE_WALK_H

#include "heap.h"

#include <stdint.h>

struct walk {
	const char *wrong;    /* the first broken rule, NULL: none */
	uint32_t granule;     /* where */
	uint64_t slabs;       /* seen */
	uint64_t used;        /* blocks handed out and not given back: alive and cached */
	uint64_t cached;      /* of those, on caches' lists */
	int64_t supplied;     /* what caches were supplied with less what slabs gave out: 0 when all is well */
	uint64_t owned_bytes; /* owned slabs of all heaps */
	uint64_t bytes;       /* all slabs */
};

/* Walks all granules, slabs, lists and heaps. Returns what it saw; `wrong` names the first broken rule. */
struct walk walk_pools(void);

/* The same for one heap and its slabs, by the thread it belongs to, while others run: their remote frees do no harm.
 * NULL, or the first broken rule. */
const char *walk_own_heap(const struct heap *heap);

#endif
