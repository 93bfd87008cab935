/* os.c: mmap, munmap, madvise, mbind, process_vm_readv, pagemap, small files, the coarse clock and RLIMIT_AS, behind os.h.
 *
 * A reservation is PROT_NONE and is made accessible by mapping over it in steps. Reserving it readable at once would
 * save those calls, but then mlockall() would fault in the whole range and strict overcommit would refuse it. The
 * step is a mmap, not a mprotect, because seccomp filters that allow an allocator always allow mmap.
 */
#define _GNU_SOURCE
#include "os.h"

#include "apart.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
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

void os_advise_huge(void *start, size_t bytes, bool huge)
{
	int saved = errno;
	madvise(start, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	errno = saved;
}

/* Does the file have the line, which begins and ends with a newline and has none between? */
static bool has_line(int fd, const char *line)
{
	char text[256];
	size_t matched = 0;
	for (ssize_t n; (n = read(fd, text, sizeof(text))) > 0;)
		for (ssize_t i = 0; i < n; i++) {
			matched = text[i] == line[matched] ? matched + 1 : text[i] == line[0];
			if (!line[matched])
				return true;
		}
	return false;
}

/* Opens, reads and closes, as every program has done that was loaded at all. */
static bool look_unfiltered(void)
{
	int cancelled_before;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelled_before);
	int fd = open("/proc/thread-self/status", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	bool unfiltered = fd >= 0 && has_line(fd, "\nSeccomp:\t0\n");
	if (fd >= 0)
		close(fd);
	pthread_setcancelstate(cancelled_before, NULL);
	return unfiltered;
}

bool os_unfiltered(void)
{
	enum { UNKNOWN, NO, YES };
	static _Atomic uint8_t answer;
	uint8_t is = atomic_load_explicit(&answer, memory_order_relaxed);
	if (is == UNKNOWN) {
		int saved = errno;
		is = look_unfiltered() ? YES : NO;
		atomic_store_explicit(&answer, is, memory_order_relaxed);
		errno = saved;
	}
	return is == YES;
}

/* By this thread's id, not the process's: that is the first thread's, which has no memory any more once it has ended. */
static ssize_t copy_by_call(void *to, const void *from, size_t bytes)
{
	struct iovec here = {to, bytes}, there = {(void *)(uintptr_t)from, bytes};
	return process_vm_readv((pid_t)syscall(SYS_gettid), &here, 1, &there, 1, 0);
}

enum { SIGSET_BYTES = 8, NO_SUCH_HOW = -1 };

/* The kernel reads the signals before it refuses what is to be done with them. It does nothing besides, and no filter is
 * without the call: the C library blocks signals wherever it makes a thread or a process. */
static bool may_read(uintptr_t from, size_t bytes)
{
	for (uintptr_t at = from & -(uintptr_t)SIGSET_BYTES; at - from < bytes || at < from;
	     at = (at & -(uintptr_t)OS_PAGE) + OS_PAGE)
		if (syscall(SYS_rt_sigprocmask, NO_SUCH_HOW, at, NULL, SIGSET_BYTES) == 0 || errno != EINVAL)
			return false;
	return true;
}

/* The file alone would do, but it gives what the program itself may not read as well: a stack's guard. */
static ssize_t copy_by_file(void *to, const void *from, size_t bytes)
{
	int cancelled_before;
	ssize_t copied = -1;
	if (!may_read((uintptr_t)from, bytes))
		return -1;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelled_before);
	int fd = open("/proc/thread-self/mem", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		copied = pread(fd, to, bytes, (off_t)(uintptr_t)from);
		close(fd);
	}
	pthread_setcancelstate(cancelled_before, NULL);
	return copied;
}

bool os_peek(void *to, const void *from, size_t bytes)
{
	int saved = errno;
	ssize_t copied = os_unfiltered() ? copy_by_call(to, from, bytes) : copy_by_file(to, from, bytes);
	errno = saved;
	return copied == (ssize_t)bytes;
}

enum { NODE_IDS = 1024, MASK_BITS = 8 * sizeof(unsigned long) };

/* The kernel takes one bit less than it is told of. */
void os_prefer_node(void *start, size_t bytes, unsigned node)
{
	unsigned long mask[NODE_IDS / MASK_BITS] = {0};
	int saved = errno;
	if (node < NODE_IDS) {
		mask[node / MASK_BITS] = 1ul << node % MASK_BITS;
		syscall(SYS_mbind, start, bytes, MPOL_PREFERRED, mask, (unsigned long)NODE_IDS + 1, 0);
	}
	errno = saved;
}

