/* interpose_exit.c: the ways out that no exit handler sees: _exit, _Exit, and the exec family.
 *
 * glibc's own functions call each other inside, past our names, so every member is here. A child of vfork shares our
 * memory but is another process: report_write sees that by its pid and leaves it alone, and nothing else here writes to
 * memory. An exec that returns has failed; the report is then written again at the real end.
 */
#define _GNU_SOURCE
#include "allocate.h"
#include "report.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The next definitions, so that another preload's are not passed by. Looked up at the start: a child of fork may find
 * the dynamic linker's lock held by a thread it does not have, and would wait for ever. */
static struct {
	__typeof__(execve) *execve;
	__typeof__(execv) *execv;
	__typeof__(execvp) *execvp;
	__typeof__(execvpe) *execvpe;
	__typeof__(fexecve) *fexecve;
	__typeof__(execveat) *execveat;
} next;

#define LOOK_UP(name) (*(void **)&next.name = dlsym(RTLD_NEXT, #name))

static __attribute__((constructor)) void look_up(void)
{
	int saved = errno;
	LOOK_UP(execve);
	LOOK_UP(execv);
	LOOK_UP(execvp);
	LOOK_UP(execvpe);
	LOOK_UP(fexecve);
	LOOK_UP(execveat);
	errno = saved;
}

/* A constructor that runs before ours may be the caller. */
#define NEXT(name) (next.name ? next.name : (look_up(), next.name))

SLUICE_API __attribute__((noreturn)) void _exit(int status)
{
	report_write(END_EXIT);
	for (;;)
		syscall(SYS_exit_group, status);
}

SLUICE_API __attribute__((noreturn)) void _Exit(int status)
{
	_exit(status);
}

static int exec_failed(int result)
{
	report_again();
	return result;
}

SLUICE_API int execve(const char *path, char *const argv[], char *const envp[])
{
	report_write(END_EXEC);
	return exec_failed(NEXT(execve)(path, argv, envp));
}

SLUICE_API int execv(const char *path, char *const argv[])
{
	report_write(END_EXEC);
	return exec_failed(NEXT(execv)(path, argv));
}

SLUICE_API int execvp(const char *file, char *const argv[])
{
	report_write(END_EXEC);
	return exec_failed(NEXT(execvp)(file, argv));
}

SLUICE_API int execvpe(const char *file, char *const argv[], char *const envp[])
{
	report_write(END_EXEC);
	return exec_failed(NEXT(execvpe)(file, argv, envp));
}

SLUICE_API int fexecve(int fd, char *const argv[], char *const envp[])
{
	report_write(END_EXEC);
	return exec_failed(NEXT(fexecve)(fd, argv, envp));
}

SLUICE_API int execveat(int fd, const char *path, char *const argv[], char *const envp[], int flags)
{
	report_write(END_EXEC);
	return exec_failed(NEXT(execveat)(fd, path, argv, envp, flags));
}

/* The arguments of the execl forms, counted and then put in an array on the stack: no allocation before an exec. */
#define COUNT_ARGUMENTS(count, last)                                                                                   \
	va_list list;                                                                                                      \
	size_t count = 1;                                                                                                  \
	va_start(list, last);                                                                                              \
	while (va_arg(list, char *))                                                                                       \
		count++;                                                                                                       \
	va_end(list);                                                                                                      \
	char *argv[count + 1];                                                                                             \
	argv[0] = (char *)(uintptr_t)last;                                                                                 \
	va_start(list, last);                                                                                              \
	for (size_t i = 1; i <= count; i++)                                                                                \
	argv[i] = va_arg(list, char *)

SLUICE_API int execl(const char *path, const char *first, ...)
{
	COUNT_ARGUMENTS(count, first);
	va_end(list);
	return execv(path, argv);
}

SLUICE_API int execlp(const char *file, const char *first, ...)
{
	COUNT_ARGUMENTS(count, first);
	va_end(list);
	return execvp(file, argv);
}

SLUICE_API int execle(const char *path, const char *first, ...)
{
	COUNT_ARGUMENTS(count, first);
	char *const *envp = va_arg(list, char *const *);
	va_end(list);
	return execve(path, argv, envp);
}
