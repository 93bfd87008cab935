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
 * and so is DIR/usr/lib/debug; then come the path itself and /usr/lib/debug. Where that file is stripped, libdwfl asks
 * for its debug file (find_debug): by build-id in the same folders, then by the name in .gnu_debuglink. Its own search
 * would open whatever stands there, a pipe for instance, and leave out folders that are not absolute.
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

/* A file that was found; fd -1: none yet. */
struct found {
	const char *build_id; /* what it must have */
	char *path;           /* released by who takes it */
	int fd;
};

static bool same_build(int fd, const char *expected)
{
	const void *id;
	char text[129] = "";
	Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	ssize_t bytes = elf ? dwelf_elf_gnu_build_id(elf, &id) : 0;
	for (ssize_t i = 0; i < bytes && (size_t)bytes <= sizeof(text) / 2; i++)
		snprintf(text + 2 * i, 3, "%02x", ((const unsigned char *)id)[i]);
	elf_end(elf);
	return *text && strcmp(text, expected) == 0;
}

/* Takes the file if it is the build and none was found before. Releases the path otherwise. */
static void try_path(struct found *found, char *path)
{
	struct stat status;
	int fd = found->fd < 0 ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	if (fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && same_build(fd, found->build_id)) {
		found->fd = fd;
		found->path = path;
		return;
	}
	if (fd >= 0)
		close(fd);
	free(path);
}

/* The file, if `whole`, or its debug file by build-id, below `folder` as debuggers keep them. */
static void try_build_id(struct found *found, const char *folder, bool whole)
{
	const char *id = found->build_id;
	size_t digits = strspn(id, "0123456789abcdef");
	if (digits < 4 || id[digits]) /* a report from outside: no dots, no slashes */
		return;
	if (whole)
		try_path(found, memory_format("%s/.build-id/%.2s/%s", folder, id, id + 2));
	try_path(found, memory_format("%s/.build-id/%.2s/%s.debug", folder, id, id + 2));
}

/* Both in a folder that the user named. */
static void try_folder(struct found *found, const char *folder, bool whole)
{
	char *debug = memory_format("%s" DEBUG_FOLDER, folder);
	try_build_id(found, folder, whole);
	try_build_id(found, debug, whole);
	free(debug);
}

/* --- separate debug files ----------------------------------------------------------------------------------------- */

/* By the name in .gnu_debuglink: beside the file, in .debug there, and under the file's path in each folder. */
static void try_link(struct found *found, const struct symbol_search *search, const char *file, const char *link)
{
	const char *slash = strrchr(file, '/');
	int bytes = slash ? (int)(slash - file) : 1;
	const char *folder = slash ? file : ".";
	if (strchr(link, '/'))
		return;
	try_path(found, memory_format("%.*s/%s", bytes, folder, link));
	try_path(found, memory_format("%.*s/.debug/%s", bytes, folder, link));
	for (size_t i = 0; i < search->folders_count; i++)
		try_path(found, memory_format("%s" DEBUG_FOLDER "/%.*s/%s", search->folders[i], bytes, folder, link));
	try_path(found, memory_format(DEBUG_FOLDER "/%.*s/%s", bytes, folder, link));
}

/* libdwfl's question for the debug file of a module. A name without a sum is that of a supplementary file which several
 * debug files share (dwz), with a build-id that libdwfl alone knows. */
static int find_debug(Dwfl_Module *module, void **context, const char *name, Dwarf_Addr base, const char *file,
                      const char *link, GElf_Word sum, char **path)
{
	const struct symbol_file *of = *context;
	if (!of)
		return -1;
	if (link && !sum)
		return dwfl_standard_find_debuginfo(module, context, name, base, file, link, sum, path);
	struct found found = {.build_id = of->mapping->build_id, .fd = -1};
	for (size_t i = 0; i < of->search->folders_count; i++)
		try_folder(&found, of->search->folders[i], false);
	try_build_id(&found, DEBUG_FOLDER, false);
	if (link && file)
		try_link(&found, of->search, file, link);
	*path = found.path;
	return found.fd;
}

void symbol_search_open(struct symbol_search *search, const char *const *folders, size_t folders_count)
{
	*search = (struct symbol_search){.folders = folders, .folders_count = folders_count};
	search->debug_path = memory_text(DEBUG_FOLDER);
	for (size_t i = folders_count; i > 0; i--) {
		const char *folder = folders[i - 1];
		char *longer = memory_format("%s:%s" DEBUG_FOLDER ":%s", folder, folder, search->debug_path);
		free(search->debug_path);
		search->debug_path = longer;
	}
	search->callbacks = (Dwfl_Callbacks){
		.find_elf = dwfl_build_id_find_elf,
		.find_debuginfo = find_debug,
		.section_address = dwfl_offline_section_address,
		.debuginfo_path = &search->debug_path,
	};
	elf_version(EV_CURRENT);
	unsetenv("DEBUGINFOD_URLS"); /* names must not wait for a server */
}

void symbol_search_close(struct symbol_search *search)
{
	free(search->debug_path);
	*search = (struct symbol_search){0};
}

/* --- the file itself ---------------------------------------------------------------------------------------------- */

static struct found find_file(const struct symbol_search *search, const struct report_mapping *mapping)
{
	struct found found = {.build_id = mapping->build_id, .fd = -1};
	const char *slash = strrchr(mapping->path, '/'), *base = slash ? slash + 1 : mapping->path;
	for (size_t i = 0; i < search->folders_count; i++) {
		const char *folder = search->folders[i];
		try_path(&found, memory_format("%s/%s", folder, mapping->path));
		try_path(&found, memory_format("%s/%s", folder, base));
		try_folder(&found, folder, true);
	}
	try_path(&found, memory_text(mapping->path));
	try_build_id(&found, DEBUG_FOLDER, true);
	return found;
}

void symbol_file_open(struct symbol_file *file, const struct symbol_search *search,
                      const struct report_mapping *mapping)
{
	void **context;
	*file = (struct symbol_file){.search = search, .mapping = mapping};
	struct found found = find_file(search, mapping);
	if (found.fd < 0)
		return;
	file->session = dwfl_begin(&search->callbacks);
	if (file->session) {
		dwfl_report_begin(file->session);
		file->module =
			dwfl_report_offline(file->session, found.path, found.path, found.fd); /* owns fd if it succeeds */
		dwfl_report_end(file->session, NULL, NULL);
	}
	if (!file->module)
		close(found.fd);
	free(found.path);
	if (file->module) {
		dwfl_module_info(file->module, &context, NULL, NULL, NULL, NULL, NULL, NULL);
		*context = file; /* for find_debug */
	}
	if (!file->module || !dwfl_module_getelf(file->module, &file->bias))
		symbol_file_close(file);
}

void symbol_file_close(struct symbol_file *file)
{
	if (file->session)
		dwfl_end(file->session);
	file->session = NULL;
	file->module = NULL;
}
