/* report_rows.h: a report as rows that can be sorted: one per site, module, class or thread. */
#ifndef SLUICE_REPORT_ROWS_H
#define SLUICE_REPORT_ROWS_H

#include "analytics/names.h"
#include "analytics/report_load.h"

enum rows_by { ROWS_BY_SITE, ROWS_BY_MODULE, ROWS_BY_CLASS, ROWS_BY_THREAD, ROWS_BYS };

enum rows_sort {
	ROWS_SORT_BYTES,        /* bytes asked for */
	ROWS_SORT_COUNT,        /* blocks handed out */
	ROWS_SORT_LIVE,         /* usable bytes alive */
	ROWS_SORT_LIVE_COUNT,   /* blocks alive */
	ROWS_SORT_FREES,        /* blocks given back */
	ROWS_SORT_REALLOCS,     /* reallocs */
	ROWS_SORT_CROSS_THREAD, /* frees by other threads */
	ROWS_SORT_PEAK,         /* highest usable bytes alive at a site */
	ROWS_SORT_SLACK,        /* bytes of slabs beyond the blocks alive */
	ROWS_SORT_RESIDENT,     /* resident bytes that a site explains */
	ROWS_SORT_AVERAGE,      /* bytes asked for, a block */
	ROWS_SORT_SIZE,         /* classes: bytes of a block, upwards */
	ROWS_SORT_NAME,         /* upwards */
	ROWS_SORTS
};

extern const char *const rows_by_names[ROWS_BYS];     /* "site", ... as the command line spells them */
extern const char *const rows_sort_names[ROWS_SORTS]; /* "bytes", ... */

struct row {
	char *name; /* NULL until rows_name() */
	struct ledger_tally tally;
	uint64_t realloc_objects, cross_thread_free_objects;
	int route;    /* sites: as in report_site; else -1 */
	size_t index; /* into the report's table, of the first record that is in the row */
};

struct rows {
	enum rows_by by;
	struct row *rows;
	size_t count;
};

/* All rows, in the report's order. `s` gives the names that rows_name() and the sort by name need. */
struct rows rows_make(const struct report *r, enum rows_by by);
void rows_free(struct rows *rows);

/* Sorts, the largest first (size and name: the smallest); ties keep the report's order. */
void rows_sort(struct rows *rows, enum rows_sort sort, const struct report *r, struct names *s);

/* The row's name, found when first asked for: most rows of a big report are never shown. */
const char *rows_name(struct row *row, enum rows_by by, const struct report *r, struct names *s);

/* Whether rows of this kind have what they would be sorted by: a thread has no frees, only a class has a size. */
bool rows_can_sort(enum rows_by by, enum rows_sort sort);

/* What a row is sorted by; 0 for the name. */
uint64_t rows_value(const struct row *row, enum rows_sort sort, const struct report *r);

#endif
