/* publish.h: from the threads' counters to the ledger.
 *
 * Nothing is published on the way; publish() sums everything up when somebody wants to read it. It takes no lock and
 * follows no list that another thread may cut, so it may run in a dying process, beside running threads (whose newest
 * counts it may then miss) and in a signal handler that interrupted any of us.
 */
#ifndef SLUICE_PUBLISH_H
#define SLUICE_PUBLISH_H

#include "analytics/ledger.h"
#include "thread.h"

/* Copies what the program may overwrite: its name, arguments, start time. */
void publish_begin(int argc, char **argv);

/* Brings the ledger up to date. NULL: there is none. */
const struct ledger_header *publish(enum ledger_end end);

/* Allocations of this process so far (since the fork in a child): cheaper than publish. */
uint64_t publish_allocs(void);

/* A thread got its heap, or is about to leave it with all its blocks settled. */
void publish_thread_begin(struct thread *thread);
void publish_thread_end(struct thread *thread);

/* The child of a fork counts from here on. */
void publish_fork_child(void);

#endif
