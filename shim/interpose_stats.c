/* interpose_stats.c: glibc's questions about the heap, answered from the ledger.
 *
 * mallinfo2's fields were made for another allocator; the ones that have a meaning here: arena and uordblks + fordblks
 * are the slabs, hblkhd the fallback's blocks. malloc_info and malloc_stats print what glibc's do, in its forms.
 */
#define _GNU_SOURCE
#include "allocate.h"
#include "fallback.h"
#include "pools/apart.h"
#include "pools/range.h"
#include "process.h"
#include "publish.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

static APART struct ledger_header nothing;

static const struct ledger_header *now(void)
{
	const struct ledger_header *l = process_start() ? publish(END_LIVE) : NULL;
	return l ? l : &nothing;
}

SLUICE_API struct mallinfo2 mallinfo2(void)
{
	const struct ledger_header *l = now();
	uint64_t behind = l->routes[ROUTE_FALLBACK].inuse_space, pooled = l->memory.tally.inuse_space - behind;
	uint64_t slabs = l->memory.active - behind;
	return (struct mallinfo2){.arena = slabs,
	                          .hblks = l->routes[ROUTE_FALLBACK].inuse_objects,
	                          .hblkhd = behind,
	                          .uordblks = pooled,
	                          .fordblks = slabs > pooled ? slabs - pooled : 0,
	                          .keepcost = l->memory.retained};
}

static int clip(size_t n)
{
	return n > INT_MAX ? INT_MAX : (int)n;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
SLUICE_API struct mallinfo mallinfo(void)
{
	struct mallinfo2 wide = mallinfo2();
	return (struct mallinfo){.arena = clip(wide.arena),
	                         .hblks = clip(wide.hblks),
	                         .hblkhd = clip(wide.hblkhd),
	                         .uordblks = clip(wide.uordblks),
	                         .fordblks = clip(wide.fordblks),
	                         .keepcost = clip(wide.keepcost)};
}
#pragma GCC diagnostic pop

/* Every tuning is accepted, as a success, and none applies: the options are SLUICE_CONF's. */
SLUICE_API int mallopt(int parameter, int value)
{
	(void)parameter;
	(void)value;
	return 1;
}

/* 1: memory went back to the kernel. `pad` would be the bytes to keep; all that is free goes. */
SLUICE_API int malloc_trim(size_t pad)
{
	(void)pad;
	if (!process_start())
		return 0;
	int saved = errno;
	struct thread *thread = thread_if_any();
	if (thread) {
		heap_send(&thread->heap);
		heap_drain(&thread->heap);
		ready_trim(thread);
	}
	size_t before = range_usage().purged;
	heap_tend_all(thread ? &thread->heap : NULL);
	range_trim();
	fallback_trim();
	errno = saved;
	return range_usage().purged != before;
}

SLUICE_API int malloc_info(int options, FILE *out)
{
	if (options != 0)
		return EINVAL;
	struct mallinfo2 info = mallinfo2();
	fprintf(out,
	        "<malloc version=\"sluice-1\">\n<total type=\"inuse\" size=\"%zu\"/>\n<total type=\"rest\" size=\"%zu\"/>\n"
	        "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n<system type=\"current\" size=\"%zu\"/>\n</malloc>\n",
	        info.uordblks, info.fordblks, info.hblks, info.hblkhd, info.arena + info.hblkhd);
	return 0;
}

SLUICE_API void malloc_stats(void)
{
	struct mallinfo2 info = mallinfo2();
	char text[256];
	int bytes = snprintf(text, sizeof(text),
	                     "Total (incl. mmap):\nsystem bytes     = %10zu\nin use bytes     = %10zu\n"
	                     "fallback blocks  = %10zu\nfallback bytes   = %10zu\n",
	                     info.arena + info.hblkhd, info.uordblks + info.hblkhd, info.hblks, info.hblkhd);
	for (int done = 0; done < bytes;) {
		ssize_t n = write(STDERR_FILENO, text + done, (size_t)(bytes - done));
		if (n <= 0)
			return;
		done += (int)n;
	}
}
