/* rows_json.h: the rows of a view as JSON, for scripts. */
#ifndef SLUICE_ROWS_JSON_H
#define SLUICE_ROWS_JSON_H

#include "analytics/report_rows.h"

/* Which rows, and how much of each. */
struct rows_wish {
	enum rows_by by;
	enum rows_sort sort;
	size_t top;  /* 0: all */
	bool stacks; /* sites with their frames */
	bool one;    /* only the site of this id: */
	uint64_t site_id;
};

/* Writes {"schema":"sluice.rows","schema_version":"1.2","by":...,"sort":...,"total":{...},"rows":[...]}, a row a line,
 * counters named as in the report; 1.1 added file, line, via and frames. Returns 0 or the errno value of a write. */
int rows_json(const struct report *r, struct names *s, const struct rows_wish *wish, int fd);

#endif
