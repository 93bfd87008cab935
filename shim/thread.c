/* thread.c: how a thread gets its heap and leaves it.
 *
 *   none ──first allocation──► own heap ──key destructor──► again ──allocates again──► own heap ──► late
 * pthread keys' destructors run in an order nobody knows, and others may allocate after ours. So the first time ours
 * runs the thread may come back for a heap once more; after the second it is late, and the fallback serves it. A heap
 * is thus always left behind properly, however the thread ends. Frees need no heap at any time.
 */
#define _GNU_SOURCE
#include "thread.h"

#include "pools/meta.h"
#include "process.h"
#include "publish.h"
#include "route.h"

#include <errno.h>
#include <pthread.h>

static struct slot no_slot; /* key 0 never matches */
static struct front none = {&no_slot, 0}, again = {&no_slot, 0}, late = {&no_slot, 0};

__thread struct thread *thread_self __attribute__((tls_model("initial-exec"))) = (struct thread *)&none;

static pthread_key_t key;
static bool key_made;

static bool is_front(const struct thread *thread, const struct front *front)
{
	return thread == (const struct thread *)front;
}

static void leave(void *times)
{
	struct thread *thread = thread_if_any();
	if (!thread)
		return;
	int saved = errno;
	routes_settle(thread);
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
	struct thread *thread = thread_self;
	bool real = !is_front(thread, &none) && !is_front(thread, &again) && !is_front(thread, &late);
	return real ? thread : NULL;
}

static struct thread *make(void)
{
	struct thread *thread = meta_take(sizeof(*thread));
	if (!thread)
		return NULL;
	thread->front = none;
	thread->front.slots = NULL;
	heap_init(&thread->heap);
	return thread;
}

struct thread *thread_get(void)
{
	struct thread *thread = thread_if_any();
	if (thread || is_front(thread_self, &late) || !process_start())
		return thread;
	int saved = errno;
	void *times = is_front(thread_self, &again) ? (void *)2 : (void *)1;
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

void threads_fork_child(void)
{
	struct thread *thread = thread_if_any();
	heap_fork_child(thread ? &thread->heap : NULL);
}
