/* walk.h: checks every structure of the pools against every other.
 *
 * For tests and for the audit variant. Nobody else may allocate, free or drain meanwhile. Reads only.
 */
#ifndef SLUICE_WALK_H
#define SLUICE_WALK_H

#include <stdint.h>

struct walk {
	const char *wrong;   /* the first broken rule, NULL: none */
	uint32_t granule;    /* where */
	uint64_t slabs;      /* seen */
	uint64_t used;       /* blocks handed out and not given back: alive and cached */
	uint64_t cached;     /* of those, on caches' lists */
	uint64_t owned_bytes; /* owned slabs of all heaps */
	uint64_t bytes;       /* all slabs */
};

/* Walks all granules, slabs, lists and heaps. Returns what it saw; `wrong` names the first broken rule. */
struct walk walk_pools(void);

/* The same for the slab of one granule, while only the calling thread uses its heap: cheap enough for random moments. */
const char *walk_granule(uint32_t granule);

#endif
