/* interpose_socket.c: the calls by which a server takes a request and answers it: reading, writing, waiting, descriptors that
 * come and go.
 *
 * Each makes the next definition's call, which stays the cancellation point that it is: when a thread is cancelled inside,
 * or leaves by a jump out of a handler, there is nothing of ours to undo. Results, errno, what a part of a read or write
 * or an interruption comes to, are its own. Where nothing is to be noted, which is so in every process without a
 * connection that was accepted, the call is a jump after one look.
 * Not here: shutdown, after which what is still read or written counts as before; the datagrams of recvmmsg and sendmmsg;
 * stdio on a socket, io_uring and raw system calls, which nobody sees.
 */
#define _GNU_SOURCE
#include "allocate.h"
#include "pools/apart.h"
#include "request.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* The fortified forms, which the headers only declare where they are asked for. */
ssize_t __read_chk(int fd, void *to, size_t bytes, size_t room);
ssize_t __recv_chk(int fd, void *to, size_t bytes, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *to, size_t bytes, size_t room, int flags, struct sockaddr *from,
                       socklen_t *length);
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask, size_t room);

/* Every call that is passed on, under its public name. */
#define CALLS(X)                                                                                                       \
	X(read)                                                                                                            \
	X(__read_chk)                                                                                                      \
	X(readv)                                                                                                           \
	X(recv)                                                                                                            \
	X(__recv_chk)                                                                                                      \
	X(recvfrom)                                                                                                        \
	X(__recvfrom_chk)                                                                                                  \
	X(recvmsg)                                                                                                         \
	X(write)                                                                                                           \
	X(writev)                                                                                                          \
	X(send)                                                                                                            \
	X(sendto)                                                                                                          \
	X(sendmsg)                                                                                                         \
	X(sendfile)                                                                                                        \
	X(splice)                                                                                                          \
	X(accept)                                                                                                          \
	X(accept4)                                                                                                         \
	X(connect)                                                                                                         \
	X(close)                                                                                                           \
	X(close_range)                                                                                                     \
	X(closefrom)                                                                                                       \
	X(dup2)                                                                                                            \
	X(dup3)                                                                                                            \
	X(epoll_wait)                                                                                                      \
	X(epoll_pwait)                                                                                                     \
	X(epoll_pwait2)                                                                                                    \
	X(poll)                                                                                                            \
	X(__poll_chk)                                                                                                      \
	X(ppoll)                                                                                                           \
	X(__ppoll_chk)                                                                                                     \
	X(select)                                                                                                          \
	X(pselect)

static ONCE struct {
#define X(name) __typeof__(name) *name;
	CALLS(X)
#undef X
} next;

static __attribute__((constructor)) void look_up(void)
{
	int saved = errno;
#define X(name) *(void **)&next.name = dlsym(RTLD_NEXT, #name);
	CALLS(X)
#undef X
	errno = saved;
}

/* A constructor that runs before ours may be the caller. */
#define NEXT(name) (__builtin_expect(next.name != NULL, 1) ? next.name : (look_up(), next.name))

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* Data that stays to be read again, or is no data, begins nothing. */
static ssize_t was_read(struct connection *c, ssize_t bytes, int flags)
{
	if (c && bytes > 0 && !(flags & (MSG_PEEK | MSG_ERRQUEUE)))
		request_note_read(c);
	return bytes;
}

#define READ(fd, flags, name, ...)                                                                                     \
	struct connection *c = request_on(fd);                                                                             \
	return c ? was_read(c, NEXT(name)(fd, __VA_ARGS__), flags) : NEXT(name)(fd, __VA_ARGS__)

SLUICE_API ssize_t read(int fd, void *to, size_t bytes)
{
	READ(fd, 0, read, to, bytes);
}

SLUICE_API ssize_t __read_chk(int fd, void *to, size_t bytes, size_t room)
{
	READ(fd, 0, __read_chk, to, bytes, room);
}

SLUICE_API ssize_t readv(int fd, const struct iovec *parts, int count)
{
	READ(fd, 0, readv, parts, count);
}

SLUICE_API ssize_t recv(int fd, void *to, size_t bytes, int flags)
{
	READ(fd, flags, recv, to, bytes, flags);
}

SLUICE_API ssize_t __recv_chk(int fd, void *to, size_t bytes, size_t room, int flags)
{
	READ(fd, flags, __recv_chk, to, bytes, room, flags);
}

SLUICE_API ssize_t recvfrom(int fd, void *to, size_t bytes, int flags, struct sockaddr *from, socklen_t *length)
{
	READ(fd, flags, recvfrom, to, bytes, flags, from, length);
}

SLUICE_API ssize_t __recvfrom_chk(int fd, void *to, size_t bytes, size_t room, int flags, struct sockaddr *from,
                                  socklen_t *length)
{
	READ(fd, flags, __recvfrom_chk, to, bytes, room, flags, from, length);
}

SLUICE_API ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	READ(fd, flags, recvmsg, message, flags);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* Before the call: the answer to the answer may be read by another thread before this one is back. A call that then writes
 * nothing, which an answer's first hardly ever does, has answered all the same. */
static inline void writes(int fd)
{
	struct connection *c = request_on(fd);
	if (c)
		request_note_write(c);
}

#define WRITE(fd, name, ...)                                                                                           \
	writes(fd);                                                                                                        \
	return NEXT(name)(fd, __VA_ARGS__)

SLUICE_API ssize_t write(int fd, const void *from, size_t bytes)
{
	WRITE(fd, write, from, bytes);
}

SLUICE_API ssize_t writev(int fd, const struct iovec *parts, int count)
{
	WRITE(fd, writev, parts, count);
}

