/* publish_threads.h: the ledger's record of each thread: who it is, and what it allocated while it had its heap.
 */
#ifndef SLUICE_PUBLISH_THREADS_H
#define SLUICE_PUBLISH_THREADS_H

#include "analytics/ledger.h"
#include "thread.h"

#include <stdbool.h>

/* A thread got its heap, or is about to leave it with all its blocks settled. */
void publish_thread_begin(struct thread *thread);
void publish_thread_end(struct thread *thread);

/* Has any other thread a heap? */
bool publish_threads_alive(void);

/* Brings the records of the living up to date, and quality.live_threads and dropped_threads with them. */
void publish_threads(struct ledger_header *l);

/* The child of a fork: the caller is the only thread, and begins here. NULL: nobody will ask. */
void publish_threads_fork_child(struct ledger_header *l);

#endif
