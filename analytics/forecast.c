/* forecast.c: will sluice act in this program; see forecast.h.
 *
 * Each look_* function reads one thing and adds what it found. The first that speaks against acting gives the reason;
 * the others still speak, because whoever asks the doctor wants to hear everything at once.
 */
#include "analytics/forecast.h"

#include "analytics/elf_inspect.h"
#include "analytics/human_units.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LIBRARY_NAME "libsluice.so"

static void find_add(struct forecast *f, enum forecast_mark mark, const char *about, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void find_add(struct forecast *f, enum forecast_mark mark, const char *about, const char *format, ...)
{
	va_list args;
	if (f->findings_count == FORECAST_FINDINGS_MAX)
		return;
	struct forecast_finding *finding = &f->findings[f->findings_count++];
	finding->mark = mark;
	finding->about = about;
	va_start(args, format);
	vsnprintf(finding->text, sizeof(finding->text), format, args);
	va_end(args);
}

/* The finding just added decides, unless an earlier one did. */
static void decide(struct forecast *f, enum forecast_verdict verdict)
{
	if (f->verdict != FORECAST_ACTS)
		return;
	f->verdict = verdict;
	strcpy(f->reason, f->findings[f->findings_count - 1].text);
}

static bool library_at(struct forecast *f, const char *folder, const char *below)
{
	char path[PATH_MAX];
	int length = snprintf(path, sizeof(path), "%s/%s%s", folder, below, LIBRARY_NAME);
	return length < (int)sizeof(path) && realpath(path, f->library) && access(f->library, R_OK) == 0;
}

static void look_library(struct forecast *f, const char *library)
{
	char folder[PATH_MAX] = "";
	ssize_t length = readlink("/proc/self/exe", folder, sizeof(folder) - 1);
	char *slash = length > 0 ? strrchr(folder, '/') : NULL;
	if (slash)
		*slash = 0;
	if (library ? !realpath(library, f->library) || access(f->library, R_OK) != 0
	            : !library_at(f, folder, "") && !library_at(f, folder, "../lib/")) {
		f->library[0] = 0;
		if (library)
			find_add(f, MARK_BAD, "library", "%s: %s", library, strerror(errno));
		else
			find_add(f, MARK_BAD, "library", LIBRARY_NAME " is neither in %s nor in %s/../lib; name it with --lib",
			         folder, folder);
		decide(f, FORECAST_NO_LIBRARY);
	} else if (strpbrk(f->library, " :")) {
		find_add(f, MARK_BAD, "library", "the path %s holds a blank or a colon, which LD_PRELOAD cannot name",
		         f->library);
		decide(f, FORECAST_NO_LIBRARY);
	} else {
		find_add(f, MARK_GOOD, "library", "%s", f->library);
	}
}

static bool look_program(struct forecast *f, const char *name)
{
	const struct program *p = &f->program;
	f->error = program_find(name, &f->program);
	if (f->error && p->script)
		find_add(f, MARK_BAD, "program", "the interpreter %s of %s: %s", p->image, p->path, strerror(f->error));
	else if (f->error)
		find_add(f, MARK_BAD, "program", "%s: %s%s", p->path, strerror(f->error), p->searched ? " (in PATH)" : "");
	if (f->error) {
		decide(f, FORECAST_NO_PROGRAM);
		return false;
	}
	find_add(f, MARK_GOOD, "program", "%s%s", p->path, p->searched ? ", found in PATH" : "");
	if (p->script)
		find_add(f, MARK_GOOD, "script", "run by %s", p->image);
	const char *base = strrchr(p->image, '/');
	if (strcmp(base ? base + 1 : p->image, "valgrind") == 0) {
		find_add(f, MARK_BAD, "allocator", "valgrind replaces the allocator of what it runs; sluice is inert under it");
		decide(f, FORECAST_INERT);
	}
	return true;
}

/* The dynamic linker ignores a preload by path in a program that gains rights when it is run (AT_SECURE). */
static void look_rights(struct forecast *f)
{
	struct stat file;
	const char *path = f->program.image;
	if (stat(path, &file) != 0)
		return;
	bool uid = (file.st_mode & S_ISUID) && file.st_uid != getuid();
	bool gid = (file.st_mode & S_ISGID) && file.st_gid != getgid();
	bool capable = getuid() != 0 && getxattr(path, "security.capability", NULL, 0) > 0;
	if (uid || gid || capable) {
		find_add(f, MARK_BAD, "rights", "%s is %s, so the dynamic linker ignores preloads", path,
		         uid   ? "setuid"
		         : gid ? "setgid"
		               : "given file capabilities");
		decide(f, FORECAST_INERT);
	} else if (file.st_mode & (S_ISUID | S_ISGID)) {
		find_add(f, MARK_GOOD, "rights", "set%cid, but run by its owner", file.st_mode & S_ISUID ? 'u' : 'g');
	} else {
		find_add(f, MARK_GOOD, "rights", "no setuid, no setgid, no file capabilities");
	}
}

static void look_kind(struct forecast *f, const struct elf_facts *elf)
{
	struct elf_facts library;
	const char *path = f->program.image;
	if (!elf->dynamic) {
		find_add(f, MARK_BAD, "kind", "%s is linked statically, so there is no dynamic linker to preload anything",
		         path);
		decide(f, FORECAST_INERT);
		return;
	}
	if (strstr(elf->interpreter, "ld-musl")) {
		find_add(f, MARK_BAD, "kind", "%s is linked with musl (%s); sluice is for glibc", path, elf->interpreter);
		decide(f, FORECAST_INERT);
		return;
	}
	if (f->library[0] && elf_inspect(f->library, &library) == ELF_GOOD &&
	    (library.bits != elf->bits || library.machine != elf->machine)) {
		find_add(f, MARK_BAD, "kind", "%s is %u-bit %s, but the library is not", path, elf->bits,
		         elf_machine_name(elf->machine));
		decide(f, FORECAST_INERT);
		return;
	}
	find_add(f, MARK_GOOD, "kind", "%u-bit %s, linked dynamically (%s)", elf->bits, elf_machine_name(elf->machine),
	         elf->interpreter);
}

static void look_allocator(struct forecast *f, const struct elf_facts *elf)
{
	const char *path = f->program.image;
	if (elf->sanitizer[0]) {
		find_add(f, MARK_BAD, "allocator", "%s is built with %s, which brings an allocator of its own", path,
		         elf->sanitizer);
		decide(f, FORECAST_INERT);
	} else if (elf->own_malloc) {
		find_add(f, MARK_BAD, "allocator", "%s defines malloc itself, and its own comes before any preload", path);
		decide(f, FORECAST_INERT);
	} else if (elf->allocator[0]) {
		find_add(f, MARK_NOTE, "allocator", "links %s; the preload comes before it", elf->allocator);
	} else {
		find_add(f, MARK_GOOD, "allocator", "the C library's");
	}
}

static void look_image(struct forecast *f)
{
	struct elf_facts elf;
	const char *path = f->program.image;
	enum elf_result result = elf_inspect(path, &elf);
	if (result == ELF_UNREADABLE) {
		find_add(f, MARK_NOTE, "kind", "%s cannot be read (%s): nothing is known before it runs", path,
		         strerror(errno));
		return;
	}
	if (result == ELF_NOT_ELF || !elf.executable) {
		find_add(f, MARK_BAD, "kind", "%s is not a program in ELF format", path);
		f->error = ENOEXEC;
		decide(f, FORECAST_NO_PROGRAM);
		return;
	}
	look_kind(f, &elf);
	look_allocator(f, &elf);
}

/* What the surroundings do to a library that reserves 64 GiB of addresses. */
static void look_limits(struct forecast *f)
{
	struct rlimit space;
	const char *preload = getenv("LD_PRELOAD");
	FILE *file = fopen("/proc/sys/vm/overcommit_memory", "r");
	int mode = file ? fgetc(file) : EOF;
	if (file)
		fclose(file);
	if (mode == '2')
		find_add(f, MARK_NOTE, "overcommit",
		         "off (mode 2): memory counts when it is made accessible, not when it is used");
	else if (mode != EOF)
		find_add(f, MARK_GOOD, "overcommit", "on (mode %c)", mode);
	if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY)
		find_add(f, MARK_NOTE, "addresses",
		         "limited to %s (RLIMIT_AS): a smaller range is tried, then the fallback alone",
		         human_bytes(space.rlim_cur).text);
	else
		find_add(f, MARK_GOOD, "addresses", "no limit (RLIMIT_AS)");
	if (preload && *preload)
		find_add(f, MARK_NOTE, "preload", "LD_PRELOAD is set; sluice comes before %s", preload);
}

void forecast_make(struct forecast *f, const char *name, const char *library)
{
	memset(f, 0, sizeof(*f));
	bool found = look_program(f, name);
	if (found) {
		look_image(f);
		look_rights(f);
	}
	look_library(f, library);
	look_limits(f);
}
