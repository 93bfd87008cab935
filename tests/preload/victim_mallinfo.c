/* mallinfo and mallinfo2 see what is allocated, mallopt accepts the parameters that programs set, malloc_trim gives 0 or 1,
 * malloc_info writes an XML document and refuses options, malloc_stats writes to the standard error.
 */
#include "victim.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/stat.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static void info_sees(size_t n)
{
	enum { BLOCKS = 64 };
	void *p[BLOCKS];
	struct mallinfo2 before = mallinfo2();
	for (int i = 0; i < BLOCKS; i++) {
		p[i] = malloc(n);
		CHECK(p[i], "malloc(%zu) gives NULL", n);
		memset(p[i], 1, n);
	}
	struct mallinfo2 with = mallinfo2();
	struct mallinfo narrow = mallinfo();
	size_t grown = with.uordblks + with.hblkhd - before.uordblks - before.hblkhd;
	CHECK(grown >= BLOCKS * n && grown <= BLOCKS * n * 2 + 64 * KIB, "mallinfo2 sees %zu more bytes for %d of %zu",
	      grown, BLOCKS, n);
	size_t wide = with.uordblks;
	CHECK((size_t)narrow.uordblks == wide, "mallinfo says %d in use, mallinfo2 %zu", narrow.uordblks, wide);
	for (int i = 0; i < BLOCKS; i++) {
		free(p[i]);
	}
	struct mallinfo2 after = mallinfo2();
	CHECK(after.uordblks + after.hblkhd < with.uordblks + with.hblkhd, "mallinfo2 does not see frees of %zu", n);
}

static void options_are_taken(void)
{
	const int options[] = {M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX};
	const char *const names[] = {"M_MMAP_THRESHOLD", "M_TRIM_THRESHOLD", "M_TOP_PAD", "M_MMAP_MAX", "M_ARENA_MAX"};
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		CHECK(mallopt(options[i], 65536) == 1, "mallopt refuses %s", names[i]);
	}
	int trimmed = malloc_trim(0);
	CHECK(trimmed == 0 || trimmed == 1, "malloc_trim gives %d", trimmed);
}

static void info_is_xml(void)
{
	char text[64] = "";
	FILE *f = tmpfile();
	CHECK(f, "tmpfile: %s", strerror(errno));
	int said = malloc_info(0, f);
	CHECK(said == 0, "malloc_info(0) gives %d", said);
	rewind(f);
	CHECK(fread(text, 1, sizeof(text) - 1, f) > 0 && strncmp(text, "<malloc", 7) == 0, "malloc_info writes \"%s\"",
	      text);
	CHECK(malloc_info(1, f) == EINVAL, "malloc_info(1) is not refused with EINVAL");
	fclose(f);
}

static void stats_go_to_stderr(void)
{
	char name[] = "stats-XXXXXX";
	int old = dup(2), fd = mkstemp(name);
	CHECK(old >= 0 && fd >= 0 && dup2(fd, 2) == 2, "cannot divert the standard error");
	unlink(name);
	malloc_stats();
	fflush(stderr);
	struct stat st;
	CHECK(fstat(2, &st) == 0 && st.st_size > 0, "malloc_stats writes nothing");
	dup2(old, 2);
}

int main(void)
{
	info_sees(100);
	info_sees(1000);
	info_sees(10000);
	info_sees(300000);
	options_are_taken();
	info_is_xml();
	stats_go_to_stderr();
	return victim_ok();
}
