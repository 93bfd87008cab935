/* site.h: places that allocate, interned to a number.
 *
 * A site is the context of the interposed call (context.h): its return address, or a number for several. Site 0 is "other": it
 * takes what the table has no room for. A site is never forgotten, so a number is good for the life of the process; but it is
 * retired when its module is unloaded, and then another site may have its address. Its module is looked up once, when the site
 * is first seen, without a lock (glibc's _dl_find_object), because it may be unloaded later.
 */
#ifndef SLUICE_SITE_H
#define SLUICE_SITE_H

#include "analytics/ledger.h"
#include "unwind.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { SITE_OTHER = 0 };

/* What the fallback serves for a site; any thread counts here. */
struct site_fallback {
	_Atomic uint64_t allocs, space, frees; /* blocks, requested bytes, blocks */
	_Atomic uint64_t inuse_space;          /* usable bytes alive */
	_Atomic uint64_t reallocs;
	_Atomic uint64_t moved, grown, shrunk, copied; /* as the like-named counters of struct route */
	_Atomic uint64_t by_size[LEDGER_SIZES];        /* allocs by usable bytes: struct ledger_fact's size_hist_log2 */
};

/* Makes the ledger's region; called once, before any site. false: no memory, every pc is SITE_OTHER. */
bool sites_init(void);

/* Cap on the number of sites, "other" included. */
void sites_limit(uint32_t max);

/* Has a new one been refused, so that all further ones will be? */
bool sites_are_full(void);

/* The site of a context, new if need be; one of several return addresses is never new here (site_born). */
uint16_t site_of(uintptr_t context);

/* The same, but SITE_OTHER when it is not known. No lock. */
uint16_t site_find(uintptr_t context);

/* The site of a context, new if need be, with the stack `seen` that it comes from, of which the first `key_frames` make it. */
uint16_t site_born(uintptr_t context, const struct unwound *seen, uint32_t key_frames);

/* Is the function that the site's key ends in known to allocate for its callers? */
bool site_is_listed(uint16_t site);

/* Is the return address in such a function? */
bool site_pc_is_listed(uintptr_t pc);

/* The site's routes are asked for by another context from now on, on every thread; the site itself is found by it only if it
 * was by then. */
void site_rename_locked(uint16_t site, uintptr_t context);

/* The site is found by another context, and its routes too; by SITE_RETIRED | number for 0, and if there is no room. */
void site_move_locked(uint16_t site, uintptr_t context);

/* The lock of sites, mappings, frames and what is learned of contexts. */
void sites_lock(void);
bool sites_try_lock(void); /* false: somebody has it */
void sites_unlock(void);

/* After a mapping was retired or revived: the sites whose key is in it keep their counts, but where their addresses may come back
 * as other code they are known by SITE_RETIRED | number from now on. A module that comes back is the same. */
void sites_moved_locked(uint32_t mapping);

#define SITE_RETIRED (UINT64_C(1) << 55) /* no code is there, and a key has room for it (route_key) */

/* The site's context, SITE_RETIRED | number for a retired one and for a wrapper; 0 for SITE_OTHER. */
uintptr_t site_pc(uint16_t site);

/* Its fallback counters (never NULL: those without memory share site 0's). */
struct site_fallback *site_fallback(uint16_t site);

/* The same for reading: NULL when it never had any. */
const struct site_fallback *site_fallback_seen(uint16_t site);

/* The ledger (NULL when sites_init failed), and a string put into it (offset 0 when full), by any thread. */
struct ledger_header *ledger(void);
struct ledger_string ledger_string(const char *text, size_t bytes);

void sites_fork_prepare(void);
void sites_fork_parent(void);
void sites_fork_child(void);

#endif
