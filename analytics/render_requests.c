/* render_requests.c: see render_requests.h. */
#include "analytics/render_requests.h"

#include "analytics/render_values.h"

#include <stddef.h>

#define AT(field) offsetof(struct ledger_requests, field)
const struct request_field render_request_counts[] = {
	{"count", AT(count)},
	{"reads", AT(reads)},
	{"writes", AT(writes)},
	{"accepted", AT(accepted)},
	{"beyond", AT(beyond)},
	{"connections", AT(connections)},
	{"silent", AT(silent)},
	{"accounted", AT(accounted)},
	{"weight", AT(weight)},
	{"lost", AT(lost)},
	{"untimed", AT(untimed)},
	{"alloc_objects", AT(objects)},
	{"alloc_space", AT(space)},
	{"escaped_objects", AT(escaped_objects)},
	{"escaped_space", AT(escaped_space)},
	{"freed_objects", AT(freed_objects)},
	{"freed_space", AT(freed_space)},
	{"", 0},
};
const struct request_field render_request_histograms[] = {
	{"connection_requests_hist_log2", AT(connection_requests_hist)},
	{"connection_space_hist_log2", AT(connection_space_hist)},
	{"alloc_objects_hist_log2", AT(objects_hist)},
	{"alloc_space_hist_log2", AT(space_hist)},
	{"duration_ns_hist_log2", AT(ns_hist)},
	{"", 0},
};
#undef AT
const struct request_field render_request_top_counts[] = {
	{"number", offsetof(struct ledger_request_top, number)},
	{"alloc_objects", offsetof(struct ledger_request_top, objects)},
	{"alloc_space", offsetof(struct ledger_request_top, space)},
	{"duration_ns", offsetof(struct ledger_request_top, duration_ns)},
	{"", 0},
};
const struct request_field render_request_part_counts[] = {
	{"site", offsetof(struct ledger_request_part, site)},
	{"alloc_objects", offsetof(struct ledger_request_part, objects)},
	{"alloc_space", offsetof(struct ledger_request_part, space)},
	{"", 0},
};
const struct request_field render_request_site_counts[] = {
	{"alloc_objects", offsetof(struct ledger_request_site, objects)},
	{"alloc_space", offsetof(struct ledger_request_site, space)},
	{"escaped_objects", offsetof(struct ledger_request_site, escaped)},
	{"freed_objects", offsetof(struct ledger_request_site, freed)},
	{"escaping_requests", offsetof(struct ledger_request_site, escaping)},
	{"", 0},
};

static const uint64_t *value_at(const void *record, const struct request_field *field)
{
	return (const uint64_t *)(const void *)((const char *)record + field->at);
}

static void counts(struct json_out *out, const void *record, const struct request_field *fields)
{
	for (; fields->key[0]; fields++)
		render_count(out, fields->key, *value_at(record, fields));
}

/* Up to the last that is not 0. */
static void histogram(struct json_out *out, const char *key, const uint64_t *buckets)
{
	unsigned used = LEDGER_REQUEST_BUCKETS;
	while (used && !buckets[used - 1])
		used--;
	json_out_key(out, key);
	json_out_array_begin(out);
	for (unsigned i = 0; i < used; i++)
		json_out_u64(out, buckets[i] < INT64_MAX ? buckets[i] : INT64_MAX);
	json_out_array_end(out);
}

static void render_top(struct json_out *out, const struct ledger_requests *r)
{
	render_table_begin(out, "top");
	for (uint64_t i = 0; i < r->top_count && i < LEDGER_REQUEST_TOP; i++) {
		const struct ledger_request_top *top = &r->top[i];
		render_record_begin(out);
		counts(out, top, render_request_top_counts);
		json_out_key(out, "sites");
		json_out_array_begin(out);
		for (uint64_t p = 0; p < top->parts_count && p < LEDGER_REQUEST_TOP_SITES; p++) {
			json_out_object_begin(out);
			counts(out, &top->parts[p], render_request_part_counts);
			json_out_object_end(out);
		}
		json_out_array_end(out);
		json_out_object_end(out);
	}
	render_table_end(out);
}

static void render_request_sites(struct json_out *out, const struct ledger_requests *r, uint32_t sites_count)
{
	render_table_begin(out, "sites");
	for (uint64_t id = 0; id < r->sites_count && id < sites_count; id++) {
		const struct ledger_request_site *site = &r->sites[id];
		if (!site->objects && !site->escaped && !site->freed)
			continue;
		render_record_begin(out);
		render_count(out, "site", id);
		counts(out, site, render_request_site_counts);
		json_out_object_end(out);
	}
	render_table_end(out);
}

void render_requests(struct json_out *out, const struct ledger_facts *facts, uint32_t sites_count)
{
	if (!facts || !facts->requests_at)
		return;
	const struct ledger_requests *r = ledger_requests(facts);
	json_out_line(out);
	json_out_key(out, "requests");
	json_out_object_begin(out);
	render_text(out, "boundary", r->boundary == BOUNDARY_TURN ? "turn" : NULL);
	render_flag(out, "io_uring", r->io_uring);
	counts(out, r, render_request_counts);
	for (const struct request_field *field = render_request_histograms; field->key[0]; field++)
		histogram(out, field->key, value_at(r, field));
	render_top(out, r);
	render_request_sites(out, r, sites_count);
	json_out_object_end(out);
}
