/* rows_json.h: the rows of a view as JSON, for scripts. */
#ifndef SLUICE_ROWS_JSON_H
#define SLUICE_ROWS_JSON_H

#include "analytics/report_rows.h"

/* Writes {"schema":"sluice.rows","schema_version":"1.0","by":...,"sort":...,"total":{...},"rows":[...]}, a row a line,
 * the first `top` rows (0: all), counters named as in the report. Returns 0 or the errno value of a write. */
int rows_json(const struct report *r, struct names *s, enum rows_by by, enum rows_sort sort, size_t top, int fd);

#endif
