/* render.h: the ledger of one process as a JSON report.
 *
 * Linked into the library, which calls it in a dying process, and into the command. The same rule as for the writer:
 * no allocation, no stdio, no locale. The schema of what comes out is analytics/report.schema.json.
 */
#ifndef SLUICE_RENDER_H
#define SLUICE_RENDER_H

#include "analytics/json_out.h"
#include "analytics/ledger.h"

#define REPORT_SCHEMA "sluice.report"
#define REPORT_SCHEMA_VERSION "1.3" /* minor: keys were added; major: a reader of the old one would be wrong */

/* Writes the whole report and closes `out`. The caller vouches that l->total_bytes bytes are readable from `l` on;
 * nothing else in the ledger is trusted: counts and offsets that point outside are cut back to what lies inside.
 * `facts`, of the same sites, may be NULL: then the report is without them.
 * Returns 0, EINVAL when this is no ledger of this version (nothing is written then), or the errno value of a write. */
int render_report(const struct ledger_header *l, const struct ledger_facts *facts, struct json_out *out);

/* "owned", "shared", "arena", "fallback". */
const char *render_route_name(enum ledger_route route);

/* "large", "aligned", "capacity", "range", "memory", "thread". */
const char *render_reason_name(enum ledger_reason reason);

#endif
