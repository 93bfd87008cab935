/* report_site.h: all that a report knows of one site, on the screen. */
#ifndef SLUICE_REPORT_SITE_H
#define SLUICE_REPORT_SITE_H

#include "analytics/names.h"
#include "analytics/report_load.h"
#include "analytics/terminal.h"

/* The site of that number in the report, NULL: none. */
const struct report_site *site_by_id(const struct report *r, uint64_t id);

void view_site(const struct report *r, struct names *s, const struct report_site *site, const struct terminal *t);

/* The share of short-lived blocks, and bounds that hold it 95 times of a hundred (Wilson's interval, for as many equal samples
 * as the weighted ones are worth: Kish's (sum w)^2 / sum w^2). All from 0 to 1; `samples` is that number, 0: not known. */
struct short_share {
	double share, least, most, samples;
};
struct short_share site_short_share(const struct ledger_life *life);

#endif
