/* publish.h: from the threads' counters to the ledger.
 *
 * Nothing is published on the way; publish() sums everything up (sum.h) and fills in the rest when somebody wants to read
 * it. It may run in a dying process, beside running threads, and in a signal handler that interrupted any of us.
 */
#ifndef SLUICE_PUBLISH_H
#define SLUICE_PUBLISH_H

#include "analytics/ledger.h"

/* Copies what the program may overwrite: its name, arguments, start time. */
void publish_begin(int argc, char **argv);

/* Brings the ledger up to date. NULL: there is none. */
const struct ledger_header *publish(enum ledger_end end);

/* The child of a fork counts from here on. */
void publish_fork_child(void);

#endif
