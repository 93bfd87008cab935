/* frames.h: functions whose frames are there when somebody looks, and stacks whose end nobody may read beyond. For tests and for
 * victims alike: it knows neither.
 */
#ifndef FRAMES_H
#define FRAMES_H

#include <stddef.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

/* A function that is called, as it stands, by each of its callers. */
#ifdef __clang__
#define OWN_FRAME __attribute__((noinline))
#else
#define OWN_FRAME __attribute__((noinline, noclone))
#endif

/* The call before is no tail call; and no two functions are the same, which the compiler would make one. */
#define STAY() __asm__ volatile("" : : "i"(__COUNTER__) : "memory")

/* A function that passes `size` on to `to`. */
#define CALLER(name, to)                                                                                               \
	void *name(size_t size);                                                                                           \
	OWN_FRAME void *name(size_t size)                                                                                  \
	{                                                                                                                  \
		void *block = to(size);                                                                                        \
		STAY();                                                                                                        \
		return block;                                                                                                  \
	}

enum { FIBER_BYTES = 64 << 10 };

/* A fiber that begins with `run`; who reads above its stack's end dies. Returns the stack; NULL: none. */
static inline char *fiber_make(ucontext_t *fiber, void (*run)(void))
{
	getcontext(fiber);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *stack = mmap(NULL, FIBER_BYTES + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stack == MAP_FAILED || mprotect(stack + FIBER_BYTES, page, PROT_NONE))
		return NULL;
	fiber->uc_stack.ss_sp = stack;
	fiber->uc_stack.ss_size = FIBER_BYTES;
	fiber->uc_link = NULL;
	makecontext(fiber, run, 0);
	return stack;
}

static inline void fiber_drop(char *stack)
{
	munmap(stack, FIBER_BYTES + (size_t)sysconf(_SC_PAGESIZE));
}

#endif
