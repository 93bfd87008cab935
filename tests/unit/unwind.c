/* The frames above a call are those that libunwind finds, whatever lies between. */
#define _GNU_SOURCE
#define UNW_LOCAL_ONLY
#include "shim/unwind.h"
#include "shim/stack.h"
#include "tests/frames.h"

#include <criterion/criterion.h>
#include <libunwind.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { FRAMES = UNWIND_FRAMES_MAX };

static struct unwound ours;
static uintptr_t theirs[FRAMES];
static unsigned theirs_count;

/* As an interposed function would: both unwind from its own frame. */
__attribute__((noinline)) static void look(void)
{
	unw_context_t context;
	unw_cursor_t cursor;
	unw_getcontext(&context);
	unw_init_local(&cursor, &context);
	for (theirs_count = 0; theirs_count < FRAMES && unw_step(&cursor) > 0; theirs_count++) {
		unw_word_t pc;
		unw_get_reg(&cursor, UNW_REG_IP, &pc);
		if (!pc)
			break;
		theirs[theirs_count] = pc;
	}
	unwind((uintptr_t)__builtin_dwarf_cfa(), FRAMES, &ours);
	__asm__ volatile("" ::: "memory");
}

static void agree(unsigned at_least)
{
	cr_assert_geq(ours.count, at_least, "%u frames", ours.count);
	cr_assert_eq(ours.count, theirs_count, "%u frames, libunwind %u", ours.count, theirs_count);
	for (unsigned i = 0; i < ours.count; i++)
		cr_assert_eq(ours.pcs[i], theirs[i], "frame %u is %lx, libunwind %lx", i, ours.pcs[i], theirs[i]);
}

static void setup(void)
{
	memset(&ours, 0, sizeof(ours));
	theirs_count = 0;
	unwind_forget();
}

TestSuite(unwind, .init = setup);

Test(unwind, a_call)
{
	for (int again = 0; again < 3; again++) { /* the second time from the table of what is kept */
		look();
		agree(3);
		cr_assert(ours.whole);
	}
	cr_assert_eq(*(uintptr_t *)ours.slots[1], ours.pcs[1], "a slot is where its address was read");
}

__attribute__((noinline)) static int deeper(unsigned levels, unsigned grow)
{
	volatile char room[24] = {0};
	if (levels == 0) {
		look();
		return room[0];
	}
	if (levels % 3 == 0) { /* a frame of no fixed size */
		volatile char *more = __builtin_alloca(grow * levels + 1);
		more[0] = 0;
		return deeper(levels - 1, grow) + more[0];
	}
	return deeper(levels - 1, grow) + room[1];
}

Test(unwind, frames_of_all_sizes)
{
	for (unsigned levels = 1; levels < 50; levels++) {
		deeper(levels, 7 * levels);
		agree(levels < FRAMES ? levels : FRAMES);
	}
}

Test(unwind, no_more_than_asked_for)
{
	deeper(2 * FRAMES, 1);
	cr_assert_eq(ours.count, FRAMES);
	cr_assert_not(ours.whole);
}

/* A function that aligns its stack has its frame described by an expression. */
__attribute__((noinline)) static int aligned(void)
{
	_Alignas(64) volatile char room[128] = {0};
	volatile char *more = __builtin_alloca((size_t)(room[0] + 100));
	more[0] = 0;
	look();
	return room[1] + more[0];
}

Test(unwind, an_aligned_frame)
{
	aligned();
	agree(4);
}

static void handler(int signal)
{
	(void)signal;
	look();
}

Test(unwind, through_a_signal)
{
	struct sigaction action = {.sa_handler = handler};
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	agree(5);
}

Test(unwind, on_an_alternate_stack)
{
	stack_t stack = {.ss_sp = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	                 .ss_size = 65536};
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
	sigaltstack(&stack, NULL);
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	agree(5);
}

static void *in_thread(void *unused)
{
	deeper(30, 3000);
	return unused;
}

Test(unwind, in_a_thread)
{
	pthread_t thread;
	pthread_create(&thread, NULL, in_thread, NULL);
	pthread_join(thread, NULL);
	agree(31);
	cr_assert(ours.whole);
}

static ucontext_t back;
static void in_fiber(void)
{
	deeper(9, 400);
	setcontext(&back);
}

Test(unwind, on_a_fiber)
{
	static ucontext_t fiber;
	cr_assert(fiber_make(&fiber, in_fiber));
	swapcontext(&back, &fiber);
	cr_assert_geq(ours.count, 10);
	for (unsigned i = 0; i < 10; i++)
		cr_assert_eq(ours.pcs[i], theirs[i]);
}

static int compare(const void *a, const void *b)
{
	look();
	return *(const int *)a - *(const int *)b;
}

Test(unwind, through_the_c_library)
{
	int numbers[3] = {3, 1, 2};
	qsort(numbers, 3, sizeof(int), compare);
	agree(5);
}

Test(unwind, a_call_that_is_none)
{
	unwind((uintptr_t)__builtin_frame_address(0) + (1 << 20), FRAMES, &ours);
	cr_assert_eq(ours.count, 0);
	unwind(1, FRAMES, &ours);
	cr_assert_eq(ours.count, 0);
}

/* --- which addresses may be read ---------------------------------------------------------------------------------- */

Test(unwind, the_own_page_is_always_known)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(page + 4096, 4096, PROT_NONE);
	uintptr_t frame = (uintptr_t)page + 100 * 8;
	cr_assert(stack_may_read(frame, frame + 8));
	cr_assert(stack_may_read(frame, (uintptr_t)page + 4096 - 8));
	cr_assert_not(stack_may_read(frame, (uintptr_t)page + 4096 - 7), "it would reach into the next page");
	cr_assert_not(stack_may_read(frame, (uintptr_t)page + 4096));
	cr_assert_not(stack_may_read(frame, frame - 8), "below the frame is nobody's");
}

Test(unwind, the_main_stack_up_to_its_end)
{
	extern void *__libc_stack_end;
	uintptr_t here = (uintptr_t)__builtin_frame_address(0), end = (uintptr_t)__libc_stack_end;
	cr_assert_lt(here, end, "a test has a process of its own");
	cr_assert(stack_may_read(here, end - 8));
	cr_assert_not(stack_may_read(end - 100000, end));
}

static void *a_threads_stack(void *unused)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0), own = (uintptr_t)&stack_known;
	cr_assert(stack_may_read(here, own - 8));
	cr_assert(stack_holds(own - 8), "asked once");
	cr_assert_not(stack_may_read(here, own));
	return unused;
}

Test(unwind, a_threads_stack_up_to_its_variables)
{
	pthread_t thread;
	pthread_create(&thread, NULL, a_threads_stack, NULL);
	pthread_join(thread, NULL);
}
