/* Servers whose requests allocate known amounts; they print what the report must say.
 *
 *   interleaved CONNECTIONS REQUESTS   one thread, epoll, all connections at once: read in parts, answered in reverse order
 *   pool REQUESTS                      one thread reads, another answers
 *   handed REQUESTS                    the connection is passed on by exec to a new process, as descriptor 9
 *   forked REQUESTS                    a child takes over in the middle of a request
 *   files REQUESTS                     between them descriptors come again as files
 *   jumps REQUESTS                     handlers jump out of the calls before
 * The client is a thread that allocates nothing, through connections that it made itself.
 */
#include "victim.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { CONNECTIONS_MAX = 64, BLOCKS = 8, HANDED = 9, LEAKS_OF = 50 };

static int listener, connections, requests;
static int near_ends[CONNECTIONS_MAX], far_ends[CONNECTIONS_MAX];
static void *blocks[CONNECTIONS_MAX][BLOCKS];
static unsigned long served, leaks;

/* A connection's requests are all of one size: BLOCKS blocks of together 1000, 2000, 4000 ... bytes. */
static size_t size_of(int connection)
{
	return (size_t)125 << connection % 12;
}

#define SITE __attribute__((noinline, visibility("default"), used))

SITE void *serve(int connection);
SITE void *leak(void);
SITE void *outside(void);

void *serve(int connection)
{
	return kept(malloc(size_of(connection)));
}

void *leak(void)
{
	return kept(malloc(48));
}

void *outside(void)
{
	return kept(malloc(100000));
}

static void connect_by(struct sockaddr *at, socklen_t length)
{
	listener = socket(at->sa_family, SOCK_STREAM, 0);
	CHECK(bind(listener, at, length) == 0 && listen(listener, CONNECTIONS_MAX) == 0 &&
	          getsockname(listener, at, &length) == 0,
	      "a listener: %d", errno);
	for (int i = 0; i < connections; i++) {
		far_ends[i] = socket(at->sa_family, SOCK_STREAM, 0);
		CHECK(connect(far_ends[i], at, length) == 0, "connect: %d", errno);
		near_ends[i] = accept(listener, NULL, NULL);
		CHECK(near_ends[i] >= 0, "accept: %d", errno);
	}
}

static void connect_all(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	connect_by((struct sockaddr *)&at, sizeof(at));
}

/* The name is abstract, so no file is left; the end that connects has none. */
static void connect_locally(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	snprintf(at.sun_path + 1, sizeof(at.sun_path) - 1, "sluice-victim-%d", (int)getpid());
	connect_by((struct sockaddr *)&at, sizeof(at));
}

static void answer(int connection)
{
	CHECK(write(near_ends[connection], "answer", 6) == 6, "the answer: %d", errno);
	served++;
}

static void take_answer(int connection)
{
	char got[6];
	CHECK(recv(far_ends[connection], got, 6, MSG_WAITALL) == 6 && memcmp(got, "answer", 6) == 0, "no answer: %d",
	      errno);
}

static void ask(int connection)
{
	CHECK(send(far_ends[connection], "question", 8, 0) == 8, "the question: %d", errno);
}

static void read_part(int connection)
{
	char got[4];
	CHECK(read(near_ends[connection], got, 4) == 4, "the question's part: %d", errno);
}

static void work(int connection, int from, int to)
{
	for (int i = from; i < to; i++)
		blocks[connection][i] = serve(connection);
}

static void rest(int connection)
{
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[connection][i]);
	if (++served % LEAKS_OF == 0) {
		leak();
		leaks++;
	}
}

/* --- interleaved -------------------------------------------------------------------------------------------------- */

/* All questions are there; halves of them are read in turn, with work behind each; the answers go in reverse order, and what
 * is freed before an answer is that one's. */
static void round_of_all(int set)
{
	struct epoll_event events[CONNECTIONS_MAX];
	int count = 0;
	for (int i = 0; i < connections; i++)
		ask(i);
	while (count < connections) {
		int now = epoll_wait(set, events, CONNECTIONS_MAX, -1);
		CHECK(now > 0, "epoll_wait: %d", errno);
		free(outside()); /* before any of them is read */
		for (int i = 0; i < now; i++, count++) {
			int c = (int)events[i].data.u32;
			read_part(c);
			work(c, 0, BLOCKS / 2);
		}
	}
	for (int i = 0; i < connections; i++) {
		read_part(i);
		work(i, BLOCKS / 2, BLOCKS);
	}
	for (int i = connections - 1; i >= 0; i--) {
		rest(i);
		CHECK(write(near_ends[i], "answer", 6) == 6, "the answer: %d", errno);
	}
	for (int i = 0; i < connections; i++)
		take_answer(i);
}

