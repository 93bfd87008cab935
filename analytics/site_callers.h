/* site_callers.h: who is behind a site, beyond the frames that make it: estimated from the stacks that were sampled.
 *
 * A group of sampled stacks has the share of the site's bytes that their weights say; the site's bytes are known exactly, so
 * share times bytes is how many came from there, within the interval of the share. analytics/README.md derives it.
 */
#ifndef SLUICE_SITE_CALLERS_H
#define SLUICE_SITE_CALLERS_H

#include "analytics/interval.h"
#include "analytics/names.h"
#include "analytics/report_load.h"
#include "analytics/terminal.h"

/* The callers beyond as a tree: a line wherever stacks part, with share, interval and bytes. */
void view_callers(const struct report *r, struct names *s, const struct report_site *site, const struct terminal *t);

/* The share of the site's bytes for which `weight` of its samples' weights stands. */
struct caller_share {
	double share;
	struct interval within;
	uint64_t space; /* of the site's alloc_space, rounded */
};
struct caller_share caller_share_of(const struct report_site *site, uint64_t weight);

#endif
