/* module.h: which loaded file an address belongs to, asked without a lock and without allocating.
 */
#ifndef SLUICE_MODULE_H
#define SLUICE_MODULE_H

#include "analytics/ledger.h"

#include <stdbool.h>
#include <stdint.h>

struct module {
	uintptr_t start, limit; /* mapped addresses */
	uintptr_t bias;         /* load address minus file address */
	const char *path;       /* valid while the module is loaded */
	uint32_t build_id_bytes;
	uint8_t build_id[LEDGER_BUILD_ID_MAX];
};

/* false: no file holds the address (generated code), or glibc is too old to be asked (before 2.35). */
bool module_find(uintptr_t pc, struct module *module);

/* Calls `seen` for each dynamic symbol of the module that holds `pc`: functions with a size, addresses in this process.
 * The module must be loaded. */
void module_symbols(uintptr_t pc, void (*seen)(void *context, uintptr_t start, size_t bytes, const char *name),
                    void *context);

/* The path to give for the executable itself, whose own record has none. Kept, not copied. */
void module_executable(const char *path);

#endif
