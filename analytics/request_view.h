/* request_view.h: the requests of a report on the screen.
 */
#ifndef SLUICE_REQUEST_VIEW_H
#define SLUICE_REQUEST_VIEW_H

#include "analytics/names.h"
#include "analytics/terminal.h"

/* One sentence on what a request costs, histograms, the largest requests, the sites. At most `top` sites, 0: all. */
void view_requests(const struct report *r, struct names *s, size_t top, const struct terminal *t);

#endif
