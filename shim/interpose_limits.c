/* interpose_limits.c: calls by which a program binds itself, and what we hold then becomes a burden or a danger.
 *
 * RLIMIT_AS and mlockall count address space, and the reserved range is a lot of it: what was never used is given up,
 * but for an eighth of the limit.
 * After a seccomp filter, a call that glibc's malloc never makes may kill the program: then no report is written, no
 * thread is named (confined.h), memory pressure is not looked for, no memory node asked for. The last two also end when
 * the program gives up new privileges, as it must before it can filter itself in a way that we do not see.
 * dlclose takes sites away whose addresses may come back as other code.
 */
#define _GNU_SOURCE
#include "allocate.h"
#include "confined.h"
#include "fallback_start.h"
#include "mapping.h"
#include "pools/node.h"
#include "pools/range.h"
#include "pressure.h"
#include "process.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A filter is about to be set, or may be. jemalloc's start opens files and asks for the processors: it must be done before. */
static void filter_coming(bool for_certain)
{
	if (!process_is_self())
		return;
	if (for_certain) {
		if (process_start())
			fallback_start();
		confined_note();
	}
	pressure_stop();
	node_stop();
}

static struct {
	int (*setrlimit)(__rlimit_resource_t, const struct rlimit *);
	int (*prlimit)(pid_t, int, const struct rlimit *, struct rlimit *);
	int (*mlockall)(int);
	int (*prctl)(int, ...);
	int (*dlclose)(void *);
} next;

/* syscall() is passed on by a jump, see below. */
__attribute__((visibility("hidden"))) long (*interpose_next_syscall)(long, ...);

static __attribute__((constructor)) void look_up(void)
{
	int saved = errno;
	*(void **)&next.setrlimit = dlsym(RTLD_NEXT, "setrlimit");
	*(void **)&next.prlimit = dlsym(RTLD_NEXT, "prlimit");
	*(void **)&next.mlockall = dlsym(RTLD_NEXT, "mlockall");
	*(void **)&next.prctl = dlsym(RTLD_NEXT, "prctl");
	*(void **)&next.dlclose = dlsym(RTLD_NEXT, "dlclose");
	*(void **)&interpose_next_syscall = dlsym(RTLD_NEXT, "syscall");
	errno = saved;
}

/* A constructor that runs before ours may be the caller. */
#define NEXT(name) (next.name ? next.name : (look_up(), next.name))

/* A child of vfork sets its own limits, but the memory is its parent's. */
static void give_up_beyond(size_t keep)
{
	if (process_start() && process_is_self())
		range_shrink(keep);
}

SLUICE_API int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
	int result = NEXT(setrlimit)(resource, limit);
	if (result == 0 && resource == RLIMIT_AS && limit->rlim_cur != RLIM_INFINITY)
		give_up_beyond(limit->rlim_cur / 8);
	return result;
}

SLUICE_API int prlimit(pid_t pid, enum __rlimit_resource resource, const struct rlimit *limit, struct rlimit *old)
{
	int result = NEXT(prlimit)(pid, (int)resource, limit, old);
	if (result == 0 && limit && resource == RLIMIT_AS && limit->rlim_cur != RLIM_INFINITY &&
	    (pid == 0 || pid == getpid()))
		give_up_beyond(limit->rlim_cur / 8);
	return result;
}

/* The same functions: struct rlimit has 64-bit members where long has. */
_Static_assert(sizeof(struct rlimit) == sizeof(struct rlimit64), "setrlimit64 is setrlimit");
SLUICE_API int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit)
{
	return setrlimit(resource, (const struct rlimit *)(const void *)limit);
}

SLUICE_API int prlimit64(pid_t pid, enum __rlimit_resource resource, const struct rlimit64 *limit, struct rlimit64 *old)
{
	return prlimit(pid, resource, (const struct rlimit *)(const void *)limit, (struct rlimit *)(void *)old);
}

/* Without privilege it is refused when the address space is larger than RLIMIT_MEMLOCK. */
SLUICE_API int mlockall(int flags)
{
	int saved = errno;
	int result = NEXT(mlockall)(flags);
	if (result == 0 || (errno != ENOMEM && errno != EPERM))
		return result;
	give_up_beyond(0);
	errno = saved;
	return NEXT(mlockall)(flags);
}

__attribute__((used, visibility("hidden"))) void interpose_note_seccomp(void);
void interpose_note_seccomp(void)
{
	filter_coming(true);
}

SLUICE_API int prctl(int option, ...)
{
	va_list list;
	unsigned long a[4];
	va_start(list, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(list, unsigned long);
	va_end(list);
	if (option == PR_SET_SECCOMP || option == PR_SET_NO_NEW_PRIVS)
		filter_coming(option == PR_SET_SECCOMP);
	return NEXT(prctl)(option, a[0], a[1], a[2], a[3]);
}

SLUICE_API int dlclose(void *handle)
{
	mappings_closing(1);
	int result = NEXT(dlclose)(handle);
	if (result == 0 && process_start())
		mappings_retire_unloaded();
	mappings_closing(-1);
	return result;
}

/* long syscall(long number, ...): libseccomp has no other way to set a filter. The call may be one that returns on
 * another stack or twice, so it must be made in the program's own frame: after the look at the number, a jump. */
#if defined(__x86_64__)
__asm__(".text\n"
        ".globl syscall\n"
        ".type syscall, @function\n"
        "syscall:\n"
        "	.cfi_startproc\n"
        "	cmpq $317, %rdi\n" /* SYS_seccomp */
        "	je 1f\n"
        "2:	movq interpose_next_syscall(%rip), %rax\n"
        "	testq %rax, %rax\n"
        "	je 3f\n"
        "	jmpq *%rax\n"
        "1:	call interpose_saving\n"
        "	jmp 2b\n"
        /* Before the constructor: make the call here, as glibc does. */
        "3:	movq %rdi, %rax\n"
        "	movq %rsi, %rdi\n"
        "	movq %rdx, %rsi\n"
        "	movq %rcx, %rdx\n"
        "	movq %r8, %r10\n"
        "	movq %r9, %r8\n"
        "	movq 8(%rsp), %r9\n"
        "	syscall\n"
        "	cmpq $-4095, %rax\n"
        "	jae 4f\n"
        "	ret\n"
        "4:	negl %eax\n"
        "	movl %eax, %edi\n"
        "	jmp interpose_failed_syscall\n"
        "	.cfi_endproc\n"
        ".size syscall, . - syscall\n"
        "interpose_saving:\n"
        "	pushq %rdi\n"
        "	pushq %rsi\n"
        "	pushq %rdx\n"
        "	pushq %rcx\n"
        "	pushq %r8\n"
        "	pushq %r9\n"
        "	call interpose_note_seccomp\n"
        "	popq %r9\n"
        "	popq %r8\n"
        "	popq %rcx\n"
        "	popq %rdx\n"
        "	popq %rsi\n"
        "	popq %rdi\n"
        "	ret\n");

__attribute__((used, visibility("hidden"))) long interpose_failed_syscall(int error);
long interpose_failed_syscall(int error)
{
	errno = error;
	return -1;
}
#endif
