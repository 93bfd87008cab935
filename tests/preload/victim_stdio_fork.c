/* Threads print through stdio and open files while another thread forks; the children use stdio and malloc. fork takes
 * stdio's locks after the handlers of pthread_atfork: an allocator that takes its locks in such a handler deadlocks with a
 * thread that holds a stream and allocates (it hangs Debian's jemalloc). Argument: forks.
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
	pthread_t t[PRINTERS];
	common = fopen("/dev/null", "w");
	for (int i = 0; i < PRINTERS; i++) {
		CHECK(pthread_create(&t[i], NULL, print, NULL) == 0, "pthread_create");
	}
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
	return victim_ok();
}
