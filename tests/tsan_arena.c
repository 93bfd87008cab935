/* tsan_arena.c: lets Criterion run under ThreadSanitizer; linked into the tests of the variant tsan only.
 *
 * Criterion (its BoxFort) puts the memory it shares with a test's process at a random address between 0x20... and
 * 0x7f... that mincore calls free. ThreadSanitizer has nearly all of that mapped or forbidden, so no test starts.
 * BoxFort keeps whatever address the map returns. So mincore here calls every address free, and mmap64, to which
 * BoxFort's call binds before the sanitizer's, moves such a request into the part that is allowed and that no
 * executable, library, heap or stack uses: 0x550000000000 up to 0x555000000000, below where the kernel puts
 * position-independent programs. The child maps the same address again, which passes unchanged. sluice's own calls
 * are of mmap and pass by.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef void *mmap_function(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);

static const uintptr_t ARENAS = UINT64_C(0x550000000000), ARENAS_END = UINT64_C(0x555000000000);
static const uintptr_t ARENA_STEP = UINT64_C(1) << 32; /* no arena of a test run grows to 4 GiB */
static mmap_function *sanitizers; /* NULL while the sanitizer starts, when its own mmap does not work yet */

__attribute__((constructor)) static void sanitizer_is_up(void)
{
	sanitizers = (mmap_function *)dlsym(RTLD_NEXT, "mmap64");
}

__attribute__((visibility("default"))) int mincore(void *at, size_t bytes, unsigned char *pages)
{
	(void)at, (void)bytes, (void)pages;
	errno = ENOMEM;
	return -1;
}

__attribute__((visibility("default"))) void *mmap64(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	static atomic_uint count;
	uintptr_t asked = (uintptr_t)at;
	if (!sanitizers)
		return (void *)syscall(SYS_mmap, at, bytes, prot, flags, fd, offset);
	if ((flags & MAP_FIXED) && (flags & MAP_SHARED) && (asked < ARENAS || asked >= ARENAS_END))
		at = (void *)(ARENAS + ARENA_STEP * atomic_fetch_add(&count, 1));
	return sanitizers(at, bytes, prot, flags, fd, offset);
}