unsigned os_thread_node(void)
{
	unsigned cpu, node;
	int saved = errno;
	bool known = getcpu(&cpu, &node) == 0;
	errno = saved;
	return known ? node : 0;
}

bool os_nodes_chosen(void)
{
	int mode = MPOL_DEFAULT, saved = errno;
	bool known = syscall(SYS_get_mempolicy, &mode, NULL, 0ul, NULL, 0ul) == 0;
	errno = saved;
	return known && mode != MPOL_DEFAULT;
}

/* O_NONBLOCK: where /proc is not the kernel's, it may be a pipe. */
size_t os_read(const char *path, char *text, size_t bytes)
{
	size_t length = 0;
	int cancelled_before, saved = errno;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelled_before);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	for (ssize_t n = fd < 0 ? 0 : 1; n > 0 && length<bytes - 1; length += n> 0 ? (size_t)n : 0)
		n = read(fd, text + length, bytes - 1 - length);
	if (fd >= 0)
		close(fd);
	pthread_setcancelstate(cancelled_before, NULL);
	errno = saved;
	text[length] = 0;
	return length;
}

enum { SEEN_PAGES = 512, LINE_BYTES = 512 };

#define PAGEMAP_PRESENT (UINT64_C(1) << 63)

/* Some pages' entries in pagemap, a word a page: what is asked for next mostly lies close behind. One report at a time. */
static APART struct {
	uintptr_t first;
	size_t count;
	uint64_t entries[SEEN_PAGES];
} seen;
static int pagemap = -1;

/* thread-self: the process's first thread may have ended. */
void os_resident_begin(void)
{
	int saved = errno;
	seen.count = 0;
	pagemap = open("/proc/thread-self/pagemap", O_RDONLY | O_CLOEXEC);
	errno = saved;
}

void os_resident_end(void)
{
	int saved = errno;
	if (pagemap >= 0)
		close(pagemap);
	pagemap = -1;
	errno = saved;
}

static bool see_pages(uintptr_t first)
{
	ssize_t got = pread(pagemap, seen.entries, sizeof(seen.entries), (off_t)(first * sizeof(uint64_t)));
	seen.first = first;
	seen.count = got > 0 ? (size_t)got / sizeof(uint64_t) : 0;
	return seen.count != 0;
}

size_t os_resident(const void *start, size_t bytes)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t at = (uintptr_t)start / page, end = ((uintptr_t)start + bytes + page - 1) / page;
	int saved = errno;
	size_t resident = 0;
	for (; pagemap >= 0 && at < end; at++) {
		if (at - seen.first >= seen.count && !see_pages(at))
			break;
		resident += (seen.entries[at - seen.first] & PAGEMAP_PRESENT) != 0;
	}
	errno = saved;
	return resident * page;
}

/* Passes on the whole lines of `text`, and returns what is left of the last. */
static size_t see_lines(char *text, size_t length, void (*see)(void *, const char *), void *context)
{
	char *line = text, *end;
	for (; (end = memchr(line, '\n', length)); length -= (size_t)(end + 1 - line), line = end + 1) {
		*end = 0;
		see(context, line);
	}
	if (length > (size_t)4 * LINE_BYTES) /* no end in sight: such a line is passed over */
		return 0;
	memmove(text, line, length);
	return length;
}

bool os_read_lines(const char *path, void (*see)(void *, const char *), void *context)
{
	char text[8 * LINE_BYTES];
	size_t left = 0;
	int cancelled_before, saved = errno;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelled_before);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	for (ssize_t n = fd < 0 ? 0 : 1; n > 0; left = n > 0 ? see_lines(text, left + (size_t)n, see, context) : left)
		n = read(fd, text + left, sizeof(text) - left);
	if (fd >= 0)
		close(fd);
	pthread_setcancelstate(cancelled_before, NULL);
	errno = saved;
	return fd >= 0;
}

uint64_t os_now_ms(void)
{
	struct timespec now;
	if (clock_gettime(CLOCK_MONOTONIC_COARSE, &now) != 0)
		return 0;
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t os_now_ns(void)
{
	struct timespec now;
	return clock_gettime(CLOCK_MONOTONIC, &now) ? 0 : (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

size_t os_address_limit(void)
{
	struct rlimit limit;
	int saved = errno;
	int failed = getrlimit(RLIMIT_AS, &limit);
	errno = saved;
	return failed || limit.rlim_cur == RLIM_INFINITY ? SIZE_MAX : (size_t)limit.rlim_cur;
}
