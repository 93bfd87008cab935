/* interpose_jemalloc.c: jemalloc's own interface, for programs that are linked to it.
 *
 * Debian's redis-server, for one, calls malloc and then asks jemalloc about the block. Its libjemalloc is another copy
 * than our fallback, so these functions must come here: blocks are ours whoever took them. What cannot be honoured (an
 * arena or a cache of the caller's choice) is ignored; alignment and zeroing are.
 */
#define _GNU_SOURCE
#include "allocate.h"
#include "fallback.h"
#include "process.h"

#include <errno.h>
#include <string.h>

/* jemalloc's flags: the low six bits are the alignment's logarithm, bit 6 asks for zeros. */
enum { FLAG_LG_ALIGN = 0x3f, FLAG_ZERO = 0x40 };

static size_t align_of(int flags)
{
	size_t align = (size_t)1 << (flags & FLAG_LG_ALIGN);
	return align < 16 ? 16 : align;
}

SLUICE_API void *mallocx(size_t size, int flags);
SLUICE_API void *mallocx(size_t size, int flags)
{
	if (flags & FLAG_ZERO && align_of(flags) == 16)
		return allocate_zeroed_from(size, SLUICE_CALLER(), SLUICE_FRAME());
	void *block = allocate_aligned_from(size, align_of(flags), SLUICE_CALLER(), SLUICE_FRAME());
	return block && flags & FLAG_ZERO ? memset(block, 0, size) : block;
}

SLUICE_API void *rallocx(void *block, size_t size, int flags);
SLUICE_API void *rallocx(void *block, size_t size, int flags)
{
	size_t before = usable_size(block), align = align_of(flags);
	void *fresh;
	if (align == 16) {
		fresh = reallocate_from(block, size, SLUICE_CALLER(), SLUICE_FRAME());
	} else {
		fresh = allocate_aligned_from(size, align, SLUICE_CALLER(), SLUICE_FRAME());
		if (!fresh)
			return NULL;
		memcpy(fresh, block, size < before ? size : before);
		release(block);
	}
	if (fresh && flags & FLAG_ZERO && usable_size(fresh) > before)
		memset((char *)fresh + before, 0, usable_size(fresh) - before);
	return fresh;
}

/* Never moves, so it never grows a block past its class either. */
SLUICE_API size_t xallocx(void *block, size_t size, size_t extra, int flags);
SLUICE_API size_t xallocx(void *block, size_t size, size_t extra, int flags)
{
	(void)size;
	(void)extra;
	(void)flags;
	return usable_size(block);
}

SLUICE_API size_t sallocx(const void *block, int flags);
SLUICE_API size_t sallocx(const void *block, int flags)
{
	(void)flags;
	return usable_size(block);
}

SLUICE_API void dallocx(void *block, int flags);
SLUICE_API void dallocx(void *block, int flags)
{
	(void)flags;
	release(block);
}

SLUICE_API void sdallocx(void *block, size_t size, int flags);
SLUICE_API void sdallocx(void *block, size_t size, int flags)
{
	(void)size;
	(void)flags;
	release(block);
}

/* The usable size a block of `size` would have; 0 when there can be none. */
SLUICE_API size_t nallocx(size_t size, int flags);
SLUICE_API size_t nallocx(size_t size, int flags)
{
	size_t align = align_of(flags);
	if (size > PTRDIFF_MAX - align)
		return 0;
	unsigned class = size <= CLASS_SIZE_MAX && align <= 4096 ? class_of_aligned(size, align) : CLASSES;
	return class < CLASSES ? class_table[class].size : (size + align - 1) & -align;
}

SLUICE_API int mallctl(const char *name, void *old, size_t *old_bytes, void *fresh, size_t fresh_bytes);
SLUICE_API int mallctl(const char *name, void *old, size_t *old_bytes, void *fresh, size_t fresh_bytes)
{
	/* The controls that look a block up would walk jemalloc's tree with one of ours. */
	bool takes_block =
		name && (strncmp(name, "experimental.utilization.", 25) == 0 || strcmp(name, "arenas.lookup") == 0);
	return takes_block ? ENOENT : fallback_control(name, old, old_bytes, fresh, fresh_bytes);
}

SLUICE_API int mallctlnametomib(const char *name, size_t *mib, size_t *length);
SLUICE_API int mallctlnametomib(const char *name, size_t *mib, size_t *length)
{
	return fallback_control_mib(name, mib, length);
}

SLUICE_API int mallctlbymib(const size_t *mib, size_t length, void *old, size_t *old_bytes, void *fresh, size_t bytes);
SLUICE_API int mallctlbymib(const size_t *mib, size_t length, void *old, size_t *old_bytes, void *fresh, size_t bytes)
{
	return fallback_control_by_mib(mib, length, old, old_bytes, fresh, bytes);
}

SLUICE_API void malloc_stats_print(void (*write_text)(void *, const char *), void *context, const char *opts);
SLUICE_API void malloc_stats_print(void (*write_text)(void *, const char *), void *context, const char *opts)
{
	fallback_stats_print(write_text, context, opts);
}
