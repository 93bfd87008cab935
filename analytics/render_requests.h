/* render_requests.h: what a report says of requests.
 *
 * Linked into the library: no allocation, no stdio, no locale. The reader goes by the same tables of keys.
 */
#ifndef SLUICE_RENDER_REQUESTS_H
#define SLUICE_RENDER_REQUESTS_H

#include "analytics/json_out.h"
#include "analytics/ledger.h"

/* A key, and where in struct ledger_requests its uint64_t is, or its LEDGER_REQUEST_BUCKETS of them. Keys are in the table,
 * not pointed to: the library has no relocation for them. A table ends with an empty key. */
struct request_field {
	char key[36];
	uint32_t at;
};

extern const struct request_field render_request_counts[];
extern const struct request_field render_request_histograms[];
extern const struct request_field render_request_top_counts[];  /* of struct ledger_request_top */
extern const struct request_field render_request_part_counts[]; /* of struct ledger_request_part */
extern const struct request_field render_request_site_counts[]; /* of struct ledger_request_site */

/* Writes the section into the object that is open; nothing where the facts (NULL: none) are of before requests. */
void render_requests(struct json_out *out, const struct ledger_facts *facts, uint32_t sites_count);

#endif
