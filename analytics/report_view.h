/* report_view.h: a report on the screen. */
#ifndef SLUICE_REPORT_VIEW_H
#define SLUICE_REPORT_VIEW_H

#include "analytics/report_rows.h"
#include "analytics/terminal.h"

/* What was run, the totals, the peak, the routes' shares, and how far the counts can be trusted. */
void view_head(const struct report *r, const struct terminal *t);

/* The first `top` rows (0: all) of a kind, in that order. */
void view_rows(const struct report *r, struct names *s, enum rows_by by, enum rows_sort sort, size_t top,
               const struct terminal *t);

/* The same sites as view_rows() shows, each in full (site_view.h). */
void view_stacks(const struct report *r, struct names *s, enum rows_sort sort, size_t top, const struct terminal *t);

/* One screen for the end of a run: the head, the top sites by bytes, by count and by live bytes. */
void view_summary(const struct report *r, struct names *s, const struct terminal *t);

#endif
