/* Threads print through stdio and open files while another thread forks; the children use stdio and malloc.
 *
 * fork runs the handlers of pthread_atfork, in which an allocator takes its locks, and only then takes the lock of stdio's list.
 * So there is a circle, unless the allocator takes that lock first: the forking thread has the allocator's locks and
 * waits for the list; a thread in fflush(NULL) has the list and waits for a stream; a thread in getline has the stream and
 * waits for the allocator. It hangs Debian's jemalloc. Argument: forks.
 */
#include "victim.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { PRINTERS = 3 };

static atomic_int done;
static FILE *common;

static void *print(void *unused)
{
	for (int i = 0; !done; i++) {
		FILE *f = fopen("/dev/null", "w");
		CHECK(f, "fopen: %s", strerror(errno));
		fprintf(f, "%d %s\n", i, "to a file of its own, whose buffer is allocated now");
		fclose(f);
		fprintf(common, "%d %0*d\n", i, i % 2000, i);
		fflush(common);
		char *text = NULL;
		CHECK(asprintf(&text, "%0*d", i % 3000, i) > 0, "asprintf");
		free(text);
	}
	return unused;
}

/* With the stream locked, as getline does, a block large enough to leave every allocator's fast path; and all streams flushed. */
static void *allocate_locked(void *unused)
{
	while (!done) {
		flockfile(common);
		free(kept(malloc(700000)));
		fputs("with the stream locked\n", common);
		funlockfile(common);
	}
	return unused;
}

static void *flush_all(void *unused)
{
	while (!done)
		fflush(NULL);
	return unused;
}

static void child(int i)
{
	FILE *f = fopen("/dev/null", "w");
	if (!f || fprintf(f, "child %0*d\n", i % 5000 + 1, i) < 0 || fclose(f)) {
		_exit(3);
	}
	fprintf(common, "child %d\n", i);
	for (size_t n = 0; n < 100000; n += 1111) {
		free(kept(malloc(n)));
	}
	if (i % 2) {
		exit(0);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	int forks = argc > 1 ? atoi(argv[1]) : 100;
	pthread_t t[PRINTERS], locker, flusher;
	common = fopen("/dev/null", "w");
	for (int i = 0; i < PRINTERS; i++) {
		CHECK(pthread_create(&t[i], NULL, print, NULL) == 0, "pthread_create");
	}
	CHECK(pthread_create(&locker, NULL, allocate_locked, NULL) == 0, "pthread_create");
	CHECK(pthread_create(&flusher, NULL, flush_all, NULL) == 0, "pthread_create");
	for (int i = 0; i < forks; i++) {
		pid_t pid = fork();
		CHECK(pid >= 0, "fork: %s", strerror(errno));
		if (pid == 0) {
			child(i);
		}
		int status;
		CHECK(waitpid(pid, &status, 0) == pid && status == 0, "child %d ended with status %x", i, status);
	}
	done = 1;
	for (int i = 0; i < PRINTERS; i++) {
		pthread_join(t[i], NULL);
	}
	pthread_join(locker, NULL);
	pthread_join(flusher, NULL);
	return victim_ok();
}