static void interleaved(void)
{
	int set = epoll_create1(0);
	for (int i = 0; i < connections; i++) {
		struct epoll_event event = {.events = i % 2 ? EPOLLIN | EPOLLET | EPOLLONESHOT : EPOLLIN | EPOLLONESHOT,
		                            .data.u32 = (unsigned)i};
		CHECK(epoll_ctl(set, EPOLL_CTL_ADD, near_ends[i], &event) == 0, "epoll_ctl: %d", errno);
	}
	for (int n = 0; n < requests; n++) {
		round_of_all(set);
		for (int i = 0; i < connections; i++) { /* one event a round each, though the second half is there too */
			struct epoll_event event = {.events = i % 2 ? EPOLLIN | EPOLLET | EPOLLONESHOT : EPOLLIN | EPOLLONESHOT,
			                            .data.u32 = (unsigned)i};
			CHECK(epoll_ctl(set, EPOLL_CTL_MOD, near_ends[i], &event) == 0, "epoll_ctl: %d", errno);
		}
	}
}

/* --- others ------------------------------------------------------------------------------------------------------- */

static void one(int connection)
{
	ask(connection);
	read_part(connection);
	read_part(connection);
	work(connection, 0, BLOCKS);
	rest(connection);
	served--;
	answer(connection);
	take_answer(connection);
}

static void several(int count)
{
	for (int n = 0; n < count; n++)
		one(0);
}

static void *answers(void *unused)
{
	work(0, 0, BLOCKS);
	rest(0);
	served--;
	answer(0);
	return unused;
}

static void pool(void)
{
	for (int n = 0; n < requests; n++) {
		pthread_t worker;
		ask(0);
		read_part(0);
		read_part(0);
		CHECK(pthread_create(&worker, NULL, answers, NULL) == 0, "no thread");
		pthread_join(worker, NULL);
		take_answer(0);
	}
}

static void handed(char *program)
{
	char number[16];
	snprintf(number, sizeof(number), "%d", requests);
	CHECK(dup2(near_ends[0], HANDED) == HANDED, "dup2: %d", errno);
	CHECK(dup2(far_ends[0], HANDED + 1) == HANDED + 1, "dup2: %d", errno);
	execl(program, program, "taken", number, (char *)NULL);
	CHECK(!program, "exec: %d", errno);
}

static void taken(void)
{
	near_ends[0] = HANDED;
	far_ends[0] = HANDED + 1;
	several(requests);
}

static void forked(void)
{
	int status;
	several(requests);
	ask(0);
	read_part(0);
	pid_t child = fork();
	if (child == 0) {
		served = 0;
		read_part(0);
		work(0, 0, BLOCKS);
		rest(0);
		served--;
		answer(0);
		several(2 * requests);
		printf("%lu\n", served);
		exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0, "the child ends with %x", status);
	take_answer(0);
}

static void files(void)
{
	char got[8];
	for (int n = 0; n < requests; n++) {
		one(0);
		int number = near_ends[0], file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
		close(number);
		close(far_ends[0]);
		CHECK((n % 2 ? dup2(file, number) : fcntl(file, F_DUPFD, number)) == number, "the number is not free");
		for (int i = 0; i < 10; i++)
			CHECK(read(number, got, 8) == 8 && write(number, got, 8) == -1, "the file: %d", errno);
		close(number);
		close(file);
		close(listener);
		connect_all();
	}
}

static sigjmp_buf out;
static volatile sig_atomic_t jumped;

static void jump(int number)
{
	jumped++;
	siglongjmp(out, number);
}

/* A timer's signal meets reads and writes on the connection anywhere, in what the shim does there too. */
static void jumps(void)
{
	char got[64];
	struct sigaction action = {.sa_handler = jump, .sa_flags = SA_NODEFER};
	struct itimerval often = {{0, 20}, {0, 20}}, never = {{0, 0}, {0, 0}};
	sigaction(SIGALRM, &action, NULL);
	sigsetjmp(out, 1);
	while (jumped < 2000) {
		setitimer(ITIMER_REAL, &often, NULL);
		for (;;) {
			send(far_ends[0], "?", 1, MSG_DONTWAIT);
			recv(near_ends[0], got, sizeof(got), MSG_DONTWAIT);
			send(near_ends[0], "!", 1, MSG_DONTWAIT);
			recv(far_ends[0], got, sizeof(got), MSG_DONTWAIT);
		}
	}
	setitimer(ITIMER_REAL, &never, NULL);
	signal(SIGALRM, SIG_IGN);
	connections = 1;
	close(listener);
	close(near_ends[0]);
	connect_all();
	several(requests);
}

int main(int argc, char **argv)
{
	CHECK(argc >= 3, "usage");
	int many = argc == 4;
	connections = many ? atoi(argv[2]) : 1;
	requests = atoi(argv[argc - 1]);
	CHECK(connections <= CONNECTIONS_MAX, "too many connections");
	free(outside()); /* so that the thread has its heap */
	if (strcmp(argv[1], "handed") == 0)
		connect_locally();
	else if (strcmp(argv[1], "taken") != 0)
		connect_all();
	if (strcmp(argv[1], "interleaved") == 0)
		interleaved();
	else if (strcmp(argv[1], "pool") == 0)
		pool();
	else if (strcmp(argv[1], "handed") == 0)
		handed(argv[0]);
	else if (strcmp(argv[1], "taken") == 0)
		taken();
	else if (strcmp(argv[1], "forked") == 0)
		forked();
	else if (strcmp(argv[1], "files") == 0)
		files();
	else if (strcmp(argv[1], "jumps") == 0)
		jumps();
	else
		several(requests);
	printf("served %lu\nleaks %lu\n", served, leaks);
	return 0;
}
