/* thread.c: how a thread gets its heap and leaves it.
 *
 *   none ──first allocation──► own heap ──key destructor──► again ──allocates again──► own heap ──► late
 * pthread keys' destructors run in an order nobody knows, and others may allocate after ours. So the first time ours
 * runs the thread may come back for a heap once more; after the second it is late, and the fallback serves it. A heap
 * is thus always left behind properly, however the thread ends. Frees need no heap at any time; a thread that frees many
 * blocks of others gets one for its outbox.
 */
#define _GNU_SOURCE
#include "thread.h"

#include "budget.h"
#include "peak.h"
#include "pools/meta.h"
#include "process.h"
#include "publish_threads.h"
#include "ready.h"

#include <errno.h>
#include <pthread.h>

/* As much of struct thread as the fast path reads. The key 0 of its only cache never matches. */
struct sentinel {
	struct front front;
	struct cache *caches;
};

_Static_assert(offsetof(struct sentinel, caches) == offsetof(struct thread, heap.caches), "the same to the fast path");

struct cache thread_no_cache;
static uint16_t no_tag;
static struct sentinel none = {{&no_tag, 0}, &thread_no_cache}, again = {{&no_tag, 0}, &thread_no_cache},
					   late = {{&no_tag, 0}, &thread_no_cache};

__thread struct thread *thread_self __attribute__((tls_model("initial-exec"))) = (struct thread *)&none;

static pthread_key_t key;
static bool key_made;

static bool is(const struct thread *thread, const struct sentinel *sentinel)
{
	return thread == (const struct thread *)sentinel;
}

static void leave(void *times)
{
	struct thread *thread = thread_if_any();
	if (!thread)
		return;
	int saved = errno;
	ready_settle(thread);
	publish_thread_end(thread);
	/* From here on a signal handler that allocates finds no heap and gets another. */
	thread_self = (struct thread *)(times == (void *)1 ? &again : &late);
	heap_abandon(&thread->heap);
	errno = saved;
}

void threads_init(void)
{
	key_made = pthread_key_create(&key, leave) == 0;
}

struct thread *thread_if_any(void)
{
	return thread_has_heap(thread_self) ? thread_self : NULL;
}

static struct thread *make(void)
{
	struct thread *thread = meta_take(sizeof(*thread));
	if (!thread)
		return NULL;
	thread->front = none.front;
	if (heap_init(&thread->heap))
		return thread;
	meta_give(thread, sizeof(*thread));
	return NULL;
}

struct thread *thread_get(void)
{
	struct thread *thread = thread_if_any();
	if (thread || is(thread_self, &late) || !process_start())
		return thread;
	int saved = errno;
	void *times = is(thread_self, &again) ? (void *)2 : (void *)1;
	struct heap *heap = heap_adopt();
	thread = heap ? thread_of(heap) : make();
	if (thread) {
		thread_self = thread; /* first: pthread_setspecific may allocate */
		publish_thread_begin(thread);
		if (key_made)
			pthread_setspecific(key, times);
	}
	errno = saved;
	return thread;
}

enum { FREES_ALONE = 64 };

struct heap *thread_sender_slow(void)
{
	static __thread uint32_t frees;
	struct thread *thread = frees++ < FREES_ALONE ? NULL : thread_get();
	return thread ? &thread->heap : NULL;
}

void thread_note_peak(struct thread *thread)
{
	int64_t live = (int64_t)thread->heap.used_bytes;
	if (live - thread->live_noted >= PEAK_STEP_BYTES || thread->live_noted - live >= PEAK_STEP_BYTES) {
		peak_note(live - thread->live_noted);
		thread->live_noted = live;
	}
}

void threads_fork_child(void)
{
	struct thread *thread = thread_if_any();
	heap_fork_child(thread ? &thread->heap : NULL);
	budget_fork_child(thread);
}
