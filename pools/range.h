/* range.h: the address range, handed out in runs of granules.
 *
 * One reservation, made accessible from its start as it is needed. A free granule is dirty (holds a program's old
 * bytes, costs memory) or clean (given back to the kernel, or never used). Runs are taken lowest address first, so the
 * top of the range empties. Dirty granules go back to the kernel between one and two decay periods after they became
 * free, never at once: a phase that frees and allocates again must not pay page faults for it.
 * All functions are thread-safe and take one lock; the fast path never comes here.
 */
#ifndef SLUICE_RANGE_H
#define SLUICE_RANGE_H

#include "slab.h"

enum range_refusal { RANGE_OK, RANGE_CAPACITY, RANGE_FULL, RANGE_NO_MEMORY };

struct range_usage {
	size_t active;      /* bytes in slabs */
	size_t peak_active; /* the highest that was */
	size_t retained;    /* bytes of dirty free granules */
	size_t mapped;      /* bytes made accessible, blocks and records */
	size_t metadata;    /* bytes of the records made accessible */
	size_t purged;      /* bytes given back to the kernel so far */
	size_t huge;        /* bytes the kernel was asked to have in huge pages (huge.h) */
	uint32_t granules;  /* records [0, granules) have ever been in use */
};

/* Reserves up to `bytes` (halved down to 4 GiB by quarters when refused). false: no range, everything falls back. */
bool range_init(size_t bytes);

/* Cap on the bytes in slabs (SIZE_MAX: none) and the decay period in ms (-1: never). */
void range_limit(size_t active_max);
void range_decay_set(int64_t decay_ms);
int64_t range_decay(void);

/* `count` runs for slabs, or as many as there are, linked by `next`, the last one's SLAB_NIL; side by side where what is free
 * is. Nothing else is in their records but `granules`; the records behind each, as far as SLAB_REST_MAX, are set to SLAB_REST.
 * NULL: see *why. */
struct slab *range_take(unsigned granules, unsigned count, enum range_refusal *why);

/* Gives a run back. Nobody may hold a block of it. */
void range_give(struct slab *slab);

/* Gives the memory of a slab in use back to the kernel; the caller has it for himself, and its blocks' bytes are gone. */
void range_purge(const struct slab *slab);
/* Makes a run longer where it lies; the bytes behind its old end are anything. false: something is there, or the cap. */
bool range_extend(struct slab *slab, unsigned granules);

/* Makes a run shorter: what lies behind goes back. */
void range_cut(struct slab *slab, unsigned granules);

/* Purges all dirty free granules now. Returns bytes purged. */
size_t range_trim(void);

/* Gives up the address space beyond `keep` bytes, as far as it was never used: the program wants its total to count
 * (RLIMIT_AS, mlockall). What is in use stays, and freed runs are used again; past that the fallback serves. */
void range_shrink(size_t keep);

struct range_usage range_usage(void);

/* For the walker: true when the granule is free. The caller guarantees that nobody takes or gives meanwhile. */
bool range_is_free(uint32_t granule);

void range_fork_prepare(void);
void range_fork_parent(void);
void range_fork_child(void);

#endif
