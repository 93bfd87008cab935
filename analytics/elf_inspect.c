/* elf_inspect.c: reads a program's file by libelf; see elf_inspect.h.
 *
 * Three questions decide whether a preloaded malloc is ever called: is there a dynamic linker (PT_INTERP), does the
 * program itself define `malloc` in its dynamic symbols (they are searched before any preload), and is a sanitizer's
 * runtime in it, linked as a library or built in (the symbols of its start-up say so). Section headers may be stripped;
 * then the symbols stay unread and the first question alone is answered.
 */
#include "analytics/elf_inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
	const char *symbol, *library, *name;
} sanitizers[] = {
	{"__asan_init", "libasan.so", "AddressSanitizer"}, {"__tsan_init", "libtsan.so", "ThreadSanitizer"},
	{"__msan_init", "libmsan.so", "MemorySanitizer"},  {"__hwasan_init", "libhwasan.so", "HWAddressSanitizer"},
	{"__lsan_init", "liblsan.so", "LeakSanitizer"},
};

enum { SANITIZERS = sizeof(sanitizers) / sizeof(sanitizers[0]) };

static void set_text(char *to, const char *from)
{
	snprintf(to, ELF_TEXT_MAX, "%s", from);
}

static bool begins(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void read_needed(struct elf_facts *facts, const char *library)
{
	static const char *const allocators[] = {"libjemalloc", "libtcmalloc", "libmimalloc",
	                                         "libsnmalloc", "librpmalloc", "libhoard"};
	for (size_t i = 0; i < SANITIZERS; i++)
		if (begins(library, sanitizers[i].library))
			set_text(facts->sanitizer, sanitizers[i].name);
	for (size_t i = 0; i < sizeof(allocators) / sizeof(allocators[0]); i++)
		if (begins(library, allocators[i]))
			set_text(facts->allocator, library);
}

static void read_dynamic(Elf *elf, Elf_Scn *section, const GElf_Shdr *header, struct elf_facts *facts)
{
	Elf_Data *data = elf_getdata(section, NULL);
	GElf_Dyn entry;
	if (!data || !header->sh_entsize)
		return;
	for (int i = 0; gelf_getdyn(data, i, &entry) && entry.d_tag != DT_NULL; i++) {
		const char *library = entry.d_tag == DT_NEEDED ? elf_strptr(elf, header->sh_link, entry.d_un.d_val) : NULL;
		if (library)
			read_needed(facts, library);
	}
}

static void read_symbols(Elf *elf, Elf_Scn *section, const GElf_Shdr *header, struct elf_facts *facts)
{
	Elf_Data *data = elf_getdata(section, NULL);
	GElf_Sym symbol;
	if (!data)
		return;
	for (int i = 1; gelf_getsym(data, i, &symbol); i++) {
		const char *name = elf_strptr(elf, header->sh_link, symbol.st_name);
		if (!name)
			continue;
		if (strcmp(name, "malloc") == 0 && symbol.st_shndx != SHN_UNDEF && GELF_ST_BIND(symbol.st_info) != STB_LOCAL)
			facts->own_malloc = true;
		for (size_t s = 0; s < SANITIZERS; s++)
			if (strcmp(name, sanitizers[s].symbol) == 0)
				set_text(facts->sanitizer, sanitizers[s].name);
	}
}

static void read_interpreter(Elf *elf, struct elf_facts *facts)
{
	size_t count, file_bytes;
	GElf_Phdr segment;
	const char *file = elf_rawfile(elf, &file_bytes);
	if (!file || elf_getphdrnum(elf, &count) != 0)
		return;
	for (size_t i = 0; i < count && gelf_getphdr(elf, (int)i, &segment); i++) {
		if (segment.p_type != PT_INTERP)
			continue;
		facts->dynamic = true;
		if (segment.p_offset < file_bytes && segment.p_filesz <= file_bytes - segment.p_offset)
			snprintf(facts->interpreter, ELF_TEXT_MAX, "%.*s",
			         (int)(segment.p_filesz < ELF_TEXT_MAX ? segment.p_filesz : ELF_TEXT_MAX - 1),
			         file + segment.p_offset);
	}
}

static void read_all(Elf *elf, struct elf_facts *facts)
{
	GElf_Ehdr header;
	if (!gelf_getehdr(elf, &header))
		return;
	facts->bits = gelf_getclass(elf) == ELFCLASS64 ? 64 : 32;
	facts->machine = header.e_machine;
	facts->executable = header.e_type == ET_EXEC || header.e_type == ET_DYN;
	read_interpreter(elf, facts);
	for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section));) {
		GElf_Shdr section_header;
		if (!gelf_getshdr(section, &section_header))
			continue;
		if (section_header.sh_type == SHT_DYNAMIC)
			read_dynamic(elf, section, &section_header, facts);
		else if (section_header.sh_type == SHT_DYNSYM)
			read_symbols(elf, section, &section_header, facts);
	}
}

enum elf_result elf_inspect(const char *path, struct elf_facts *facts)
{
	struct stat file;
	memset(facts, 0, sizeof(*facts));
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return ELF_UNREADABLE;
	if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) {
		close(fd);
		errno = EACCES;
		return ELF_UNREADABLE;
	}
	elf_version(EV_CURRENT);
	Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	bool good = elf && elf_kind(elf) == ELF_K_ELF;
	if (good)
		read_all(elf, facts);
	elf_end(elf);
	close(fd);
	return good ? ELF_GOOD : ELF_NOT_ELF;
}

const char *elf_machine_name(uint16_t machine)
{
	static char unknown[32];
	switch (machine) {
	case EM_386:
		return "i386";
	case EM_X86_64:
		return "x86-64";
	case EM_ARM:
		return "ARM";
	case EM_AARCH64:
		return "AArch64";
	case EM_RISCV:
		return "RISC-V";
	case EM_PPC64:
		return "POWER";
	case EM_S390:
		return "S/390";
	default:
		snprintf(unknown, sizeof(unknown), "machine %u", machine);
		return unknown;
	}
}
