/* render_sites.c: the sites of a report: their counts, facts, frames and stacks; see render_sites.h. */
#include "analytics/render_sites.h"

#include "analytics/render.h"
#include "analytics/render_samples.h"
#include "analytics/render_values.h"

#include <string.h>

/* --- what is known of a site beyond its counts -------------------------------------------------------------------- */

/* Up to the last that is not 0. */
static void histogram(struct json_out *out, const char *key, const uint64_t *buckets, unsigned count)
{
	while (count && !buckets[count - 1])
		count--;
	json_out_key(out, key);
	json_out_array_begin(out);
	for (unsigned i = 0; i < count; i++)
		json_out_u64(out, buckets[i] < INT64_MAX ? buckets[i] : INT64_MAX);
	json_out_array_end(out);
}

/* `shift`: bucket 0 of the ledger is that of 2^shift and all below, and is written as if it had them one by one. */
static void render_span(struct json_out *out, const char *key, const struct ledger_span *s, unsigned shift)
{
	uint64_t buckets[LEDGER_LIVES + LEDGER_LIFE_SHIFT_NS] = {0};
	memcpy(buckets + shift, s->hist, sizeof(s->hist));
	json_out_key(out, key);
	json_out_object_begin(out);
	render_counts(out, s, render_span_fields);
	histogram(out, "hist_log2", buckets, LEDGER_LIVES + shift);
	json_out_object_end(out);
}

static void render_life(struct json_out *out, const struct ledger_life *life)
{
	json_out_key(out, "lifetimes");
	json_out_object_begin(out);
	render_span(out, "ns", &life->ns, LEDGER_LIFE_SHIFT_NS);
	render_span(out, "space", &life->space, LEDGER_LIFE_SHIFT_SPACE);
	render_counts(out, life, render_life_fields);
	json_out_object_end(out);
}

static void render_fact(struct json_out *out, const struct render_view *v, const struct ledger_fact *f)
{
	const struct ledger_facts *facts = v->facts;
	render_counts(out, f, render_fact_fields);
	histogram(out, "size_hist_log2", f->size_hist_log2, LEDGER_SIZES);
	if (f->realloc_moved_objects | f->realloc_grown_space | f->realloc_shrunk_space)
		render_counts(out, f, render_realloc_fields);
	if (f->life && f->life <= facts->lives_count)
		render_life(out, &ledger_lives(facts)[f->life - 1]);
	render_sampled(out, f, facts, v->stacks_count);
}

/* The route that served most of the site's allocations, or null when this process made none. */
static void site_route(struct json_out *out, const struct ledger_site *s)
{
	unsigned best = 0;
	json_out_key(out, "route");
	for (unsigned i = 1; i < LEDGER_ROUTES; i++)
		if (s->route_objects[i] > s->route_objects[best])
			best = i;
	if (s->route_objects[best])
		json_out_string(out, render_route_name(best));
	else
		json_out_null(out);
	json_out_key(out, "routes");
	json_out_object_begin(out);
	for (unsigned i = 0; i < LEDGER_ROUTES; i++) {
		if (!s->route_objects[i])
			continue;
		json_out_key(out, render_route_name(i));
		json_out_object_begin(out);
		render_count(out, "alloc_objects", s->route_objects[i]);
		render_count(out, "alloc_space", s->route_space[i]);
		json_out_object_end(out);
	}
	json_out_object_end(out);
}

/* What sites and frames say of where they are. */
static void place(struct json_out *out, const struct render_view *v, const struct ledger_frame *f)
{
	bool named = render_string_length(v, f->symbol.at);
	json_out_key(out, "mapping");
	if (f->mapping < v->mappings_count)
		json_out_u64(out, f->mapping);
	else
		json_out_null(out);
	render_hex(out, "offset", f->offset);
	json_out_key(out, "symbol");
	if (named)
		render_string(out, v, f->symbol);
	else
		json_out_null(out);
	render_count(out, "symbol_offset", named ? f->symbol_offset : 0);
}

static void site_stack(struct json_out *out, const struct render_view *v, const struct ledger_site *s)
{
	bool known = s->stack < v->stacks_count;
	uint32_t most = known ? v->stacks[s->stack].count : 1;
	json_out_key(out, "stack");
	if (known)
		json_out_u64(out, s->stack);
	else
		json_out_null(out);
	render_count(out, "key_frames", s->key_frames < most ? s->key_frames : most);
}

static void render_site(struct json_out *out, const struct render_view *v, uint32_t id, bool other)
{
	const struct ledger_site *s = &v->sites[id];
	struct ledger_frame at = {
		.offset = s->offset, .mapping = s->mapping, .symbol = s->symbol, .symbol_offset = s->symbol_offset};
	render_record_begin(out);
	render_count(out, "id", id);
	if (other)
		render_flag(out, "other", true);
	place(out, v, &at);
	site_stack(out, v, s);
	site_route(out, s);
	render_tally(out, &s->tally);
	render_count(out, "realloc_objects", s->realloc_objects);
	render_count(out, "cross_thread_free_objects", s->cross_thread_free_objects);
	if (v->facts && id < v->facts->sites_count)
		render_fact(out, v, &v->facts->sites[id]);
	json_out_object_end(out);
}

static bool site_is_idle(const struct ledger_site *s)
{
	return render_tally_is_zero(&s->tally) && !s->realloc_objects && !s->cross_thread_free_objects;
}

void render_sites(struct json_out *out, const struct render_view *v)
{
	render_table_begin(out, "sites");
	for (int other = 0; other <= 1; other++)
		for (uint32_t id = 0; id < v->sites_count; id++)
			if ((v->sites[id].pc ? 0 : 1) == other && !site_is_idle(&v->sites[id]))
				render_site(out, v, id, other);
	render_table_end(out);
}

void render_frames(struct json_out *out, const struct render_view *v)
{
	render_table_begin(out, "frames");
	for (uint32_t id = 0; id < v->frames_count; id++) {
		render_record_begin(out);
		render_count(out, "id", id);
		place(out, v, &v->frames[id]);
		json_out_object_end(out);
	}
	render_table_end(out);
}

void render_stacks(struct json_out *out, const struct render_view *v)
{
	render_table_begin(out, "stacks");
	for (uint32_t id = 0; id < v->stacks_count; id++) {
		const struct ledger_stack *s = &v->stacks[id];
		render_record_begin(out);
		render_count(out, "id", id);
		json_out_key(out, "frames");
		json_out_array_begin(out);
		for (uint32_t i = 0; i < s->count && (uint64_t)s->at + i < v->stack_ids_count; i++)
			if (v->stack_ids[s->at + i] < v->frames_count)
				json_out_u64(out, v->stack_ids[s->at + i]);
		json_out_array_end(out);
		render_flag(out, "truncated", s->truncated);
		json_out_object_end(out);
	}
	render_table_end(out);
}
