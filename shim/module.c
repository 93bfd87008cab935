/* module.c: _dl_find_object, then the module's own headers in memory.
 *
 * _dl_find_object (glibc 2.35) is lock-free and safe in any context, even inside dlopen, where dl_iterate_phdr would
 * deadlock against another thread that holds our lock. What it does not say (build-id, symbols) stands in the mapped
 * ELF header and dynamic section, which we only read. The reference is weak: with an older glibc sites have no module.
 *
 * Its answer is as old as it is: another thread may be closing that library, and then the record and the pages are gone
 * when we look. Outside module_find only its addresses are compared, and memory is read by os_peek. Tables that were
 * replaced under us hold anything, so every loop here ends at the mapping's limit at the latest.
 */
#define _GNU_SOURCE
#include "module.h"

#include "confined.h"
#include "pools/apart.h"
#include "pools/os.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdatomic.h>
#include <string.h>

#pragma weak _dl_find_object

enum { WINDOW_BYTES = 16 << 10 }; /* a call of os_peek costs as much as copying some 16 KiB */

static const char *executable = "";

void module_executable(const char *path)
{
	executable = path;
}

static void note_build_id(const char *notes, size_t bytes, struct module *module)
{
	while (bytes >= sizeof(ElfW(Nhdr))) {
		const ElfW(Nhdr) *note = (const void *)notes;
		size_t name = (note->n_namesz + 3u) & ~(size_t)3, desc = (note->n_descsz + 3u) & ~(size_t)3;
		if (name + desc > bytes - sizeof(*note))
			return;
		const char *text = notes + sizeof(*note);
		if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(text, "GNU", 4) == 0) {
			module->build_id_bytes = note->n_descsz < LEDGER_BUILD_ID_MAX ? note->n_descsz : LEDGER_BUILD_ID_MAX;
			memcpy(module->build_id, text + name, module->build_id_bytes);
			module->places.mark_at = (uintptr_t)text + name;
			module->places.mark_bytes = module->build_id_bytes;
			return;
		}
		notes += sizeof(*note) + name + desc;
		bytes -= sizeof(*note) + name + desc;
	}
}

static void read_notes(struct module *module)
{
	const ElfW(Ehdr) *header = (const void *)module->start;
	if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_phentsize != sizeof(ElfW(Phdr)))
		return;
	module->places.mark_at = module->start;
	module->places.mark_bytes = sizeof(*header);
	const ElfW(Phdr) *program = (const void *)(module->start + header->e_phoff);
	if (header->e_phoff + header->e_phnum * sizeof(*program) > 4096 /* the first page is mapped */)
		return;
	for (int i = 0; i < header->e_phnum && !module->build_id_bytes; i++) {
		uintptr_t at = module->bias + program[i].p_vaddr;
		if (program[i].p_type == PT_NOTE && at >= module->start && at + program[i].p_memsz <= module->limit)
			note_build_id((const char *)at, program[i].p_memsz, module);
	}
}

/* glibc relocates these in place; a module without that (the vdso) stores offsets. */
static uintptr_t dynamic_address(const struct link_map *map, const ElfW(Dyn) * entry)
{
	return entry->d_un.d_ptr >= map->l_addr ? entry->d_un.d_ptr : map->l_addr + entry->d_un.d_ptr;
}

static void read_dynamic(const struct link_map *map, struct module_places *places)
{
	for (const ElfW(Dyn) *entry = map->l_ld; entry && entry->d_tag != DT_NULL; entry++)
		switch (entry->d_tag) {
		case DT_SYMTAB:
			places->symbols = dynamic_address(map, entry);
			break;
		case DT_GNU_HASH:
			places->gnu_hash = dynamic_address(map, entry);
			break;
		case DT_STRTAB:
			places->strings = dynamic_address(map, entry);
			break;
		case DT_STRSZ:
			places->strings_bytes = entry->d_un.d_val;
			break;
		}
}

bool module_find(uintptr_t pc, struct module *module)
{
	struct dl_find_object found;
	if (!_dl_find_object || _dl_find_object((void *)pc, &found) != 0 || !found.dlfo_link_map)
		return false;
	*module = (struct module){.start = (uintptr_t)found.dlfo_map_start,
	                          .limit = (uintptr_t)found.dlfo_map_end,
	                          .bias = found.dlfo_link_map->l_addr,
	                          .path = found.dlfo_link_map->l_name};
	if (!module->path || !module->path[0])
		module->path = executable;
	read_notes(module);
	memcpy(module->places.mark, (const void *)module->places.mark_at, module->places.mark_bytes);
	read_dynamic(found.dlfo_link_map, &module->places);
	return true;
}

/* --- when it may be gone ------------------------------------------------------------------------------------------ */

/* Some containers refuse the call, whatever it reads. */
static bool can_peek(void)
{
	char from = 1, to;
	return os_peek(&to, &from, 1);
}

