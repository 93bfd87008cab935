/* rows_json.c: the rows of a view as JSON; see rows_json.h. */
#include "analytics/rows_json.h"

#include "analytics/json_out.h"
#include "analytics/render.h"
#include "analytics/render_values.h"
#include "analytics/site_callers.h"

#include <stdlib.h>
#include <string.h>

/* From 0 to 1. */
static void ratio(struct json_out *out, const char *key, double value)
{
	json_out_key(out, key);
	json_out_ratio(out, (uint64_t)(value * 1e6 + .5), 1000000, 6);
}

/* Where a function is: the file and line, null and 0 when they are not known. */
static void place(struct json_out *out, const struct name *n)
{
	render_text(out, "function", n->function);
	render_text(out, "file", n->file);
	render_count(out, "line", n->line);
}

static void frames(struct json_out *out, const struct report *r, const struct report_site *s, struct names *names)
{
	json_out_key(out, "truncated");
	json_out_bool(out, s->stack < r->stacks_count && r->stacks[s->stack].truncated);
	json_out_key(out, "frames");
	json_out_array_begin(out);
	for (size_t depth = 0; depth < names_depth(names, s); depth++) {
		struct name_chain chain = names_at(names, s, depth);
		for (size_t i = 0; i < chain.count; i++) {
			json_out_object_begin(out);
			place(out, &chain.names[i]);
			render_text(out, "module", chain.names[i].module);
			json_out_key(out, "offset");
			json_out_hex(out, chain.names[i].offset);
			json_out_key(out, "inlined");
			json_out_bool(out, chain.names[i].inlined);
			json_out_key(out, "key");
			json_out_bool(out, depth < s->key_frames);
			json_out_object_end(out);
		}
	}
	json_out_array_end(out);
}

/* The sampled stacks, with their shares of the site's bytes. */
static void callers(struct json_out *out, const struct report *r, const struct report_site *s, struct names *names)
{
	struct report_site at = *s; /* names are asked of its stack */
	json_out_key(out, "callers");
	json_out_array_begin(out);
	for (size_t i = 0; i < s->sampled.stacks_count; i++) {
		const struct report_sampled_stack *stack = &s->sampled.stacks[i];
		struct caller_share of = caller_share_of(s, stack->weight);
		if (stack->stack >= r->stacks_count || !r->stacks[stack->stack].count)
			continue;
		at.stack = stack->stack;
		json_out_object_begin(out);
		json_out_key(out, "by_realloc");
		json_out_bool(out, stack->by_realloc);
		render_count(out, "samples", stack->samples);
		render_count(out, "estimated_space", of.space);
		ratio(out, "share", of.share);
		ratio(out, "share_least", of.within.least);
		ratio(out, "share_most", of.within.most);
		frames(out, r, &at, names);
		json_out_object_end(out);
	}
	json_out_array_end(out);
}

static void site(struct json_out *out, const struct report *r, const struct report_site *s, struct names *names)
{
	struct name found = names_find(names, s);
	char *via = names_via(names, s);
	render_count(out, "id", s->id);
	render_text(out, "module", s->mapping < r->mappings_count ? r->mappings[s->mapping].path : NULL);
	json_out_key(out, "offset");
	json_out_hex(out, s->offset);
	place(out, &found);
	render_text(out, "via", via);
	free(via);
	render_text(out, "route", s->route < 0 ? NULL : render_route_name((enum ledger_route)s->route));
}

static void one(struct json_out *out, const struct report *r, struct row *row, const struct rows_wish *wish,
                struct names *s)
{
	enum rows_by by = wish->by;
	json_out_line(out);
	json_out_object_begin(out);
	render_text(out, "name", rows_name(row, by, r, s));
	if (by == ROWS_BY_SITE)
		site(out, r, &r->sites[row->index], s);
	if (by == ROWS_BY_CLASS) {
		render_count(out, "size", r->classes[row->index].size);
		render_count(out, "curslabs", r->classes[row->index].curslabs);
		render_count(out, "slots", r->classes[row->index].slots);
	}
	if (by == ROWS_BY_THREAD) {
		render_count(out, "tid", r->threads[row->index].tid);
		render_count(out, "alloc_objects", row->tally.alloc_objects);
		render_count(out, "alloc_space", row->tally.alloc_space);
	} else {
		render_tally(out, &row->tally);
	}
	if (by == ROWS_BY_SITE || by == ROWS_BY_MODULE) {
		render_count(out, "realloc_objects", row->realloc_objects);
		render_count(out, "cross_thread_free_objects", row->cross_thread_free_objects);
	}
	if (by == ROWS_BY_SITE && wish->stacks) {
		frames(out, r, &r->sites[row->index], s);
		callers(out, r, &r->sites[row->index], s);
	}
	json_out_object_end(out);
}

int rows_json(const struct report *r, struct names *s, const struct rows_wish *wish, int fd)
{
	char buffer[8192];
	struct json_out out;
	struct rows rows = rows_make(r, wish->by);
	size_t shown = wish->top && wish->top < rows.count ? wish->top : rows.count;
	rows_sort(&rows, wish->sort, r, s);
	json_out_open(&out, buffer, sizeof(buffer), json_out_to_fd, &fd);
	json_out_object_begin(&out);
	render_text(&out, "schema", "sluice.rows");
	render_text(&out, "schema_version", "1.2");
	render_text(&out, "by", rows_by_names[wish->by]);
	render_text(&out, "sort", rows_sort_names[wish->sort]);
	json_out_key(&out, "total");
	json_out_object_begin(&out);
	render_tally(&out, &r->memory.tally);
	json_out_object_end(&out);
	render_count(&out, "rows_total", rows.count);
	json_out_key(&out, "rows");
	json_out_array_begin(&out);
	for (size_t i = 0; i < shown; i++)
		if (!wish->one || r->sites[rows.rows[i].index].id == wish->site_id)
			one(&out, r, &rows.rows[i], wish, s);
	json_out_line(&out);
	json_out_array_end(&out);
	json_out_object_end(&out);
	json_out_line(&out);
	rows_free(&rows);
	return json_out_close(&out);
}
