/* Coroutines by swapcontext, on stacks that malloc gave, of 16 KiB and up: all allocate, hand blocks to each other and
 * migrate between threads. A shim that unwinds or keeps addresses of a stack must not mind.
 */
#include "victim.h"

#include <malloc.h>
#include <pthread.h>
#include <ucontext.h>

enum { COROUTINES = 32, ROUNDS = 400 };

struct coroutine {
	ucontext_t here, caller;
	char *stack;
	void *mailbox;
	size_t n;
	int done;
};

static struct coroutine all[COROUTINES];

static void body(int index)
{
	struct coroutine *me = &all[index];
	for (int i = 0; i < ROUNDS; i++) {
		struct coroutine *next = &all[(index + i) % COROUTINES];
		if (next->mailbox) {
			CHECK(first_wrong(next->mailbox, next->n, next->n) == next->n, "a handed block is damaged");
			free(next->mailbox);
		}
		next->n = (size_t)(index * 97 + i * 13) % 4000;
		next->mailbox = i % 2 ? malloc(next->n) : realloc(malloc(20), next->n + 1);
		CHECK(next->mailbox, "malloc gives NULL on a coroutine's stack");
		fill(next->mailbox, next->n, next->n);
		swapcontext(&me->here, &me->caller);
	}
	me->done = 1;
	swapcontext(&me->here, &me->caller);
}

static void resume_all(void)
{
	for (int i = 0; i < COROUTINES; i++) {
		if (!all[i].done) {
			swapcontext(&all[i].caller, &all[i].here);
		}
	}
}

static void *resume_in_thread(void *unused)
{
	for (int i = 0; i < 20; i++) {
		resume_all();
	}
	return unused;
}

static void make(int i)
{
	size_t bytes = (size_t)16384 << (i % 3);
	all[i].stack = i % 2 ? malloc(bytes) : memalign(4096, bytes);
	CHECK(all[i].stack && getcontext(&all[i].here) == 0, "no stack");
	all[i].here.uc_stack.ss_sp = all[i].stack;
	all[i].here.uc_stack.ss_size = bytes;
	makecontext(&all[i].here, (void (*)(void))(uintptr_t)body, 1, i);
}

int main(void)
{
	for (int i = 0; i < COROUTINES; i++) {
		make(i);
	}
	for (int i = 0; i <= ROUNDS / 21; i++) {
		resume_all();
		pthread_t t;
		CHECK(pthread_create(&t, NULL, resume_in_thread, NULL) == 0, "pthread_create");
		pthread_join(t, NULL);
	}
	resume_all();
	for (int i = 0; i < COROUTINES; i++) {
		CHECK(all[i].done, "coroutine %d did not end", i);
		free(all[i].mailbox);
		free(all[i].stack);
	}
	return victim_ok();
}
