/* micro_space: bytes of resident memory that a live object costs beyond what was asked for.
 *
 *   micro_space [SIZE...]    prints `space_SIZE VALUE`, for 16 24 40 48 64 100 200 500 bytes without a SIZE
 *   micro_space --list       names, tab, titles
 *
 * Each size in a forked child: a million objects of that size, every byte written, none freed; the growth of the
 * resident set, divided by a million, less the size. The array of their addresses does not count, nor does what the
 * allocator took for its first block. Resident bytes come from smaps_rollup, which walks the pages; statm, the
 * fallback, may be some dozen pages a core behind. A size the machine has no memory for is left out, with a word on
 * standard error.
 */
#include "measure.h"
#include <fcntl.h>

enum { OBJECTS = 1000000, MEMORY_FACTOR = 3, SIZE_LARGEST = 65536, USUAL = 8 };

static const size_t usual_sizes[USUAL] = {16, 24, 40, 48, 64, 100, 200, 500};

/* The start of a file as a string; false where it cannot be read. Without stdio, which would allocate. */
static int read_text(const char *path, char *text, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, room - 1);
	if (fd >= 0)
		close(fd);
	text[got > 0 ? got : 0] = 0;
	return got > 0;
}

/* Bytes of the resident set of this process. */
static size_t resident(void)
{
	char text[4096];
	const char *found;
	size_t number;
	if (read_text("/proc/self/smaps_rollup", text, sizeof text) && (found = strstr(text, "\nRss:")) &&
	    sscanf(found, "\nRss: %zu kB", &number) == 1)
		return number << 10;
	if (read_text("/proc/self/statm", text, sizeof text) && sscanf(text, "%*u %zu", &number) == 1)
		return number * (size_t)sysconf(_SC_PAGESIZE);
	die("/proc/self/statm");
	return 0;
}

static void fill(char **objects, size_t count, size_t size)
{
	for (size_t i = 0; i < count; i++) {
		objects[i] = take(size);
		memset(objects[i], (int)i, size);
	}
}

static void run_size(const void *arg)
{
	size_t size = *(const size_t *)arg;
	char **objects = own_memory(OBJECTS * sizeof *objects);
	fill(objects, 1, size); /* the allocator's own start, and the pages of code that the kernel maps at first use */
	resident();
	size_t before = resident();
	fill(objects, OBJECTS, size);
	size_t after = resident();
	if (after < before + OBJECTS)
		fputs("micro_space: the memory went away while it was measured (swap?)\n", stderr);
	printf("space_%zu %.3f\n", size, ((double)after - (double)before) / OBJECTS - (double)size);
}

static int list_sizes(void)
{
	for (size_t i = 0; i < USUAL; i++)
		printf("space_%zu\t%zu bytes\n", usual_sizes[i], usual_sizes[i]);
	return 0;
}

static void measure_size(size_t size)
{
	size_t available = memory_available(), need = MEMORY_FACTOR * size * OBJECTS;
	if (available && available < need)
		fprintf(stderr, "space_%zu skipped: it needs %zu MiB available\n", size, need >> 20);
	else
		run_apart(run_size, &size);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--list"))
		return list_sizes();
	for (int i = 1; i < argc; i++) {
		char *end;
		size_t size = strtoul(argv[i], &end, 10);
		if (*end || size < 1 || size > SIZE_LARGEST) {
			fprintf(stderr, "micro_space: no size '%s'\nusage: micro_space --list | micro_space [SIZE...]\n", argv[i]);
			return 2;
		}
		measure_size(size);
	}
	for (size_t i = 0; argc == 1 && i < USUAL; i++)
		measure_size(usual_sizes[i]);
	return 0;
}
