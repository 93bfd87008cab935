/* report_requests.h: the requests of a loaded report.
 */
#ifndef SLUICE_REPORT_REQUESTS_H
#define SLUICE_REPORT_REQUESTS_H

#include "analytics/ledger_requests.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct report_request_site {
	uint64_t id;
	struct ledger_request_site of;
};

struct report_request_sites {
	struct report_request_site *sites;
	size_t count;
};

/* The section `requests`, NULL when the report has none. Both are released by free(). What is wrong, the first thing, goes to
 * `wrong`, else it is left as it is. */
struct ledger_requests *report_read_requests(const json_t *section, struct report_request_sites *sites, char *wrong,
                                             size_t wrong_bytes);

#endif
