/* ledger_requests.h: what a report says of requests, as the shim fills it (shim/request_sum.c) and the renderer reads it.
 *
 * Made with the facts, in the same region (ledger.h). Histograms: bucket 0 counts zeros, bucket k from 2^(k-1) up to below 2^k;
 * the last takes what is beyond.
 */
#ifndef SLUICE_LEDGER_REQUESTS_H
#define SLUICE_LEDGER_REQUESTS_H

#include <stdint.h>

enum { LEDGER_REQUEST_BUCKETS = 48, LEDGER_REQUEST_TOP = 16, LEDGER_REQUEST_TOP_SITES = 8 };

/* How the begin and end of a request were told. */
enum ledger_boundary {
	BOUNDARY_NONE, /* not looked for, or no connection was seen */
	BOUNDARY_TURN  /* data read after the last write begins one */
};

struct ledger_request_part {
	uint64_t site; /* its number in the ledger */
	uint64_t objects, space;
};

struct ledger_request_top {
	uint64_t number; /* on its connection, from 1 */
	uint64_t objects, space;
	uint64_t duration_ns; /* to the last write before the account was filed; 0: not answered */
	uint64_t parts_count;
	struct ledger_request_part parts[LEDGER_REQUEST_TOP_SITES]; /* the largest first */
};

struct ledger_request_site {
	uint64_t objects, space; /* allocated in requests */
	uint64_t escaped, freed; /* blocks that these left behind; blocks that these freed of earlier ones */
	uint64_t escaping;       /* requests, by tag, that left some */
};

struct ledger_requests {
	uint64_t boundary; /* enum ledger_boundary */
	uint64_t count;    /* requests */
	uint64_t reads, writes, accepted, beyond;
	uint64_t io_uring;    /* 1: the process has a ring, whose calls are not seen */
	uint64_t connections; /* that had a request */
	uint64_t silent;      /* closed without a read or write that was seen */
	uint64_t connection_requests_hist[LEDGER_REQUEST_BUCKETS];
	uint64_t connection_space_hist
		[LEDGER_REQUEST_BUCKETS]; /* of those with an accounted one; scaled to all their requests */
	uint64_t accounted;           /* requests whose allocations were added up */
	uint64_t
		weight; /* requests that these stand for; all that follows is estimated for those, and exact where they are all */
	uint64_t lost;    /* accounts that were given up */
	uint64_t untimed; /* of `weight`, those without a duration: no answer was seen, or their thread has no heap */
	uint64_t objects, space;
	uint64_t escaped_objects, escaped_space, freed_objects, freed_space;
	uint64_t objects_hist[LEDGER_REQUEST_BUCKETS], space_hist[LEDGER_REQUEST_BUCKETS], ns_hist[LEDGER_REQUEST_BUCKETS];
	uint64_t top_count;
	struct ledger_request_top top[LEDGER_REQUEST_TOP];
	uint64_t sites_count;
	struct ledger_request_site sites[]; /* by number, as the ledger's */
};

#endif
