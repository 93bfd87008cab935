/* In its steady state the allocator needs only mmap, munmap, madvise and futex: after a warm-up a filter allows these,
 * write and the ways to end, and answers everything else as the first argument says: "kill", or "errno" (EPERM), with
 * which the report at the end cannot be written, and nothing else may happen. Threads that run already are under it too.
 */
#include "victim.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { THREADS = 3, SLOTS = 3000 };

static atomic_int stage; /* 0: warm up; 1: under the filter */
static pthread_barrier_t barrier;

static void churn(uint64_t random, int rounds)
{
	static _Thread_local void *slot[SLOTS];
	for (int i = 0; i < rounds; i++) {
		uint64_t r = next_random(&random);
		void **p = &slot[r % SLOTS];
		size_t n = (r >> 16) % 1000 < 990 ? (r >> 32) % 5000 : (r >> 32) % 400000;
		if (r % 5 == 0) {
			*p = realloc(*p, n + 1);
			CHECK(*p, "realloc gives NULL");
		} else {
			free(*p);
			*p = r % 7 ? malloc(n) : calloc(1, n);
			CHECK(*p, "malloc gives NULL");
		}
		memset(*p, 1, n);
	}
}

static void *body(void *arg)
{
	churn((uintptr_t)arg, 30000);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	churn((uintptr_t)arg + 100, 100000);
	return NULL;
}

static void filter(unsigned otherwise)
{
#define ALLOW(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(mmap),
		ALLOW(munmap),
		ALLOW(madvise),
		ALLOW(futex),
		ALLOW(write),
		ALLOW(exit),
		ALLOW(exit_group),
		ALLOW(rt_sigreturn),
		ALLOW(rt_sigprocmask), /* the C library's, at the end of a thread */
		BPF_STMT(BPF_RET | BPF_K, otherwise),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs: %s", strerror(errno));
	long wrong = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
	CHECK(wrong == 0, "seccomp gives %ld: %s", wrong, strerror(errno));
}

int main(int argc, char **argv)
{
	pthread_t t[THREADS];
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (uintptr_t i = 0; i < THREADS; i++) {
		CHECK(pthread_create(&t[i], NULL, body, (void *)i) == 0, "pthread_create");
	}
	churn(50, 30000);
	pthread_barrier_wait(&barrier);
	filter(argc > 1 && strcmp(argv[1], "errno") == 0 ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_KILL_PROCESS);
	stage = 1;
	pthread_barrier_wait(&barrier);
	churn(150, 100000);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
	}
	return victim_ok();
}
