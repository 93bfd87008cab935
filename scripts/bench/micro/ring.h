/* ring.h: threads in a row that hand blocks to each other through bounded rings.
 *
 * Each thread is tied to a core of its own, as far as there are cores. Blocks are handed over 64 at a time: one by one,
 * the cores' talk about the ring would cost more than the allocator. A stage that has to wait spins a while and then
 * gives the core away, and reads its CPU clock before and after: waiting is no cost of the allocator, and how long it
 * lasts depends on who else has the cores.
 */
#ifndef SCRIPTS_BENCH_MICRO_RING_H
#define SCRIPTS_BENCH_MICRO_RING_H

#include "measure.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { RING = 1024, HANDED = 64, SPINS_MAX = 200 };

struct ring {
	_Alignas(64) _Atomic(size_t) written; /* blocks ever put in */
	_Alignas(64) _Atomic(size_t) read;    /* blocks ever taken out */
	_Alignas(64) void *slots[RING];
};

struct stage {
	void *(*start)(void *);
	struct ring *in, *out;
	const uint32_t *sizes;
	size_t messages, core;
	double waited_ns, cpu_ns; /* of its thread: while waiting; all of it, waiting left out */
};

static inline void pause_cpu(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Returns once *counter is at least `target`. */
static inline void wait_for(struct stage *me, _Atomic(size_t) *counter, size_t target)
{
	double start;
	if (atomic_load_explicit(counter, memory_order_acquire) >= target)
		return;
	start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	for (unsigned spins = 1; atomic_load_explicit(counter, memory_order_acquire) < target; spins++)
		if (spins % SPINS_MAX == 0)
			sched_yield();
		else
			pause_cpu();
	me->waited_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
}

static inline void wait_for_space(struct stage *me, size_t done)
{
	if (done + HANDED > RING)
		wait_for(me, &me->out->read, done + HANDED - RING);
}

static inline void wait_for_blocks(struct stage *me, size_t done)
{
	wait_for(me, &me->in->written, done + HANDED);
}

static inline struct stage *begin_stage(void *arg)
{
	struct stage *me = arg;
	pin_to_core(me->core);
	return me;
}

static inline void *finish_stage(struct stage *me)
{
	me->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - me->waited_ns;
	return NULL;
}

static inline void *stage_produce(void *arg)
{
	struct stage *me = begin_stage(arg);
	for (size_t i = 0; i < me->messages; i += HANDED) {
		wait_for_space(me, i);
		for (size_t k = i; k < i + HANDED; k++)
			me->out->slots[k % RING] = take(me->sizes[k % SIZES]);
		atomic_store_explicit(&me->out->written, i + HANDED, memory_order_release);
	}
	return finish_stage(me);
}

static inline void *stage_relay(void *arg)
{
	struct stage *me = begin_stage(arg);
	for (size_t i = 0; i < me->messages; i += HANDED) {
		wait_for_blocks(me, i);
		wait_for_space(me, i);
		for (size_t k = i; k < i + HANDED; k++) {
			char *answer = take(me->sizes[(k + 1) % SIZES]), *question = me->in->slots[k % RING];
			*(volatile char *)answer = *(volatile char *)question;
			free(question);
			me->out->slots[k % RING] = answer;
		}
		atomic_store_explicit(&me->in->read, i + HANDED, memory_order_release);
		atomic_store_explicit(&me->out->written, i + HANDED, memory_order_release);
	}
	return finish_stage(me);
}

static inline void *stage_consume(void *arg)
{
	struct stage *me = begin_stage(arg);
	for (size_t i = 0; i < me->messages; i += HANDED) {
		wait_for_blocks(me, i);
		for (size_t k = i; k < i + HANDED; k++)
			free(me->in->slots[k % RING]);
		atomic_store_explicit(&me->in->read, i + HANDED, memory_order_release);
	}
	return finish_stage(me);
}

/* Runs the stages as threads, for at least `messages` blocks each; CPU ns of all of them together, waiting left out. */
static inline double run_stages(struct stage *stages, size_t count, const uint32_t *sizes, size_t messages)
{
	pthread_t threads[8];
	double ns = 0;
	for (size_t i = 0; i < count; i++) {
		stages[i].sizes = sizes;
		stages[i].messages = messages;
		stages[i].core = i;
		if (pthread_create(&threads[i], NULL, stages[i].start, &stages[i]))
			die("pthread_create");
	}
	for (size_t i = 0; i < count; i++) {
		pthread_join(threads[i], NULL);
		ns += stages[i].cpu_ns;
	}
	return ns;
}

#endif
