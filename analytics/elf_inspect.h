/* elf_inspect.h: what a program's file says about the allocator it will run with. Nothing is executed. */
#ifndef SLUICE_ELF_INSPECT_H
#define SLUICE_ELF_INSPECT_H

#include <stdbool.h>
#include <stdint.h>

enum { ELF_TEXT_MAX = 256 };

struct elf_facts {
	unsigned bits;    /* 32 or 64 */
	uint16_t machine; /* EM_X86_64, ... */
	bool executable;  /* a program or a library, not an object or a core */
	bool dynamic;     /* names a program interpreter, so a preload can reach it */
	bool own_malloc;  /* defines malloc for everybody: its own comes before any preload's */
	char interpreter[ELF_TEXT_MAX];
	char sanitizer[ELF_TEXT_MAX]; /* "AddressSanitizer", ...; "" when none */
	char allocator[ELF_TEXT_MAX]; /* another allocator's library it links ("libjemalloc.so.2"); "" when none */
};

enum elf_result { ELF_GOOD, ELF_NOT_ELF, ELF_UNREADABLE /* errno says why */ };

/* Reads the file's headers, dynamic section and dynamic symbols. Damaged files give what could be read. */
enum elf_result elf_inspect(const char *path, struct elf_facts *facts);

/* "x86-64", "AArch64", ... or "machine 123". The text lives until the next call. */
const char *elf_machine_name(uint16_t machine);

#endif
