/* facts.h: what the report says of each site beyond its counts (struct ledger_fact), gathered when it is written.
 *
 * Like sum.h it takes no lock and follows no list that another thread may cut. Only the caller of report.c may ask.
 */
#ifndef SLUICE_FACTS_H
#define SLUICE_FACTS_H

#include "analytics/ledger.h"

/* Of the ledger as publish() has just left it, good until the next call; NULL: no memory. */
const struct ledger_facts *facts_make(const struct ledger_header *l);

/* The child of a fork counts from here on; peaks go on, as the process's does. */
void facts_fork_child(void);

#endif
