/* mapping.h: the files that code of ours or of callers came from, each a number for the life of the process.
 *
 * A file that is unloaded is retired: it keeps its number, and its addresses may come back as other code. A file that comes back,
 * wherever, is revived: the same by its build-id, or, without one, by its place. All under the sites' lock but what only reads; the
 * sites hear of both (sites_moved_locked).
 */
#ifndef SLUICE_MAPPING_H
#define SLUICE_MAPPING_H

#include "module.h"

#include <stdbool.h>
#include <stdint.h>

/* The mapping an address in some caller's code belongs to, new if need be; LEDGER_NONE: no file. Takes the lock for a new one. */
uint32_t mapping_of(uintptr_t pc);

/* The module's, new if need be; LEDGER_NONE: no room. The module was found by the caller, outside the lock. */
uint32_t mapping_add_locked(const struct module *module);

/* Is it unloaded? */
bool mapping_is_retired(uint32_t mapping);

/* Where to read a mapping's module, for as long as it is there. */
const struct module_places *mapping_places(uint32_t mapping);

/* Around a dlclose and what follows it: one more (1) or one less (-1) is under way. */
void mappings_closing(int change);

/* After a dlclose: retires the mappings whose modules are gone. */
void mappings_retire_unloaded(void);

/* How many there was no room for. */
uint64_t mappings_dropped(void);

/* In the child no dlclose is under way but those that the calling thread forked in (a library's destructor did). */
void mappings_fork_child(void);

#endif
