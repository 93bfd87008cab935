/* os_peek: memory that may not be there is copied or refused, never touched. */
#define _GNU_SOURCE
#include "pools/os.h"
#include "tests/sanitized.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGES = 3 };

static char *pages(void)
{
	size_t bytes = PAGES * (size_t)sysconf(_SC_PAGESIZE);
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(p, MAP_FAILED);
	for (size_t i = 0; i < bytes; i++)
		p[i] = (char)(i * 7);
	return p;
}

/* From here on the call that peeks ends the process, as it may in a service; set behind the back of the shim. */
static void forbid_the_call(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
	cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void copies_what_is_there(void)
{
	char *from = pages(), to[5000] = "";
	cr_assert(os_peek(to, from + 123, sizeof(to)));
	cr_assert_eq(memcmp(to, from + 123, sizeof(to)), 0);
	cr_assert(os_peek(to, NULL, 0));
}

static void refuses_what_is_not_there(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *from = pages(), to[64];
	cr_assert_eq(munmap(from + page, page), 0);
	cr_assert_eq(mprotect(from + 2 * page, page, PROT_NONE), 0);
	errno = 42;
	cr_assert_not(os_peek(to, from + page, sizeof(to)), "unmapped");
	cr_assert_not(os_peek(to, from + page - 10, sizeof(to)), "its end is unmapped");
	cr_assert_not(os_peek(to, from + 2 * page, sizeof(to)), "not readable");
	cr_assert_not(os_peek(to, NULL, 1));
	cr_assert_not(os_peek(to, (void *)(UINTPTR_MAX - 10), sizeof(to)));
	cr_assert(os_peek(to, from + page - sizeof(to), sizeof(to)));
	cr_assert_eq(errno, 42);
}

Test(os, a_peek_copies_what_is_there)
{
	copies_what_is_there();
}

Test(os, a_peek_refuses_what_is_not_there)
{
	refuses_what_is_not_there();
}

Test(os, a_peek_behind_a_filter_copies_what_is_there)
{
	forbid_the_call();
	copies_what_is_there();
}

Test(os, a_peek_behind_a_filter_refuses_what_is_not_there)
{
	forbid_the_call();
	refuses_what_is_not_there();
}

static void *peek_alone(void *first)
{
	char from = 7, to = 0;
	int status = pthread_join(*(pthread_t *)first, NULL);
	_exit(status == 0 && os_peek(&to, &from, 1) && to == 7 ? 0 : 1);
}

/* The process goes on when its first thread has ended, but that one has no memory any more. */
static void works_without_the_first_thread(bool filtered)
{
	if (SANITIZED)
		cr_skip_test("ThreadSanitizer wants no thread in a fork's child");
	static pthread_t first, other;
	int status;
	pid_t child = fork();
	if (child == 0) {
		if (filtered)
			forbid_the_call();
		first = pthread_self();
		if (pthread_create(&other, NULL, peek_alone, &first) != 0)
			_exit(2);
		pthread_exit(NULL);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
}

Test(os, a_peek_works_without_the_first_thread)
{
	works_without_the_first_thread(false);
}

Test(os, a_peek_behind_a_filter_works_without_the_first_thread)
{
	works_without_the_first_thread(true);
}
