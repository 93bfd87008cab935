/* rows_json.c: the rows of a view as JSON; see rows_json.h. */
#include "analytics/rows_json.h"

#include "analytics/json_out.h"
#include "analytics/render.h"

#include <string.h>

static void count(struct json_out *out, const char *key, uint64_t value)
{
	json_out_key(out, key);
	json_out_u64(out, value);
}

static void text(struct json_out *out, const char *key, const char *value)
{
	json_out_key(out, key);
	if (value)
		json_out_string(out, value);
	else
		json_out_null(out);
}

static void tally(struct json_out *out, const struct ledger_tally *t)
{
	count(out, "alloc_objects", t->alloc_objects);
	count(out, "alloc_space", t->alloc_space);
	count(out, "free_objects", t->free_objects);
	count(out, "inuse_objects", t->inuse_objects);
	count(out, "inuse_space", t->inuse_space);
	count(out, "inherited_objects", t->inherited_objects);
	count(out, "inherited_space", t->inherited_space);
}

static void site(struct json_out *out, const struct report *r, const struct report_site *s, struct names *names)
{
	struct name found = names_find(names, s);
	count(out, "id", s->id);
	text(out, "module", s->mapping < r->mappings_count ? r->mappings[s->mapping].path : NULL);
	json_out_key(out, "offset");
	json_out_hex(out, s->offset);
	text(out, "function", found.function);
	text(out, "route", s->route < 0 ? NULL : render_route_name((enum ledger_route)s->route));
}

static void one(struct json_out *out, const struct report *r, struct row *row, enum rows_by by, struct names *s)
{
	json_out_line(out);
	json_out_object_begin(out);
	text(out, "name", rows_name(row, by, r, s));
	if (by == ROWS_BY_SITE)
		site(out, r, &r->sites[row->index], s);
	if (by == ROWS_BY_CLASS) {
		count(out, "size", r->classes[row->index].size);
		count(out, "curslabs", r->classes[row->index].curslabs);
		count(out, "slots", r->classes[row->index].slots);
	}
	if (by == ROWS_BY_THREAD) {
		count(out, "tid", r->threads[row->index].tid);
		count(out, "alloc_objects", row->tally.alloc_objects);
		count(out, "alloc_space", row->tally.alloc_space);
	} else {
		tally(out, &row->tally);
	}
	if (by == ROWS_BY_SITE || by == ROWS_BY_MODULE) {
		count(out, "realloc_objects", row->realloc_objects);
		count(out, "cross_thread_free_objects", row->cross_thread_free_objects);
	}
	json_out_object_end(out);
}

int rows_json(const struct report *r, struct names *s, enum rows_by by, enum rows_sort sort, size_t top, int fd)
{
	char buffer[8192];
	struct json_out out;
	struct rows rows = rows_make(r, by);
	size_t shown = top && top < rows.count ? top : rows.count;
	rows_sort(&rows, sort, r, s);
	json_out_open(&out, buffer, sizeof(buffer), json_out_to_fd, &fd);
	json_out_object_begin(&out);
	text(&out, "schema", "sluice.rows");
	text(&out, "schema_version", "1.0");
	text(&out, "by", rows_by_names[by]);
	text(&out, "sort", rows_sort_names[sort]);
	json_out_key(&out, "total");
	json_out_object_begin(&out);
	tally(&out, &r->memory.tally);
	json_out_object_end(&out);
	count(&out, "rows_total", rows.count);
	json_out_key(&out, "rows");
	json_out_array_begin(&out);
	for (size_t i = 0; i < shown; i++)
		one(&out, r, &rows.rows[i], by, s);
	json_out_line(&out);
	json_out_array_end(&out);
	json_out_object_end(&out);
	json_out_line(&out);
	rows_free(&rows);
	return json_out_close(&out);
}
