/* fallback_start.h: jemalloc is set up when it is first needed, and what that takes.
 *
 * Most programs never need the fallback, and jemalloc's start costs more page faults than all of our own. So the build takes
 * its constructor away (scripts/build-jemalloc), and every entry of fallback.c that could be the first says fallback_start().
 * What jemalloc would register with the C library it registers with us: its fork handlers run inside ours, after our locks are
 * taken and before they are dropped, and the key of its threads' values is one taken at our own start.
 */
#ifndef SLUICE_FALLBACK_START_H
#define SLUICE_FALLBACK_START_H

#include <stdatomic.h>
#include <stdbool.h>

/* Once, before any of the following: takes what may be used up later. */
void fallback_start_init(void);

extern _Atomic bool fallback_up;

static inline bool fallback_is_up(void)
{
	return atomic_load_explicit(&fallback_up, memory_order_acquire);
}

/* Sets jemalloc up if nobody has. false: no memory for it; a later call tries again. Keeps errno. From any thread, on any
 * stack, in a signal handler that interrupted no allocator; under no lock of ours. */
bool fallback_start_slow(void);
static inline bool fallback_start(void)
{
	return __builtin_expect(fallback_is_up(), 1) || fallback_start_slow();
}

/* Once, in the constructor: MALLOC_CONF is heeded now, since later the program may have written over its environment. */
void fallback_read_environment(void);

/* Before all locks of ours are taken, and after all are; dropped the other way round. */
void fallback_start_fork_prepare(void);
void fallback_jemalloc_fork_prepare(void);
void fallback_jemalloc_fork_parent(void);
void fallback_start_fork_parent(void);
void fallback_jemalloc_fork_child(void);
void fallback_start_fork_child(void);

#endif
