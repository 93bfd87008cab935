/* Where an unwinder may not go, or only so far: what holds of both that implement shim/unwind.h. */
#define _GNU_SOURCE
#include "shim/unwind.h"
#include "tests/sanitized.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static uint32_t look(struct unwound *seen)
{
	unwind((uintptr_t)__builtin_dwarf_cfa(), UNWIND_FRAMES_MAX, seen);
	__asm__ volatile("" ::: "memory");
	return seen->count;
}

/* --- a child of fork does not wait for a thread that it does not have --------------------------------------------- */

static _Atomic bool enough;

static void *unwind_always(void *unused)
{
	struct unwound seen;
	while (!atomic_load(&enough)) {
		unwind_forget();
		look(&seen);
	}
	return unused;
}

Test(unwind_guards, children_of_a_thread_that_unwinds, .timeout = 120)
{
	enum { CHILDREN = 300 };
	struct unwound seen;
	pthread_t thread;
	cr_assert_gt(look(&seen), 0);
	pthread_create(&thread, NULL, unwind_always, NULL);
	for (int i = 0; i < CHILDREN; i++) {
		int status;
		pid_t child = fork();
		if (child == 0) {
			for (int j = 0; j < 20; j++) {
				unwind_forget();
				look(&seen);
			}
			_exit(0);
		}
		cr_assert_eq(waitpid(child, &status, 0), child);
		cr_assert_eq(status, 0);
	}
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	cr_assert_gt(look(&seen), 0, "the parent goes on");
}

/* --- a stack that ends soon --------------------------------------------------------------------------------------- */

static ucontext_t back;
static bool reached;

static void on_little(void)
{
	struct unwound seen;
	look(&seen);
	reached = true;
	setcontext(&back);
}

static void run_on(size_t bytes)
{
	static ucontext_t fiber;
	size_t guard = 64 << 10;
	char *stack = mmap(NULL, guard + bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(stack, guard, PROT_NONE);
	reached = false;
	getcontext(&fiber);
	fiber.uc_stack.ss_sp = stack + guard;
	fiber.uc_stack.ss_size = bytes;
	fiber.uc_link = NULL;
	makecontext(&fiber, on_little, 0);
	swapcontext(&back, &fiber);
	cr_assert(reached);
	munmap(stack, guard + bytes);
}

Test(unwind_guards, a_stack_of_a_page)
{
	if (SANITIZED)
		cr_skip_test("a sanitizer needs more stack than that");
	unwind_forget();
	run_on(4096);
}

Test(unwind_guards, stacks_of_some_pages)
{
	for (size_t pages = 2; pages < 12; pages++) {
		unwind_forget();
		run_on(pages * 4096);
	}
}
