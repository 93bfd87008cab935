/* symbol_file.c: finds and opens the file of a mapping; see symbol_file.h.
 *
 * A file is trusted only when its build-id is the one in the report: a name from another build would be a lie. A report
 * is a file from outside and may name anything, so only regular files are opened, and never over the network.
 *
 * For /usr/bin/till of build-id 0123..., a folder DIR that the user named is asked for
 *
 *   DIR/usr/bin/till               the root of another system
 *   DIR/till                       a heap of files brought along
 *   DIR/.build-id/01/23...[.debug] what debuggers keep; the debug file alone is enough, it has symbols and lines
 *
 * and so is DIR/usr/lib/debug; then come the path itself and /usr/lib/debug. A stripped file's debug file is found by
 * elfutils, by build-id or .gnu_debuglink, in the same places.
 */
#include "analytics/symbol_file.h"

#include "analytics/memory.h"

#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEBUG_FOLDER "/usr/lib/debug"

void symbol_search_open(struct symbol_search *search, const char *const *folders, size_t folders_count)
{
	*search = (struct symbol_search){.folders = folders, .folders_count = folders_count};
	search->debug_path = memory_text(":.debug"); /* beside the file, with elfutils' check of the contents' sum */
	for (size_t i = 0; i < folders_count; i++) {
		char *longer = memory_format("%s:%s:%s" DEBUG_FOLDER, search->debug_path, folders[i], folders[i]);
		free(search->debug_path);
		search->debug_path = longer;
	}
	char *all = memory_format("%s:" DEBUG_FOLDER, search->debug_path);
	free(search->debug_path);
	search->debug_path = all;
	search->callbacks = (Dwfl_Callbacks){
		.find_elf = dwfl_build_id_find_elf,
		.find_debuginfo = dwfl_standard_find_debuginfo,
		.section_address = dwfl_offline_section_address,
		.debuginfo_path = &search->debug_path,
	};
	unsetenv("DEBUGINFOD_URLS"); /* names must not wait for a server */
}

void symbol_search_close(struct symbol_search *search)
{
	free(search->debug_path);
	*search = (struct symbol_search){0};
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

/* Opens one file, if it is the build. */
static bool try_path(struct symbol_file *file, const struct symbol_search *search, const char *path,
                     const char *build_id)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return false;
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || !(file->session = dwfl_begin(&search->callbacks))) {
		close(fd);
		return false;
	}
	dwfl_report_begin(file->session);
	file->module = dwfl_report_offline(file->session, path, path, fd); /* owns fd if it succeeds */
	dwfl_report_end(file->session, NULL, NULL);
	if (!file->module)
		close(fd);
	Elf *elf = file->module ? dwfl_module_getelf(file->module, &file->bias) : NULL;
	if (elf && same_build(elf, build_id))
		return true;
	symbol_file_close(file);
	return false;
}

/* Tries a path made from a format; takes and releases it. */
static bool try_made(struct symbol_file *file, const struct symbol_search *search, char *path, const char *build_id)
{
	bool good = try_path(file, search, path, build_id);
	free(path);
	return good;
}

/* The file or its debug file by build-id, below `folder`. */
static bool try_build_id(struct symbol_file *file, const struct symbol_search *search, const char *folder,
                         const char *build_id)
{
	static const char *const ends[] = {"", ".debug"};
	size_t digits = strspn(build_id, "0123456789abcdef");
	if (digits < 4 || build_id[digits]) /* a report from outside: no dots, no slashes */
		return false;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (try_made(file, search, memory_format("%s/.build-id/%.2s/%s%s", folder, build_id, build_id + 2, ends[i]),
		             build_id))
			return true;
	return false;
}

static bool try_folder(struct symbol_file *file, const struct symbol_search *search, const char *folder,
                       const struct report_mapping *mapping)
{
	const char *slash = strrchr(mapping->path, '/'), *base = slash ? slash + 1 : mapping->path;
	char *debug = memory_format("%s" DEBUG_FOLDER, folder);
	bool good = try_made(file, search, memory_format("%s/%s", folder, mapping->path), mapping->build_id) ||
	            try_made(file, search, memory_format("%s/%s", folder, base), mapping->build_id) ||
	            try_build_id(file, search, folder, mapping->build_id) ||
	            try_build_id(file, search, debug, mapping->build_id);
	free(debug);
	return good;
}

struct symbol_file symbol_file_open(const struct symbol_search *search, const struct report_mapping *mapping)
{
	struct symbol_file file = {0};
	for (size_t i = 0; i < search->folders_count; i++)
		if (try_folder(&file, search, search->folders[i], mapping))
			return file;
	if (!try_path(&file, search, mapping->path, mapping->build_id))
		try_build_id(&file, search, DEBUG_FOLDER, mapping->build_id);
	return file;
}

void symbol_file_close(struct symbol_file *file)
{
	if (file->session)
		dwfl_end(file->session);
	*file = (struct symbol_file){0};
}
