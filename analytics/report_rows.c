/* report_rows.c: a report as rows that can be sorted; see report_rows.h. */
#include "analytics/report_rows.h"

#include "analytics/memory.h"

#include <stdlib.h>
#include <string.h>

const char *const rows_by_names[ROWS_BYS] = {"site", "module", "class", "thread"};

const char *const rows_sort_names[ROWS_SORTS] = {
	"bytes", "count", "live",     "live-count", "frees", "reallocs", "cross-thread",
	"peak",  "slack", "resident", "average",    "size",  "name",
};

static void tally_add(struct ledger_tally *to, const struct ledger_tally *t)
{
	to->alloc_objects += t->alloc_objects;
	to->alloc_space += t->alloc_space;
	to->free_objects += t->free_objects;
	to->inuse_objects += t->inuse_objects;
	to->inuse_space += t->inuse_space;
	to->inherited_objects += t->inherited_objects;
	to->inherited_space += t->inherited_space;
}

static void add_site(struct row *row, const struct report_site *s)
{
	tally_add(&row->tally, &s->tally);
	row->realloc_objects += s->realloc_objects;
	row->cross_thread_free_objects += s->cross_thread_free_objects;
}

static int compare_paths(const void *left, const void *right, void *context)
{
	const struct report_mapping *mappings = context;
	size_t a = *(const size_t *)left, b = *(const size_t *)right;
	int order = strcmp(mappings[a].path, mappings[b].path);
	return order ? order : (a > b) - (a < b);
}

/* For each mapping, the first one of the same file: a file may be mapped twice over a run. Released by the caller. */
static size_t *first_mappings(const struct report *r)
{
	size_t *order = memory_room(r->mappings_count, sizeof(order[0]));
	size_t *first = memory_room(r->mappings_count + 1, sizeof(first[0]));
	for (size_t i = 0; i < r->mappings_count; i++)
		order[i] = i;
	qsort_r(order, r->mappings_count, sizeof(order[0]), compare_paths, r->mappings);
	for (size_t i = 0; i < r->mappings_count; i++) {
		bool again = i && strcmp(r->mappings[order[i]].path, r->mappings[order[i - 1]].path) == 0;
		first[order[i]] = again ? first[order[i - 1]] : order[i];
	}
	first[r->mappings_count] = r->mappings_count; /* sites in no file */
	free(order);
	return first;
}

/* One row per module file, in the order in which sites first name them. */
static void make_modules(struct rows *rows, const struct report *r)
{
	size_t *first = first_mappings(r);
	size_t *row_of = memory_room(r->mappings_count + 1, sizeof(row_of[0])); /* plus one; 0: none yet */
	rows->rows = memory_room(r->mappings_count + 1, sizeof(rows->rows[0]));
	for (size_t i = 0; i < r->sites_count; i++) {
		uint32_t mapping = r->sites[i].mapping;
		size_t m = first[mapping < r->mappings_count ? mapping : r->mappings_count];
		if (!row_of[m]) {
			row_of[m] = ++rows->count;
			rows->rows[row_of[m] - 1] = (struct row){.route = -1, .index = i};
		}
		add_site(&rows->rows[row_of[m] - 1], &r->sites[i]);
	}
	free(row_of);
	free(first);
}

static void make_sites(struct rows *rows, const struct report *r)
{
	rows->rows = memory_room(r->sites_count, sizeof(rows->rows[0]));
	for (; rows->count < r->sites_count; rows->count++) {
		struct row *row = &rows->rows[rows->count];
		*row = (struct row){.route = r->sites[rows->count].route, .index = rows->count};
		add_site(row, &r->sites[rows->count]);
	}
}

static void make_classes(struct rows *rows, const struct report *r)
{
	rows->rows = memory_room(r->classes_count, sizeof(rows->rows[0]));
	for (; rows->count < r->classes_count; rows->count++)
		rows->rows[rows->count] =
			(struct row){.tally = r->classes[rows->count].tally, .route = -1, .index = rows->count};
}

static void make_threads(struct rows *rows, const struct report *r)
{
	rows->rows = memory_room(r->threads_count, sizeof(rows->rows[0]));
	for (; rows->count < r->threads_count; rows->count++) {
		struct row *row = &rows->rows[rows->count];
		*row = (struct row){.route = -1, .index = rows->count};
		row->tally.alloc_objects = r->threads[rows->count].alloc_objects;
		row->tally.alloc_space = r->threads[rows->count].alloc_space;
	}
}

