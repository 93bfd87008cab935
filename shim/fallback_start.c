/* fallback_start.c: the first call of jemalloc. See fallback_start.h.
 *
 * It runs on a stack of its own, since it needs some 15 KiB and a thread may have no more than 16; with signals held back,
 * since a handler that allocates would find jemalloc half set up; and under a lock that fork takes too. Whatever jemalloc
 * asks of us meanwhile (a thread-specific value may cost glibc a calloc) goes on as ever: it is made for being the malloc
 * that its own start calls.
 */
#define _GNU_SOURCE
#include "fallback_start.h"

#include "pools/apart.h"
#include "pools/lock.h"
#include "pools/os.h"
#include "thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>

/* Set up by any call; this one only computes. 0: it could not be. */
extern size_t sluice_je_nallocx(size_t size, int flags);

_Atomic bool fallback_up;

static struct lock starting;
static void *_Atomic starter; /* the thread that does it, by the address of its thread_self */
static _Atomic bool environment_read;

static struct {
	void (*prepare)(void), (*parent)(void), (*child)(void);
} at_fork;

/* In place of the C library's, for jemalloc (scripts/build-jemalloc). */
extern int sluice_je_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
int sluice_je_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
	at_fork.prepare = prepare;
	at_fork.parent = parent;
	at_fork.child = child;
	return 0;
}

/* Its thread-specific value, whose key is taken at our start: later the program may have taken the last one. */
static pthread_key_t key;
static bool key_made;
static void (*_Atomic at_thread_end)(void *);

static void end_thread(void *value)
{
	void (*end)(void *) = atomic_load_explicit(&at_thread_end, memory_order_acquire);
	end(value); /* only who has it sets a value */
}

void fallback_start_init(void)
{
	key_made = pthread_key_create(&key, end_thread) == 0;
}

extern int sluice_je_pthread_key_create(pthread_key_t *made, void (*end)(void *));
int sluice_je_pthread_key_create(pthread_key_t *made, void (*end)(void *))
{
	if (!key_made) /* the program's own call of mallctl where we do not act */
		return pthread_key_create(made, end);
	atomic_store_explicit(&at_thread_end, end, memory_order_release);
	*made = key;
	return 0;
}

/* Another thread may be changing the environment, or have given its memory another use. */
extern char *sluice_je_secure_getenv(const char *name);
char *sluice_je_secure_getenv(const char *name)
{
	return environment_read ? NULL : secure_getenv(name);
}

void fallback_read_environment(void)
{
	if (secure_getenv("MALLOC_CONF"))
		fallback_start();
	environment_read = true;
}

/* What its start maps. It is asked for first, since a start that finds none halfway complains on the standard error. */
enum { ROOM = 8 << 20 };

static bool has_room(void)
{
	void *room = os_map(ROOM);
	if (room)
		os_unmap(room, ROOM);
	return room;
}

static void set_up(void)
{
	if (sluice_je_nallocx(1, 0))
		atomic_store_explicit(&fallback_up, true, memory_order_release);
}

/* --- another stack ------------------------------------------------------------------------------------------------ */

#if defined(__has_feature)
#define HAS_FEATURE(name) __has_feature(name)
#else
#define HAS_FEATURE(name) 0
#endif

/* Not under a sanitizer, which knows the stacks it has seen made. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || HAS_FEATURE(address_sanitizer) ||                 \
	HAS_FEATURE(thread_sanitizer)
#elif defined(__x86_64__)
#define SWITCH_STACKS                                                                                                  \
	"	pushq %rbp\n"                                                                                                    \
	"	.cfi_def_cfa_offset 16\n"                                                                                        \
	"	.cfi_offset %rbp, -16\n"                                                                                         \
	"	movq %rsp, %rbp\n"                                                                                               \
	"	.cfi_def_cfa_register %rbp\n"                                                                                    \
	"	movq %rsi, %rsp\n"                                                                                               \
	"	call *%rdi\n"                                                                                                    \
	"	movq %rbp, %rsp\n"                                                                                               \
	"	popq %rbp\n"                                                                                                     \
	"	.cfi_def_cfa %rsp, 8\n"
#elif defined(__aarch64__)
#define SWITCH_STACKS                                                                                                  \
	"	stp x29, x30, [sp, #-16]!\n"                                                                                     \
	"	.cfi_def_cfa_offset 16\n"                                                                                        \
	"	.cfi_offset x29, -16\n"                                                                                          \
	"	.cfi_offset x30, -8\n"                                                                                           \
	"	mov x29, sp\n"                                                                                                   \
	"	.cfi_def_cfa_register x29\n"                                                                                     \
	"	mov sp, x1\n"                                                                                                    \
	"	blr x0\n"                                                                                                        \
	"	mov sp, x29\n"                                                                                                   \
	"	.cfi_def_cfa_register sp\n"                                                                                      \
	"	ldp x29, x30, [sp], #16\n"                                                                                       \
	"	.cfi_restore x30\n"                                                                                              \
	"	.cfi_restore x29\n"                                                                                              \
	"	.cfi_def_cfa_offset 0\n"
#endif

#ifdef SWITCH_STACKS
/* Calls `run` with the stack that ends at `top`, a multiple of 16. */
void fallback_run_on(void (*run)(void), char *top) __attribute__((visibility("hidden")));
__asm__(".text\n"
        ".globl fallback_run_on\n"
        ".type fallback_run_on, @function\n"
        "fallback_run_on:\n"
        "	.cfi_startproc\n" SWITCH_STACKS "	ret\n"
        "	.cfi_endproc\n"
        ".size fallback_run_on, . - fallback_run_on\n");

static void run_apart(void (*run)(void))
{
	static APART _Alignas(16) char stack[64 << 10];
	fallback_run_on(run, stack + sizeof(stack));
}
#else
static void run_apart(void (*run)(void))
{
	run();
}
#endif

bool fallback_start_slow(void)
{
	sigset_t all, before;
	int cancelled_before, saved = errno;
	if (atomic_load_explicit(&starter, memory_order_relaxed) == (void *)&thread_self)
		return true; /* called by jemalloc's own start */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelled_before); /* it reads files */
	lock_take(&starting);
	if (!fallback_is_up() && has_room()) {
		atomic_store_explicit(&starter, (void *)&thread_self, memory_order_relaxed);
		run_apart(set_up);
		atomic_store_explicit(&starter, NULL, memory_order_relaxed);
	}
	lock_drop(&starting);
	pthread_setcancelstate(cancelled_before, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = saved;
	return fallback_is_up();
}

/* --- fork --------------------------------------------------------------------------------------------------------- */

void fallback_start_fork_prepare(void)
{
	lock_take(&starting);
}

void fallback_jemalloc_fork_prepare(void)
{
	if (fallback_is_up())
		at_fork.prepare();
}

void fallback_jemalloc_fork_parent(void)
{
	if (fallback_is_up())
		at_fork.parent();
}

void fallback_start_fork_parent(void)
{
	lock_drop(&starting);
}

void fallback_jemalloc_fork_child(void)
{
	if (fallback_is_up())
		at_fork.child();
}

void fallback_start_fork_child(void)
{
	lock_reset(&starting);
}
