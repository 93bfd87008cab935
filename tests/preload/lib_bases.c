/* Preloaded beside a program that another tool watches: says at its end where each file was mapped, a line "BASE PATH" for
 * each, so that addresses become offsets as in a report. BASE is what was added to the file's own addresses; the path of
 * the program itself is empty. It writes to the file that BASES_OUT names, and never allocates.
 */
#include "victim.h"

#include <fcntl.h>
#include <link.h>

static int say(struct dl_phdr_info *info, size_t size, void *context)
{
	char line[4096];
	(void)size;
	int n = snprintf(line, sizeof(line), "%#zx %s\n", (size_t)info->dlpi_addr, info->dlpi_name);
	return n < 0 || write(*(int *)context, line, (size_t)n) != n;
}

__attribute__((destructor)) static void at_the_end(void)
{
	const char *path = getenv("BASES_OUT");
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
	if (fd < 0 || dl_iterate_phdr(say, &fd) != 0)
		_exit(3);
	close(fd);
}
