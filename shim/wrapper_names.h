/* wrapper_names.h: functions that everybody knows to allocate for their caller, found in a file's dynamic symbols.
 *
 * Asked the other way round, name by name through the file's own hash table: a hundred names are mostly turned away by its
 * Bloom filter, some microseconds a file, once. Functions that are not exported are found by their callers (context.c).
 */
#ifndef SLUICE_WRAPPER_NAMES_H
#define SLUICE_WRAPPER_NAMES_H

#include "module.h"

#include <stdbool.h>
#include <stdint.h>

/* Looks the module up, whose file is the ledger's number `mapping`. It must be loaded while this runs; one caller at a time. */
void wrapper_names_read(uint32_t mapping, const struct module *module);

/* Is the address of that file in one of those functions? */
bool wrapper_names_hold(uint32_t mapping, uint64_t offset);

#endif
