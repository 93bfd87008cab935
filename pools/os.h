/* os.h: the one door to the kernel's memory calls, and to what it writes about memory.
 *
 * Every mapping of sluice is made, purged or made accessible here and nowhere else. Nothing is ever unmapped at exit.
 * No function touches errno, so that the callers need not save it.
 */
#ifndef SLUICE_OS_H
#define SLUICE_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OS_PAGE = 4096 }; /* the smallest page; larger kernel pages only round our calls up */

/* Reserves `bytes` of address space that nobody may touch yet, aligned to `align` (a power of two), or NULL. For more than a
 * page's alignment `align` bytes beside it stay reserved too: addresses are cheaper than two calls to give them back. */
void *os_reserve(size_t bytes, size_t align);

/* Makes part of a reservation readable and writable; zero-filled. false: the kernel refused. */
bool os_commit(void *start, size_t bytes);

/* Fresh zero-filled memory, or NULL. */
void *os_map(size_t bytes);

/* Gives back what os_map gave. */
void os_unmap(void *start, size_t bytes);

/* Gives the pages back to the kernel at once; they read as zeros afterwards. false: they still hold their bytes. */
bool os_purge(void *start, size_t bytes);

/* Asks for huge pages there, or that there be none. Where the kernel has none, nothing happens. */
void os_advise_huge(void *start, size_t bytes, bool huge);

/* Is there no seccomp filter that the process was started with? Found out once, by calls that no such filter can be without.
 * One that the program sets itself later is the caller's to know. */
bool os_unfiltered(void);

/* Copies what may be unmapped at this moment, or is not readable: then false, and `to` holds anything; so too where the
 * kernel or a container refuses the call. About half a microsecond; some more, by calls that are allowed to all who use
 * files and threads, behind a filter. Not after the program has set one: it may kill. */
bool os_peek(void *to, const void *from, size_t bytes);

/* Asks that a mapping's pages, where it has none yet, come from the memory node of that number as long as it has some. A
 * kernel that refuses gives them as it likes. Not after a seccomp filter. */
void os_prefer_node(void *start, size_t bytes, unsigned node);

/* The memory node of the processor the calling thread runs on, as the kernel numbers them. */
unsigned os_thread_node(void);

/* Has the program, or who started it (numactl), chosen nodes for its memory? Not after a seccomp filter. */
bool os_nodes_chosen(void);

/* Bytes of the memory that are in RAM, whole pages; 0 where the kernel does not say. Between _begin and _end, which open and
 * close a file of /proc, and of one thread at a time; each may be a cancellation point. Not mincore: services are ended
 * for it (systemd's SystemCallFilter=@system-service), and it is a call a slab. */
void os_resident_begin(void);
size_t os_resident(const void *start, size_t bytes);
void os_resident_end(void);

/* Calls `see` with each line of a file of the kernel's, long ones cut. false: it cannot be read. As os_read besides. */
bool os_read_lines(const char *path, void (*see)(void *, const char *), void *context);

/* Reads a small file of the kernel's (/proc, /sys) as text, which is cut to `bytes` - 1 and ended with a NUL. Returns its
 * length; 0: none there, or empty. Never waits, leaves no descriptor open, and is no cancellation point. */
size_t os_read(const char *path, char *text, size_t bytes);

/* Milliseconds on a coarse monotonic clock: a few nanoseconds a call, no system call. */
uint64_t os_now_ms(void);

/* Nanoseconds on the monotonic clock; without a system call wherever the kernel has the clock in its vdso. */
uint64_t os_now_ns(void);

/* Bytes this process may still add to its address space (RLIMIT_AS), SIZE_MAX when there is no limit. */
size_t os_address_limit(void);

#endif
