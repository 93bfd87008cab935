/* sum.h: all counters of the process, added up into the ledger's sites, classes and routes.
 *
 * Takes no lock and follows no list that another thread may cut, so it may run in a dying process, beside running threads
 * (whose newest counts it may then miss) and in a signal handler that interrupted any of us. One caller at a time.
 */
#ifndef SLUICE_SUM_H
#define SLUICE_SUM_H

#include "analytics/ledger.h"

/* Since the start of the first process: what a fork's child inherited is not taken off. */
void sum_up(struct ledger_header *l);

#endif
