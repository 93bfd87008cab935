/* site_view.h: one site with all that is known of it, on the screen. */
#ifndef SLUICE_SITE_VIEW_H
#define SLUICE_SITE_VIEW_H

#include "analytics/names.h"
#include "analytics/terminal.h"

/* The site's name, its counters, and its stack: every function from the allocation outwards, those that were inlined
 * among them, with file and line where they are known. */
void view_site(const struct report *r, struct names *s, const struct report_site *site, const struct terminal *t);

#endif
