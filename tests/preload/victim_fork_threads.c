/* Forks while threads allocate, free each other's blocks and exit: the child finds every heap in order, uses it, forks
 * again and ends. Argument: forks.
 */
#include "victim.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { THREADS = 4, SLOTS = 512 };

static atomic_int done;
static _Atomic(void *) exchange[SLOTS];

static void churn(uint64_t seed, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		uint64_t r = next_random(&seed);
		size_t n = r % 100 == 0 ? (r >> 20) % 300000 : (r >> 20) % 2000;
		void *p = r % 3 ? malloc(n) : calloc(1, n);
		CHECK(p, "malloc gives NULL");
		if (r % 4 == 0) {
			p = realloc(p, n * 2 + 1);
		}
		free(atomic_exchange(&exchange[(r >> 40) % SLOTS], p));
	}
}

static void *body(void *arg)
{
	for (uint64_t i = (uintptr_t)arg * 1000; !done; i++) {
		churn(i, 200);
	}
	return NULL;
}

/* Threads that come and go, so that forks meet them in every state. */
static void *short_body(void *arg)
{
	churn((uintptr_t)arg, 300);
	return NULL;
}

static void *breed(void *unused)
{
	for (uintptr_t i = 0; !done; i++) {
		pthread_t t;
		CHECK(pthread_create(&t, NULL, short_body, (void *)i) == 0, "pthread_create");
		pthread_join(t, NULL);
	}
	return unused;
}

static void child(int i)
{
	pthread_t t;
	churn((uint64_t)i, 2000);
	if (pthread_create(&t, NULL, short_body, NULL) == 0) {
		pthread_join(t, NULL);
	}
	if (i % 4 == 0) {
		pid_t pid = fork();
		if (pid == 0) {
			churn((uint64_t)i + 1, 1000);
			_exit(0);
		}
		int status;
		if (waitpid(pid, &status, 0) != pid || status) {
			_exit(4);
		}
	}
	exit(0);
}

int main(int argc, char **argv)
{
	int forks = argc > 1 ? atoi(argv[1]) : 100;
	pthread_t t[THREADS], breeder;
	for (uintptr_t i = 0; i < THREADS; i++) {
		CHECK(pthread_create(&t[i], NULL, body, (void *)i) == 0, "pthread_create");
	}
	CHECK(pthread_create(&breeder, NULL, breed, NULL) == 0, "pthread_create");
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
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
	}
	pthread_join(breeder, NULL);
	return victim_ok();
}
