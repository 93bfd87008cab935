/* request_sum.h: all that was counted of requests, added up for the report. As sum.h: without a lock, beside running threads.
 */
#ifndef SLUICE_REQUEST_SUM_H
#define SLUICE_REQUEST_SUM_H

#include "analytics/ledger.h"
#include "analytics/ledger_requests.h"

/* Into zeroed memory with room for `sites` sites. */
void requests_sum(struct ledger_requests *to, const struct ledger_header *l, uint64_t sites);

#endif
