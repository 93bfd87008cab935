/* Reading, writing, waiting and closing are what they are without us, on connections that were accepted and on everything
 * else: results, errno, parts, interruptions, cancellation, jumps out of handlers, the fortified forms.
 */
#include "victim.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

enum { MARK = 4711, BIG = 8 << 20 };

static int listener, near_end, far_end, quiet; /* quiet: a connection on which nothing ever comes */
static struct sockaddr_in at = {.sin_family = AF_INET};

static int connection(int *other)
{
	*other = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(connect(*other, (struct sockaddr *)&at, sizeof(at)) == 0, "connect: %d", errno);
	int fd = accept(listener, NULL, NULL);
	CHECK(fd >= 0, "accept: %d", errno);
	return fd;
}

static void begin(void)
{
	socklen_t length = sizeof(at);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(bind(listener, (struct sockaddr *)&at, sizeof(at)) == 0, "bind: %d", errno);
	CHECK(listen(listener, 8) == 0, "listen: %d", errno);
	CHECK(getsockname(listener, (struct sockaddr *)&at, &length) == 0, "getsockname: %d", errno);
	near_end = connection(&far_end);
	int unused;
	quiet = connection(&unused);
}

/* --- results and errno -------------------------------------------------------------------------------------------- */

#define IS(call, result)                                                                                               \
	do {                                                                                                               \
		errno = MARK;                                                                                                  \
		long got_ = (long)(call);                                                                                      \
		CHECK(got_ == (long)(result), "%s is %ld, not %ld, errno %d", #call, got_, (long)(result), errno);             \
		CHECK(errno == MARK, "%s sets errno to %d", #call, errno);                                                     \
	} while (0)

#define FAILS(call, error)                                                                                             \
	do {                                                                                                               \
		errno = MARK;                                                                                                  \
		long got_ = (long)(call);                                                                                      \
		CHECK(got_ == -1 && errno == (error), "%s is %ld with errno %d, not -1 with %d", #call, got_, errno, error);   \
	} while (0)

ssize_t __read_chk(int, void *, size_t, size_t);
ssize_t __recv_chk(int, void *, size_t, size_t, int);
ssize_t __recvfrom_chk(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *);
int __poll_chk(struct pollfd *, nfds_t, int, size_t);
int __ppoll_chk(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *, size_t);
ssize_t __read(int, void *, size_t);
ssize_t __write(int, const void *, size_t);
ssize_t __send(int, const void *, size_t, int);
int __close(int);
int __poll(struct pollfd *, nfds_t, int);

static void every_read(void)
{
	char to[8];
	struct iovec part = {to, 4};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	IS(write(far_end, "0123456789abcdefghijABCDEFGHIJklmnopqrst", 40), 40);
	IS(recv(near_end, to, 4, MSG_PEEK), 4);
	CHECK(memcmp(to, "0123", 4) == 0, "what was peeked is not there");
	IS(read(near_end, to, 4), 4);
	CHECK(memcmp(to, "0123", 4) == 0, "what was peeked is gone");
	IS(__read(near_end, to, 4), 4);
	IS(__read_chk(near_end, to, 4, 8), 4);
	IS(readv(near_end, &part, 1), 4);
	IS(recv(near_end, to, 4, 0), 4);
	IS(__recv_chk(near_end, to, 4, 8, 0), 4);
	IS(recvfrom(near_end, to, 4, 0, NULL, NULL), 4);
	IS(__recvfrom_chk(near_end, to, 4, 8, 0, NULL, NULL), 4);
	IS(recvmsg(near_end, &message, 0), 4);
	IS(read(near_end, to, 8), 4); /* what there is */
	CHECK(memcmp(to, "qrst", 4) == 0, "something was lost on the way");
	FAILS(recv(near_end, to, 4, MSG_DONTWAIT), EAGAIN);
	FAILS(read(-1, to, 4), EBADF);
	IS(read(near_end, to, 0), 0);
}

static void every_write(int file)
{
	char got[64];
	struct iovec part = {(void *)(uintptr_t) "dd", 2};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	off_t from = 0;
	int tube[2];
	IS(write(near_end, "aa", 2), 2);
	IS(__write(near_end, "bb", 2), 2);
	IS(writev(near_end, &part, 1), 2);
	IS(send(near_end, "ee", 2, 0), 2);
	IS(__send(near_end, "ff", 2, 0), 2);
	IS(sendto(near_end, "gg", 2, 0, NULL, 0), 2);
	IS(sendmsg(near_end, &message, 0), 2);
	IS(sendfile(near_end, file, &from, 2), 2);
	CHECK(pipe(tube) == 0 && write(tube[1], "ii", 2) == 2, "a pipe: %d", errno);
	IS(splice(tube[0], NULL, near_end, NULL, 2, 0), 2);
	IS(recv(far_end, got, 18, MSG_WAITALL), 18);
	CHECK(memcmp(got, "aabbddeeffggddhhii", 18) == 0, "%.18s", got);
	FAILS(write(-1, "x", 1), EBADF);
	FAILS(send(near_end, (void *)opaque(8), 1, 0), EFAULT);
	close(tube[0]);
	close(tube[1]);
}

static void every_wait(void)
{
	struct pollfd one = {.fd = near_end, .events = POLLOUT}, none = {.fd = quiet, .events = POLLIN};
	struct timespec at_once = {0, 0};
	struct timeval too = {0, 0};
	struct epoll_event event = {.events = EPOLLOUT};
	int set = epoll_create1(0);
	fd_set writable;
	CHECK(epoll_ctl(set, EPOLL_CTL_ADD, near_end, &event) == 0, "epoll_ctl: %d", errno);
	IS(poll(&one, 1, -1), 1);
	IS(__poll(&one, 1, -1), 1);
	IS(__poll_chk(&one, 1, -1, sizeof(one)), 1);
	IS(ppoll(&one, 1, NULL, NULL), 1);
	IS(__ppoll_chk(&one, 1, NULL, NULL, sizeof(one)), 1);
	IS(poll(&none, 1, 0), 0);
	IS(epoll_wait(set, &event, 1, -1), 1);
	IS(epoll_pwait(set, &event, 1, -1, NULL), 1);
	FD_ZERO(&writable);
	FD_SET(near_end, &writable);
	IS(select(near_end + 1, NULL, &writable, NULL, &too), 1);
	IS(pselect(near_end + 1, NULL, &writable, NULL, &at_once, NULL), 1);
	FAILS(epoll_wait(near_end, &event, 1, 0), EINVAL);
	FAILS(poll((void *)opaque(8), 1, 0), EFAULT);
	IS(close(set), 0);
	FAILS(epoll_wait(set, &event, 1, 0), EBADF);
	FAILS(close(set), EBADF);
}

/* --- what is written in parts ------------------------------------------------------------------------------------- */

static void parts(void)
{
	static char out[BIG], in[BIG];
	size_t written = 0, read_back = 0;
	int other, fd = connection(&other);
	fill(out, BIG, 1);
	CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0, "fcntl: %d", errno);
	while (read_back < BIG) {
		ssize_t n = written < BIG ? write(fd, out + written, BIG - written) : 0;
		CHECK(n >= 0 || errno == EAGAIN, "write: %d", errno);
		written += n > 0 ? (size_t)n : 0;
		n = recv(other, in + read_back, BIG - read_back, MSG_DONTWAIT);
		CHECK(n >= 0 || errno == EAGAIN, "recv: %d", errno);
		read_back += n > 0 ? (size_t)n : 0;
	}
	CHECK(written == BIG && first_wrong(in, BIG, 1) == BIG, "8 MiB in parts arrive changed");
	IS(shutdown(other, SHUT_WR), 0);
	while (read(fd, in, 1) != 0)
		CHECK(errno == EAGAIN, "read: %d", errno);
	IS(close(fd), 0);
	IS(close(other), 0);
	FAILS(read(fd, in, 1), EBADF);
}

static volatile sig_atomic_t heard;

static void hear(int number)
{
	heard = number;
}

static void broken_pipe(void)
{
	int other, fd = connection(&other);
	signal(SIGPIPE, hear);
	IS(close(other), 0);
	while (send(fd, "x", 1, 0) == 1)
		;
	CHECK((errno == EPIPE || errno == ECONNRESET), "send to a closed end: %d", errno);
	while (errno == ECONNRESET)
		CHECK(send(fd, "x", 1, 0) == -1, "a reset connection takes more");
	CHECK(errno == EPIPE && heard == SIGPIPE, "no SIGPIPE came, errno %d", errno);
	close(fd);
}

/* --- descriptors that mean something else ------------------------------------------------------------------------- */

static void numbers_come_again(int file)
{
	char got[4];
	int other, fd = connection(&other);
	IS(close(fd), 0);
	IS(dup(file), fd);
	IS(pread(fd, got, 2, 0), 2);
	IS(read(fd, got, 2), 2);
	IS(close(fd), 0);
	close(other);
	fd = connection(&other);
	IS(dup2(file, fd), fd);
	IS(read(fd, got, 2), 2);
	IS(dup2(fd, fd), fd);
	FAILS(dup2(-1, fd), EBADF);
	FAILS(dup3(fd, fd, 0), EINVAL);
	IS(dup3(file, fd, O_CLOEXEC), fd);
	IS(close_range((unsigned)fd, (unsigned)fd, 0), 0);
	FAILS(close(fd), EBADF);
	close(other);
	FAILS(accept(file, NULL, NULL), ENOTSOCK);
	FAILS(accept4(listener, NULL, NULL, -1), EINVAL);
	FAILS(connect(-1, (struct sockaddr *)&at, sizeof(at)), EBADF);
}

/* --- interruption ------------------------------------------------------------------------------------------------- */

static long in_read(void)
{
	char c;
	return read(quiet, &c, 1);
}

static long in_recv(void)
{
	char c;
	return recv(quiet, &c, 1, 0);
}

static long in_recvmsg(void)
{
	char c;
	struct iovec part = {&c, 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	return recvmsg(quiet, &message, 0);
}

static long in_accept(void)
{
	return accept(listener, NULL, NULL);
}

static long in_accept4(void)
{
	return accept4(listener, NULL, NULL, 0);
}

static long in_poll(void)
{
	struct pollfd one = {.fd = quiet, .events = POLLIN};
	return poll(&one, 1, -1);
}

static long in_epoll(void)
{
	struct epoll_event event;
	static int set = -1;
	if (set < 0)
		set = epoll_create1(0);
	return epoll_wait(set, &event, 1, -1);
}

static long in_select(void)
{
	fd_set readable;
	FD_ZERO(&readable);
	FD_SET(quiet, &readable);
	return select(quiet + 1, &readable, NULL, NULL, NULL);
}

static long in_write(void)
{
	static char much[1 << 20];
	while (write(quiet, much, sizeof(much)) == sizeof(much))
		;
	return write(quiet, much, sizeof(much));
}

static const struct wait {
	const char *name;
	long (*call)(void);
} waits[] = {{"read", in_read},        {"recv", in_recv},       {"recvmsg", in_recvmsg},
             {"accept", in_accept},    {"accept4", in_accept4}, {"poll", in_poll},
             {"epoll_wait", in_epoll}, {"select", in_select},   {"write", in_write}};
enum { WAITS = sizeof(waits) / sizeof(waits[0]) };

static _Atomic int waits_done;
static _Atomic int in_handler;

static void interrupt(int number)
{
	char c;
	int saved = errno;
	(void)number;
	/* A handler may use a connection itself. */
	while (recv(near_end, &c, 1, MSG_DONTWAIT) != 1)
		CHECK(errno == EAGAIN || errno == EINTR, "recv in a handler: %d", errno);
	CHECK(write(near_end, "h", 1) == 1, "write in a handler: %d", errno);
	in_handler++;
	errno = saved;
}

static void *is_interrupted(void *argument)
{
	const struct wait *wait = argument;
	errno = MARK;
	long got = wait->call();
	CHECK(got == -1 && errno == EINTR, "%s interrupted is %ld with errno %d", wait->name, got, errno);
	waits_done++;
	return NULL;
}

/* Signals come until one has met the call. */
static void interruptions(void)
{
	struct sigaction action = {.sa_handler = interrupt};
	sigaction(SIGUSR1, &action, NULL);
	for (int i = 0; i < WAITS - 1; i++) { /* not write, of which a part may have gone */
		pthread_t thread;
		CHECK(pthread_create(&thread, NULL, is_interrupted, (void *)(uintptr_t)&waits[i]) == 0, "no thread");
		while (waits_done == i) {
			char c;
			CHECK(write(far_end, "q", 1) == 1, "write: %d", errno);
			pthread_kill(thread, SIGUSR1);
			while (recv(far_end, &c, 1, MSG_DONTWAIT) == 1)
				;
			sched_yield();
		}
		pthread_join(thread, NULL);
	}
	CHECK(in_handler, "no signal came");
}

/* --- cancellation ------------------------------------------------------------------------------------------------- */

static _Atomic int cleaned;

static void clean(void *unused)
{
	(void)unused;
	cleaned++;
}

static void *is_cancelled(void *argument)
{
	const struct wait *wait = argument;
	pthread_cleanup_push(clean, NULL);
	for (;;)
		wait->call();
	pthread_cleanup_pop(0);
	return NULL;
}

static void *is_cancelled_before(void *argument)
{
	const struct wait *wait = argument;
	pthread_cleanup_push(clean, NULL);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cancel(pthread_self());
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	wait->call();
	pthread_cleanup_pop(0);
	return NULL;
}

static void cancellations(void)
{
	for (int i = 0; i < WAITS; i++)
		for (int before = 0; before <= 1; before++) {
			void *result = NULL;
			pthread_t thread;
			int cleaned_before = cleaned;
			CHECK(pthread_create(&thread, NULL, before ? is_cancelled_before : is_cancelled,
			                     (void *)(uintptr_t)&waits[i]) == 0,
			      "no thread");
			if (!before)
				pthread_cancel(thread);
			pthread_join(thread, &result);
			CHECK(result == PTHREAD_CANCELED && cleaned == cleaned_before + 1, "%s is no cancellation point%s",
			      waits[i].name, before ? " for one that is pending" : "");
		}
}

/* --- jumps -------------------------------------------------------------------------------------------------------- */

static sigjmp_buf out;

static void jump(int number)
{
	siglongjmp(out, number);
}

/* Out of a read, ten thousand times, and out of whatever else is going on then. */
static void jumps(void)
{
	char c;
	struct sigaction action = {.sa_handler = jump};
	sigaction(SIGUSR2, &action, NULL);
	for (volatile int i = 0; i < 10000; i++) {
		if (sigsetjmp(out, 1) == 0) {
			CHECK(write(far_end, "j", 1) == 1, "write: %d", errno);
			CHECK(read(near_end, &c, 1) == 1, "read: %d", errno);
			raise(SIGUSR2);
		}
	}
}

/* --- children ----------------------------------------------------------------------------------------------------- */

static void children(void)
{
	char c;
	int other, fd = connection(&other), status;
	CHECK(write(other, "f", 1) == 1 && read(fd, &c, 1) == 1, "the request: %d", errno);
	pid_t child = fork();
	if (child == 0) /* the child answers */
		_exit(write(fd, "c", 1) == 1 && read(fd, &c, 1) == 1 && c == 'g' && write(fd, "d", 1) == 1 ? 0 : 1);
	CHECK(read(other, &c, 1) == 1 && c == 'c', "no answer by the child");
	CHECK(write(other, "g", 1) == 1 && read(other, &c, 1) == 1 && c == 'd', "no second answer");
	CHECK(waitpid(child, &status, 0) == child && status == 0, "the child ends with %x", status);
	child = vfork();
	if (child == 0) {
		close(fd); /* its own descriptor, in our memory */
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0, "the vfork child ends with %x", status);
	IS(write(fd, "p", 1), 1);
	IS(read(other, &c, 1), 1);
	close(fd);
	close(other);
}

int main(void)
{
	char name[] = "/tmp/sluice-victim.XXXXXX";
	int file = mkstemp(name);
	CHECK(file >= 0 && unlink(name) == 0 && write(file, "hhhhhhhh", 8) == 8 && lseek(file, 0, SEEK_SET) == 0,
	      "a file: %d", errno);
	begin();
	every_read();
	every_write(file);
	every_wait();
	parts();
	broken_pipe();
	numbers_come_again(file);
	interruptions();
	cancellations();
	jumps();
	children();
	return victim_ok();
}
