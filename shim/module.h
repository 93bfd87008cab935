/* module.h: which loaded file an address belongs to, asked without a lock and without allocating.
 *
 * Another thread may unload a module at any moment, unless somebody executes in it. So what is in its memory is read
 * directly only for the module of a caller (module_find); later it is read through copies, from places noted then.
 */
#ifndef SLUICE_MODULE_H
#define SLUICE_MODULE_H

#include "analytics/ledger.h"

#include <stdbool.h>
#include <stdint.h>

enum { MODULE_MARK_BYTES = 64 };

/* Where to look at a module when it may be gone. What it does not have is 0. */
struct module_places {
	uintptr_t mark_at; /* bytes that no other module has here: its build-id, else its ELF header */
	uint32_t mark_bytes;
	uint8_t mark[MODULE_MARK_BYTES];
	uintptr_t symbols, gnu_hash, strings;
	size_t strings_bytes;
};

struct module {
	uintptr_t start, limit; /* mapped addresses */
	uintptr_t bias;         /* load address minus file address */
	const char *path;       /* valid while the module is loaded */
	uint32_t build_id_bytes;
	uint8_t build_id[LEDGER_BUILD_ID_MAX];
	struct module_places places;
};

/* For an address in a caller's code. false: no file holds it (generated code), or glibc is too old to be asked (before
 * 2.35). */
bool module_find(uintptr_t pc, struct module *module);

/* Whether that module is still where it was, at the moment of asking. Where its memory may not be asked (confined.h, or a
 * container that refuses), another one of exactly its extent is taken for it. */
bool module_is_loaded(const struct ledger_mapping *map, const struct module_places *places);

/* Calls `seen` for each dynamic symbol of the module: functions with a size. `start` is an address of the file, `name` an
 * offset for module_string. When the module is unloaded meanwhile, it stops early, or what it says is of another one: ask
 * module_is_loaded afterwards. */
void module_symbols(const struct ledger_mapping *map, const struct module_places *places,
                    void (*seen)(void *context, uint64_t start, uint64_t bytes, uint32_t name), void *context);

/* Copies a string of the module's symbols and returns its length; 0: it cannot be read, or `room` has no place for it. */
size_t module_string(const struct module_places *places, uint32_t name, char *to, size_t room);

/* The path to give for the executable itself, whose own record has none. Kept, not copied. */
void module_executable(const char *path);

#endif
