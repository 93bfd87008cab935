/* site_facts.h: what a report knows of a site beside its counts and its stack: sizes, reallocs, memory, lives. */
#ifndef SLUICE_SITE_FACTS_H
#define SLUICE_SITE_FACTS_H

#include "analytics/report_load.h"
#include "analytics/terminal.h"

/* Prints them, a line or a few bars each; those that the report does not have, or that are all 0, are left out. */
void view_facts(const struct report_site *site, const struct terminal *t);

/* The share of short-lived blocks, and bounds that hold it 95 times of a hundred (Wilson's interval, for as many equal samples
 * as the weighted ones are worth: Kish's (sum w)^2 / sum w^2). All from 0 to 1; `samples` is that number, 0: not known. */
struct short_share {
	double share, least, most, samples;
};
struct short_share site_short_share(const struct ledger_life *life);

#endif