bool module_is_loaded(const struct ledger_mapping *map, const struct module_places *places)
{
	struct dl_find_object found;
	uint8_t mark[MODULE_MARK_BYTES];
	if (!_dl_find_object || _dl_find_object((void *)map->start, &found) != 0 ||
	    (uintptr_t)found.dlfo_map_start != map->start || (uintptr_t)found.dlfo_map_end != map->limit)
		return false;
	if (confined() || !places->mark_bytes)
		return true;
	if (os_peek(mark, (const void *)places->mark_at, places->mark_bytes))
		return memcmp(mark, places->mark, places->mark_bytes) == 0;
	return !can_peek();
}

/* A piece of a module's memory, copied, for reading on from there. One serves all, one after the other; a signal handler
 * that interrupts its reader may refill it, so both numbers are read once: what comes out may be wrong then, but it comes
 * out of the window. */
static APART struct {
	_Atomic uintptr_t at;
	_Atomic size_t used;
	uint8_t bytes[WINDOW_BYTES];
} window;

static void window_forget(void)
{
	atomic_store_explicit(&window.used, 0, memory_order_relaxed);
}

static bool window_has(uintptr_t from, void *to, size_t bytes)
{
	uintptr_t skip = from - atomic_load_explicit(&window.at, memory_order_relaxed);
	size_t used = atomic_load_explicit(&window.used, memory_order_relaxed);
	if (skip > used || bytes > used - skip)
		return false;
	memcpy(to, window.bytes + skip, bytes);
	return true;
}

/* false: not there any more, or not a place in the module. */
static bool read_at(const struct ledger_mapping *map, uintptr_t from, void *to, size_t bytes)
{
	if (from < map->start || from >= map->limit || bytes > map->limit - from)
		return false;
	if (window_has(from, to, bytes))
		return true;
	size_t rest = map->limit - from < WINDOW_BYTES ? map->limit - from : WINDOW_BYTES;
	window_forget();
	atomic_store_explicit(&window.at, from, memory_order_relaxed);
	if (os_peek(window.bytes, (const void *)from, rest))
		atomic_store_explicit(&window.used, rest, memory_order_relaxed);
	return window_has(from, to, bytes) || os_peek(to, (const void *)from, bytes); /* a gap may be close behind it */
}

/* Symbols are not counted anywhere; the GNU hash table's longest chain ends at the last one. Those before `first` are not
 * in the table: none of them is defined here. */
static bool symbols_defined(const struct ledger_mapping *map, uintptr_t gnu_hash, uint32_t *first, uint32_t *last)
{
	struct {
		uint32_t buckets, first, words, shift;
	} head;
	uint32_t value;
	if (!read_at(map, gnu_hash, &head, sizeof(head)))
		return false;
	uintptr_t bucket = gnu_hash + sizeof(head) + (uintptr_t)head.words * sizeof(uintptr_t);
	uintptr_t chain = bucket + (uintptr_t)head.buckets * sizeof(value);
	*first = head.first;
	*last = 0;
	for (uint32_t i = 0; i < head.buckets; i++) {
		if (!read_at(map, bucket + (uintptr_t)i * sizeof(value), &value, sizeof(value)))
			return false;
		if (value > *last)
			*last = value;
	}
	if (*last < *first)
		return false;
	for (;; ++*last) {
		if (!read_at(map, chain + (uintptr_t)(*last - *first) * sizeof(value), &value, sizeof(value)))
			return false;
		if (value & 1)
			return true;
	}
}

void module_symbols(const struct ledger_mapping *map, const struct module_places *places,
                    void (*seen)(void *context, uint64_t start, uint64_t bytes, uint32_t name), void *context)
{
	ElfW(Sym) symbol;
	uint32_t first, last;
	window_forget();
	if (!places->symbols || !places->strings || !places->gnu_hash ||
	    !symbols_defined(map, places->gnu_hash, &first, &last))
		return;
	for (uint64_t i = first; i <= last; i++) {
		if (!read_at(map, places->symbols + i * sizeof(symbol), &symbol, sizeof(symbol)))
			return;
		unsigned type = symbol.st_info & 15;
		if (symbol.st_shndx != SHN_UNDEF && symbol.st_size && (type == STT_FUNC || type == STT_GNU_IFUNC))
			seen(context, symbol.st_value, symbol.st_size, symbol.st_name);
	}
}

size_t module_string(const struct module_places *places, uint32_t name, char *to, size_t room)
{
	enum { PIECE = 128 }; /* most names end in the first */
	for (size_t length = 0; name + length < places->strings_bytes && length < room;) {
		size_t rest = places->strings_bytes - name - length, bytes = rest < PIECE ? rest : PIECE;
		if (bytes > room - length)
			bytes = room - length;
		if (!os_peek(to + length, (const void *)(places->strings + name + length), bytes))
			return 0;
		const char *end = memchr(to + length, 0, bytes);
		if (end)
			return (size_t)(end - to);
		length += bytes;
	}
	return 0;
}
