/* names.c: names of sites; see names.h.
 *
 * Each mapping of the report gets a session of elfutils' libdwfl of its own, opened at the first question. A file is
 * trusted only when its build-id is the one in the report: a name from another build would be a lie. A report is a file
 * from outside and may name anything, so only regular files are opened, and never over the network.
 *
 * A site is a return address: the call stands one byte before it, so the function is looked up there. Otherwise a call
 * that never returns, at the end of its function, would be shown as the next function's.
 */
#include "analytics/names.h"

#include "analytics/memory.h"

#include <elfutils/libdwelf.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct module {
	bool tried;
	Dwfl *session; /* NULL: not to be had */
	Dwfl_Module *file;
	GElf_Addr bias; /* from addresses in the file to libdwfl's */
};

struct names {
	const struct report *report;
	struct module *modules; /* by index of the mapping */
};

struct names *names_open(const struct report *r)
{
	struct names *s = memory_room(1, sizeof(*s));
	s->report = r;
	s->modules = memory_room(r->mappings_count, sizeof(s->modules[0]));
	unsetenv("DEBUGINFOD_URLS"); /* names must not wait for a server */
	return s;
}

void names_close(struct names *s)
{
	for (size_t i = 0; i < s->report->mappings_count; i++)
		if (s->modules[i].session)
			dwfl_end(s->modules[i].session);
	free(s->modules);
	free(s);
}

static bool same_build(Elf *elf, const char *expected)
{
	const void *id;
	char text[129];
	ssize_t bytes = dwelf_elf_gnu_build_id(elf, &id);
	if (bytes <= 0 || (size_t)bytes > sizeof(text) / 2 || !*expected)
		return false;
	for (ssize_t i = 0; i < bytes; i++)
		snprintf(text + 2 * i, 3, "%02x", ((const unsigned char *)id)[i]);
	return strcmp(text, expected) == 0;
}

/* Opens the file of a mapping, if it is the same build. */
static void module_open(struct module *m, const struct report_mapping *mapping)
{
	static const Dwfl_Callbacks callbacks = {
		.find_elf = dwfl_build_id_find_elf,
		.find_debuginfo = dwfl_standard_find_debuginfo,
		.section_address = dwfl_offline_section_address,
	};
	struct stat file;
	int fd = open(mapping->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	m->tried = true;
	if (fd < 0)
		return;
	if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode) || !(m->session = dwfl_begin(&callbacks))) {
		close(fd);
		return;
	}
	dwfl_report_begin(m->session);
	m->file = dwfl_report_offline(m->session, mapping->path, mapping->path, fd); /* owns fd if it succeeds */
	dwfl_report_end(m->session, NULL, NULL);
	if (!m->file)
		close(fd);
	Elf *elf = m->file ? dwfl_module_getelf(m->file, &m->bias) : NULL;
	if (!elf || !same_build(elf, mapping->build_id)) {
		dwfl_end(m->session);
		*m = (struct module){.tried = true};
	}
}

const char *names_module(const struct report *r, uint32_t mapping)
{
	const char *path = mapping < r->mappings_count ? r->mappings[mapping].path : "";
	const char *slash = strrchr(path, '/');
	if (!*path)
		return "(no file)";
	return slash && slash[1] ? slash + 1 : path;
}

struct name names_find(struct names *s, const struct report_site *site)
{
	struct name found = {.function = site->symbol, .function_offset = site->symbol_offset, .offset = site->offset};
	if (site->mapping >= s->report->mappings_count)
		return found;
	const struct report_mapping *mapping = &s->report->mappings[site->mapping];
	struct module *m = &s->modules[site->mapping];
	GElf_Off offset;
	GElf_Sym entry;
	found.module = names_module(s->report, site->mapping);
	if (!m->tried)
		module_open(m, mapping);
	if (!m->file || !site->offset)
		return found;
	GElf_Addr call = site->offset + m->bias - 1;
	const char *name = dwfl_module_addrinfo(m->file, call, &offset, &entry, NULL, NULL, NULL);
	if (name && *name && (offset < entry.st_size || !site->symbol)) {
		found.function = name;
		found.function_offset = offset + 1;
	}
	return found;
}

char *names_site(struct names *s, const struct report_site *site)
{
	struct name found = names_find(s, site);
	if (site->other)
		return memory_text("other");
	if (found.function && found.module)
		return memory_format("%s+0x%llx (%s)", found.function, (unsigned long long)found.function_offset, found.module);
	if (found.function)
		return memory_format("%s+0x%llx", found.function, (unsigned long long)found.function_offset);
	if (found.module)
		return memory_format("%s+0x%llx", found.module, (unsigned long long)found.offset);
	return memory_format("0x%llx", (unsigned long long)found.offset);
}
