/* publish_threads.c: see publish_threads.h.
 *
 * A heap outlives its thread and is handed on, so a thread's share is what the heap's totals grew by while it had it. When
 * the table is full, further threads share its last record.
 */
#define _GNU_SOURCE
#include "publish_threads.h"

#include "confined.h"
#include "pools/lock.h"
#include "route.h"
#include "site.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct lock threads_lock;
static uint64_t dropped_threads;

static uint64_t now_ns(void)
{
	struct timespec now;
	return clock_gettime(CLOCK_REALTIME, &now) ? 0 : (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void totals(const struct thread *thread, uint64_t *objects, uint64_t *space)
{
	*objects = *space = 0;
	for (uint32_t tag = 1; tag <= thread->heap.tags; tag++) {
		const struct cache *cache = &thread->heap.caches[tag];
		const struct route *route = route_at(thread, tag);
		*objects += cache->allocs + route->realloc_allocs;
		*space += cache->space + route->realloc_space;
	}
}

void publish_thread_begin(struct thread *thread)
{
	struct ledger_header *l = ledger();
	totals(thread, &thread->base_objects, &thread->base_space);
	if (!l)
		return;
	lock_take(&threads_lock);
	uint32_t number = l->threads_count < LEDGER_THREADS_MAX ? l->threads_count : LEDGER_THREADS_MAX - 1;
	struct ledger_thread *record = &ledger_threads(l)[number];
	if (l->threads_count < LEDGER_THREADS_MAX) {
		*record = (struct ledger_thread){.start_unix_ns = now_ns()};
		if (!confined()) { /* by the raw call: prctl is one of our own entries */
			record->tid = (uint64_t)syscall(SYS_gettid);
			syscall(SYS_prctl, PR_GET_NAME, record->name, 0, 0, 0);
		}
	} else {
		dropped_threads++;
	}
	if (number == LEDGER_THREADS_MAX - 1)
		strcpy(record->name, "(others)");
	l->threads_count = number + 1;
	thread->ledger_thread = number;
	lock_drop(&threads_lock);
}

static void thread_record(const struct thread *thread, struct ledger_thread *record)
{
	uint64_t objects, space;
	totals(thread, &objects, &space);
	if (thread->ledger_thread == LEDGER_THREADS_MAX - 1) { /* many threads share it; the living are not in it yet */
		record->alloc_objects += objects - thread->base_objects;
		record->alloc_space += space - thread->base_space;
		return;
	}
	record->alloc_objects = objects - thread->base_objects;
	record->alloc_space = space - thread->base_space;
}

void publish_thread_end(struct thread *thread)
{
	struct ledger_header *l = ledger();
	if (!l)
		return;
	lock_take(&threads_lock);
	struct ledger_thread *record = &ledger_threads(l)[thread->ledger_thread];
	thread_record(thread, record);
	if (thread->ledger_thread < LEDGER_THREADS_MAX - 1)
		record->end_unix_ns = now_ns();
	lock_drop(&threads_lock);
}

bool publish_threads_alive(void)
{
	const struct thread *mine = thread_if_any();
	for (struct heap *heap = heap_first(); heap; heap = heap->next) {
		uint32_t now = atomic_load_explicit(&heap->state, memory_order_relaxed);
		if (thread_of(heap) != mine && (now == HEAP_LIVE || now == HEAP_BORROWED))
			return true;
	}
	return false;
}

void publish_threads(struct ledger_header *l)
{
	l->quality.live_threads = 0;
	struct thread *mine = thread_if_any();
	for (struct heap *heap = heap_first(); heap; heap = heap->next) {
		if (atomic_load_explicit(&heap->state, memory_order_relaxed) != HEAP_LIVE)
			continue;
		struct thread *thread = thread_of(heap);
		if (thread->ledger_thread < LEDGER_THREADS_MAX - 1)
			thread_record(thread, &ledger_threads(l)[thread->ledger_thread]);
		l->quality.live_threads += thread != mine;
	}
	l->quality.dropped_threads = dropped_threads;
}

void publish_threads_fork_child(struct ledger_header *l)
{
	lock_reset(&threads_lock);
	if (!l)
		return;
	l->threads_count = 0;
	dropped_threads = 0;
	struct thread *thread = thread_if_any();
	if (thread)
		publish_thread_begin(thread);
}
