/* module.c: _dl_find_object, then the module's own headers in memory.
 *
 * _dl_find_object (glibc 2.35) is lock-free and safe in any context, even inside dlopen, where dl_iterate_phdr would
 * deadlock against another thread that holds our lock. What it does not say (build-id, symbols) stands in the mapped
 * ELF header and dynamic section, which we only read. The reference is weak: with an older glibc sites have no module.
 */
#define _GNU_SOURCE
#include "module.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <string.h>

#pragma weak _dl_find_object

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
	const ElfW(Phdr) *program = (const void *)(module->start + header->e_phoff);
	if (header->e_phoff + header->e_phnum * sizeof(*program) > 4096 /* the first page is mapped */)
		return;
	for (int i = 0; i < header->e_phnum && !module->build_id_bytes; i++) {
		uintptr_t at = module->bias + program[i].p_vaddr;
		if (program[i].p_type == PT_NOTE && at >= module->start && at + program[i].p_memsz <= module->limit)
			note_build_id((const char *)at, program[i].p_memsz, module);
	}
}

static struct link_map *find(uintptr_t pc, struct module *module)
{
	struct dl_find_object found;
	if (!_dl_find_object || _dl_find_object((void *)pc, &found) != 0 || !found.dlfo_link_map)
		return NULL;
	*module = (struct module){.start = (uintptr_t)found.dlfo_map_start,
	                          .limit = (uintptr_t)found.dlfo_map_end,
	                          .bias = found.dlfo_link_map->l_addr,
	                          .path = found.dlfo_link_map->l_name};
	if (!module->path || !module->path[0])
		module->path = executable;
	return found.dlfo_link_map;
}

bool module_find(uintptr_t pc, struct module *module)
{
	if (!find(pc, module))
		return false;
	read_notes(module);
	return true;
}

static uintptr_t dynamic_address(const struct link_map *map, ElfW(Sxword) tag)
{
	for (const ElfW(Dyn) *d = map->l_ld; d->d_tag != DT_NULL; d++)
		if (d->d_tag == tag) /* glibc relocates these in place; a module without that (the vdso) stores offsets */
			return d->d_un.d_ptr >= map->l_addr ? d->d_un.d_ptr : map->l_addr + d->d_un.d_ptr;
	return 0;
}

/* Symbols are not counted anywhere; the GNU hash table's longest chain ends at the last one. */
static uint32_t symbol_count(const uint32_t *gnu_hash)
{
	uint32_t buckets = gnu_hash[0], first = gnu_hash[1], words = gnu_hash[2], last = 0;
	const uint32_t *bucket = gnu_hash + 4 + words * (sizeof(uintptr_t) / 4), *chain = bucket + buckets;
	for (uint32_t i = 0; i < buckets; i++)
		if (bucket[i] > last)
			last = bucket[i];
	if (last < first)
		return first;
	while (!(chain[last - first] & 1))
		last++;
	return last + 1;
}

void module_symbols(uintptr_t pc, void (*seen)(void *context, uintptr_t start, size_t bytes, const char *name),
                    void *context)
{
	struct module module;
	struct link_map *map = find(pc, &module);
	if (!map || !map->l_ld)
		return;
	const ElfW(Sym) *symbols = (const void *)dynamic_address(map, DT_SYMTAB);
	const char *strings = (const void *)dynamic_address(map, DT_STRTAB);
	const uint32_t *gnu_hash = (const void *)dynamic_address(map, DT_GNU_HASH);
	if (!symbols || !strings || !gnu_hash)
		return;
	uint32_t count = symbol_count(gnu_hash);
	for (uint32_t i = 0; i < count; i++) {
		unsigned type = symbols[i].st_info & 15;
		if (symbols[i].st_shndx != SHN_UNDEF && symbols[i].st_size && (type == STT_FUNC || type == STT_GNU_IFUNC))
			seen(context, map->l_addr + symbols[i].st_value, symbols[i].st_size, strings + symbols[i].st_name);
	}
}
