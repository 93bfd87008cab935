/* os.c: mmap, munmap, madvise, process_vm_readv, the coarse clock and RLIMIT_AS, behind os.h.
 *
 * A reservation is PROT_NONE and is made accessible by mapping over it in steps. Reserving it readable at once would
 * save those calls, but then mlockall() would fault in the whole range and strict overcommit would refuse it. The
 * step is a mmap, not a mprotect, because seccomp filters that allow an allocator always allow mmap.
 */
#define _GNU_SOURCE
#include "os.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static void *map_at(void *at, size_t bytes, int prot, int extra_flags)
{
	int saved = errno;
	void *p = mmap(at, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | extra_flags, -1, 0);
	errno = saved;
	return p == MAP_FAILED ? NULL : p;
}

void *os_reserve(size_t bytes, size_t align)
{
	char *p = map_at(NULL, align > OS_PAGE ? bytes + align : bytes, PROT_NONE, 0);
	return p ? p + (-(uintptr_t)p & (align - 1)) : NULL;
}

bool os_commit(void *start, size_t bytes)
{
	return map_at(start, bytes, PROT_READ | PROT_WRITE, MAP_FIXED) != NULL;
}

void *os_map(size_t bytes)
{
	return map_at(NULL, bytes, PROT_READ | PROT_WRITE, 0);
}

void os_unmap(void *start, size_t bytes)
{
	int saved = errno;
	munmap(start, bytes);
	errno = saved;
}

bool os_purge(void *start, size_t bytes)
{
	int saved = errno;
	bool done = madvise(start, bytes, MADV_DONTNEED) == 0; /* fails on mlocked pages */
	errno = saved;
	return done;
}

/* By this thread's id, not the process's: that is the first thread's, which has no memory any more once it has ended. */
bool os_peek(void *to, const void *from, size_t bytes)
{
	struct iovec here = {to, bytes}, there = {(void *)(uintptr_t)from, bytes};
	int saved = errno;
	ssize_t copied = process_vm_readv((pid_t)syscall(SYS_gettid), &here, 1, &there, 1, 0);
	errno = saved;
	return copied == (ssize_t)bytes;
}

uint64_t os_now_ms(void)
{
	struct timespec now;
	if (clock_gettime(CLOCK_MONOTONIC_COARSE, &now) != 0)
		return 0;
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

size_t os_address_limit(void)
{
	struct rlimit limit;
	int saved = errno;
	int failed = getrlimit(RLIMIT_AS, &limit);
	errno = saved;
	return failed || limit.rlim_cur == RLIM_INFINITY ? SIZE_MAX : (size_t)limit.rlim_cur;
}