struct rows rows_make(const struct report *r, enum rows_by by)
{
	struct rows rows = {.by = by};
	switch (by) {
	case ROWS_BY_MODULE:
		make_modules(&rows, r);
		break;
	case ROWS_BY_CLASS:
		make_classes(&rows, r);
		break;
	case ROWS_BY_THREAD:
		make_threads(&rows, r);
		break;
	default:
		make_sites(&rows, r);
		break;
	}
	return rows;
}

void rows_free(struct rows *rows)
{
	for (size_t i = 0; i < rows->count; i++)
		free(rows->rows[i].name);
	free(rows->rows);
	*rows = (struct rows){0};
}

const char *rows_name(struct row *row, enum rows_by by, const struct report *r, struct names *s)
{
	if (row->name)
		return row->name;
	switch (by) {
	case ROWS_BY_MODULE:
		row->name = memory_text(names_module(r, r->sites[row->index].mapping));
		break;
	case ROWS_BY_CLASS:
		row->name = memory_format("%llu", (unsigned long long)r->classes[row->index].size);
		break;
	case ROWS_BY_THREAD:
		row->name = memory_text(r->threads[row->index].name);
		break;
	default:
		row->name = names_site(s, &r->sites[row->index]);
		break;
	}
	return row->name;
}

bool rows_can_sort(enum rows_by by, enum rows_sort sort)
{
	if (sort == ROWS_SORT_SIZE)
		return by == ROWS_BY_CLASS;
	if (sort == ROWS_SORT_REALLOCS || sort == ROWS_SORT_CROSS_THREAD)
		return by == ROWS_BY_SITE || by == ROWS_BY_MODULE;
	if (sort == ROWS_SORT_PEAK || sort == ROWS_SORT_SLACK || sort == ROWS_SORT_RESIDENT)
		return by == ROWS_BY_SITE;
	if (by == ROWS_BY_THREAD)
		return sort == ROWS_SORT_BYTES || sort == ROWS_SORT_COUNT || sort == ROWS_SORT_AVERAGE ||
		       sort == ROWS_SORT_NAME;
	return true;
}

uint64_t rows_value(const struct row *row, enum rows_sort sort, const struct report *r)
{
	const struct ledger_tally *t = &row->tally;
	switch (sort) {
	case ROWS_SORT_BYTES:
		return t->alloc_space;
	case ROWS_SORT_COUNT:
		return t->alloc_objects;
	case ROWS_SORT_LIVE:
		return t->inuse_space;
	case ROWS_SORT_LIVE_COUNT:
		return t->inuse_objects;
	case ROWS_SORT_FREES:
		return t->free_objects;
	case ROWS_SORT_REALLOCS:
		return row->realloc_objects;
	case ROWS_SORT_CROSS_THREAD:
		return row->cross_thread_free_objects;
	case ROWS_SORT_PEAK:
		return r->sites[row->index].fact.max_space;
	case ROWS_SORT_SLACK:
		return r->sites[row->index].fact.slack_space;
	case ROWS_SORT_RESIDENT:
		return r->sites[row->index].fact.resident_space;
	case ROWS_SORT_AVERAGE:
		return t->alloc_objects ? t->alloc_space / t->alloc_objects : 0;
	case ROWS_SORT_SIZE:
		return UINT64_MAX - r->classes[row->index].size;
	default:
		return 0;
	}
}

struct key {
	uint64_t value;
	const char *name;
	size_t at; /* before the sort */
};

static int compare(const void *left, const void *right)
{
	const struct key *a = left, *b = right;
	int order = (a->value < b->value) - (a->value > b->value);
	if (!order && a->name)
		order = strcmp(a->name, b->name);
	return order ? order : (a->at > b->at) - (a->at < b->at);
}

void rows_sort(struct rows *rows, enum rows_sort sort, const struct report *r, struct names *s)
{
	struct key *keys = memory_room(rows->count, sizeof(keys[0]));
	struct row *sorted = memory_room(rows->count, sizeof(sorted[0]));
	for (size_t i = 0; i < rows->count; i++) {
		keys[i] = (struct key){.value = rows_value(&rows->rows[i], sort, r), .at = i};
		if (sort == ROWS_SORT_NAME)
			keys[i].name = rows_name(&rows->rows[i], rows->by, r, s);
	}
	qsort(keys, rows->count, sizeof(keys[0]), compare);
	for (size_t i = 0; i < rows->count; i++)
		sorted[i] = rows->rows[keys[i].at];
	free(rows->rows);
	free(keys);
	rows->rows = sorted;
}