SLUICE_API ssize_t send(int fd, const void *from, size_t bytes, int flags)
{
	WRITE(fd, send, from, bytes, flags);
}

SLUICE_API ssize_t sendto(int fd, const void *from, size_t bytes, int flags, const struct sockaddr *to,
                          socklen_t length)
{
	WRITE(fd, sendto, from, bytes, flags, to, length);
}

SLUICE_API ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	WRITE(fd, sendmsg, message, flags);
}

SLUICE_API ssize_t sendfile(int fd, int from, off_t *offset, size_t bytes)
{
	WRITE(fd, sendfile, from, offset, bytes);
}

SLUICE_API ssize_t splice(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t bytes, unsigned flags)
{
	writes(to);
	struct connection *c = request_on(from);
	return was_read(c, NEXT(splice)(from, from_offset, to, to_offset, bytes, flags), 0);
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

static inline void waits(void)
{
	if (__builtin_expect(atomic_load_explicit(&connections, memory_order_relaxed) != NULL, 0))
		request_note_wait();
}

SLUICE_API int epoll_wait(int fd, struct epoll_event *events, int most, int timeout)
{
	waits();
	return NEXT(epoll_wait)(fd, events, most, timeout);
}

SLUICE_API int epoll_pwait(int fd, struct epoll_event *events, int most, int timeout, const sigset_t *mask)
{
	waits();
	return NEXT(epoll_pwait)(fd, events, most, timeout, mask);
}

SLUICE_API int epoll_pwait2(int fd, struct epoll_event *events, int most, const struct timespec *timeout,
                            const sigset_t *mask)
{
	waits();
	return NEXT(epoll_pwait2)(fd, events, most, timeout, mask);
}

SLUICE_API int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	waits();
	return NEXT(poll)(fds, count, timeout);
}

SLUICE_API int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room)
{
	waits();
	return NEXT(__poll_chk)(fds, count, timeout, room);
}

SLUICE_API int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	waits();
	return NEXT(ppoll)(fds, count, timeout, mask);
}

SLUICE_API int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask,
                           size_t room)
{
	waits();
	return NEXT(__ppoll_chk)(fds, count, timeout, mask, room);
}

SLUICE_API int select(int end, fd_set *readable, fd_set *writable, fd_set *odd, struct timeval *timeout)
{
	waits();
	return NEXT(select)(end, readable, writable, odd, timeout);
}

SLUICE_API int pselect(int end, fd_set *readable, fd_set *writable, fd_set *odd, const struct timespec *timeout,
                       const sigset_t *mask)
{
	waits();
	return NEXT(pselect)(end, readable, writable, odd, timeout, mask);
}

/* --- descriptors -------------------------------------------------------------------------------------------------- */

static int was_accepted(int fd)
{
	if (fd >= 0 && request_mode != REQUEST_OFF)
		request_note_accept(fd);
	return fd;
}

SLUICE_API int accept(int fd, struct sockaddr *from, socklen_t *length)
{
	waits();
	return was_accepted(NEXT(accept)(fd, from, length));
}

SLUICE_API int accept4(int fd, struct sockaddr *from, socklen_t *length, int flags)
{
	waits();
	return was_accepted(NEXT(accept4)(fd, from, length, flags));
}

SLUICE_API int connect(int fd, const struct sockaddr *to, socklen_t length)
{
	request_note_connect(fd);
	return NEXT(connect)(fd, to, length);
}

/* Before: once it is closed, another thread may be given the number. */
static inline void closes(int fd)
{
	const struct connection *c = connection_at(fd);
	if (__builtin_expect(c && connection_kind(c) != CONNECTION_UNKNOWN, 0))
		request_note_close(fd);
}

static void closes_from(unsigned first, unsigned last)
{
	unsigned end = (unsigned)connections_end();
	for (unsigned fd = first; fd <= last && fd < end; fd++)
		closes((int)fd);
}

SLUICE_API int close(int fd)
{
	closes(fd);
	return NEXT(close)(fd);
}

SLUICE_API int close_range(unsigned first, unsigned last, int flags)
{
	if (!((unsigned)flags & CLOSE_RANGE_CLOEXEC))
		closes_from(first, last);
	return NEXT(close_range)(first, last, flags);
}

SLUICE_API void closefrom(int first)
{
	closes_from(first < 0 ? 0 : (unsigned)first, CONNECTIONS_MAX);
	NEXT(closefrom)(first);
}

/* After: only then is it certain that the number means something else, and nobody is given it meanwhile. */
SLUICE_API int dup2(int fd, int to)
{
	int result = NEXT(dup2)(fd, to);
	if (result >= 0 && fd != to)
		closes(to);
	return result;
}

SLUICE_API int dup3(int fd, int to, int flags)
{
	int result = NEXT(dup3)(fd, to, flags);
	if (result >= 0)
		closes(to);
	return result;
}

/* --- the same by other names ------------------------------------------------------------------------------------- */

#define ALIAS(of) SLUICE_API __attribute__((alias(#of)))

_Static_assert(sizeof(off_t) == sizeof(off64_t), "sendfile64 is sendfile");
extern __typeof__(sendfile) sendfile64 ALIAS(sendfile);
extern __typeof__(read) __read ALIAS(read);
extern __typeof__(write) __write ALIAS(write);
extern __typeof__(send) __send ALIAS(send);
extern __typeof__(connect) __connect ALIAS(connect);
extern __typeof__(close) __close ALIAS(close);
extern __typeof__(poll) __poll ALIAS(poll);
extern __typeof__(select) __select ALIAS(select);

int __dup2(int fd, int to); /* no alias: dup2 is declared with attributes of its own */
SLUICE_API int __dup2(int fd, int to)
{
	return dup2(fd, to);
}
