/* report_requests.c: see report_requests.h. As report_sections.c, by the tables that the writer goes by. */
#include "analytics/report_requests.h"

#include "analytics/memory.h"
#include "analytics/render_requests.h"

#include <stdio.h>
#include <string.h>

struct reader {
	char *wrong;
	size_t wrong_bytes;
};

static void set_wrong(struct reader *in, const char *key, const char *what)
{
	if (!in->wrong[0])
		snprintf(in->wrong, in->wrong_bytes, "requests.%s %s", key, what);
}

static uint64_t get_count(struct reader *in, const json_t *value, const char *key)
{
	if (!value)
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < 0) {
		set_wrong(in, key, "is not a count");
		return 0;
	}
	return (uint64_t)json_integer_value(value);
}

static void get_counts(struct reader *in, const json_t *object, void *to, const struct request_field *fields)
{
	for (; fields->key[0]; fields++) {
		uint64_t value = get_count(in, json_object_get(object, fields->key), fields->key);
		memcpy((char *)to + fields->at, &value, sizeof(value));
	}
}

/* An array, whose length is told; NULL and 0 when there is none. */
static const json_t *get_array(struct reader *in, const json_t *object, const char *key, size_t *length)
{
	const json_t *array = json_object_get(object, key);
	if (array && !json_is_array(array))
		set_wrong(in, key, "is not a list");
	*length = json_array_size(array);
	return array;
}

static void get_histograms(struct reader *in, const json_t *section, struct ledger_requests *r)
{
	for (const struct request_field *field = render_request_histograms; field->key[0]; field++) {
		size_t length;
		const json_t *array = get_array(in, section, field->key, &length);
		for (size_t i = 0; i < length && i < LEDGER_REQUEST_BUCKETS; i++) {
			uint64_t value = get_count(in, json_array_get(array, i), field->key);
			memcpy((char *)r + field->at + i * sizeof(value), &value, sizeof(value));
		}
	}
}

static void get_top(struct reader *in, const json_t *record, struct ledger_request_top *top)
{
	size_t length;
	get_counts(in, record, top, render_request_top_counts);
	const json_t *parts = get_array(in, record, "sites", &length);
	for (; top->parts_count < length && top->parts_count < LEDGER_REQUEST_TOP_SITES; top->parts_count++)
		get_counts(in, json_array_get(parts, top->parts_count), &top->parts[top->parts_count],
		           render_request_part_counts);
}

struct ledger_requests *report_read_requests(const json_t *section, struct report_request_sites *sites, char *wrong,
                                             size_t wrong_bytes)
{
	struct reader in = {wrong, wrong_bytes};
	size_t length;
	*sites = (struct report_request_sites){0};
	if (!section)
		return NULL;
	if (!json_is_object(section))
		set_wrong(&in, "", "is not an object");
	struct ledger_requests *r = memory_room(1, sizeof(*r));
	r->boundary = json_is_string(json_object_get(section, "boundary")) ? BOUNDARY_TURN : BOUNDARY_NONE;
	r->io_uring = json_is_true(json_object_get(section, "io_uring"));
	get_counts(&in, section, r, render_request_counts);
	get_histograms(&in, section, r);
	const json_t *top = get_array(&in, section, "top", &length);
	for (; r->top_count < length && r->top_count < LEDGER_REQUEST_TOP; r->top_count++)
		get_top(&in, json_array_get(top, r->top_count), &r->top[r->top_count]);
	const json_t *table = get_array(&in, section, "sites", &sites->count);
	sites->sites = memory_room(sites->count, sizeof(*sites->sites));
	for (size_t i = 0; i < sites->count; i++) {
		const json_t *record = json_array_get(table, i);
		sites->sites[i].id = get_count(&in, json_object_get(record, "site"), "site");
		get_counts(&in, record, &sites->sites[i].of, render_request_site_counts);
	}
	return r;
}
