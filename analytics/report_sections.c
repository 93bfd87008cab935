/* report_sections.c: moves a parsed report from jansson's tree into the structs of report_load.h.
 *
 * Driven by tables of (key, offset), the writer's where it has one (render_fields.h), with types checked on the way.
 * The first thing that is wrong is kept with its path ("sites[3].alloc_space") and everything after it is still moved,
 * harmlessly: so no caller needs to look between two fields. A count is a JSON integer from 0 to 2^63 - 1. Texts stay
 * in jansson's tree, which the report owns.
 */
#include "analytics/report_sections.h"

#include "analytics/memory.h"
#include "analytics/render.h"
#include "analytics/render_fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where we are in the document, and what was wrong first. */
struct reader {
	const char *section; /* "sites" */
	size_t index;        /* of the record in the section */
	bool in_table;
	const struct report *report; /* so far */
	char wrong[160];             /* "" while all is good */
};

static void set_wrong(struct reader *in, const char *key, const char *what)
{
	if (in->wrong[0])
		return;
	if (in->in_table)
		snprintf(in->wrong, sizeof(in->wrong), "%s[%zu].%s %s", in->section, in->index, key, what);
	else
		snprintf(in->wrong, sizeof(in->wrong), "%s.%s %s", in->section, key, what);
}

static uint64_t get_count(struct reader *in, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < 0) {
		set_wrong(in, key, "is not a count");
		return 0;
	}
	return (uint64_t)json_integer_value(value);
}

static void get_counts(struct reader *in, const json_t *object, void *to, const struct render_field *fields)
{
	for (; fields->key[0]; fields++) {
		uint64_t value = get_count(in, object, fields->key);
		memcpy((char *)to + fields->at, &value, sizeof(value));
	}
}

/* The text, "" when it is missing; NULL, if `or_null`, when it is null. */
static const char *get_text(struct reader *in, const json_t *object, const char *key, bool or_null)
{
	const json_t *value = json_object_get(object, key);
	if (!value || json_is_null(value))
		return or_null ? NULL : "";
	if (!json_is_string(value)) {
		set_wrong(in, key, "is not text");
		return "";
	}
	return json_string_value(value);
}

static bool get_bool(struct reader *in, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	if (value && !json_is_boolean(value))
		set_wrong(in, key, "is neither true nor false");
	return json_is_true(value);
}

static uint64_t get_address(struct reader *in, const json_t *object, const char *key)
{
	const char *text = get_text(in, object, key, false);
	size_t digits = strlen(text) < 3 ? 0 : strspn(text + 2, "0123456789abcdef");
	if (!*text)
		return 0;
	if (memcmp(text, "0x", 2) != 0 || !digits || digits > 16 || text[2 + digits]) {
		set_wrong(in, key, "is not an address");
		return 0;
	}
	return strtoull(text, NULL, 16);
}

/* An object inside an object, or NULL: jansson's functions take NULL for an empty one. */
static const json_t *get_object(struct reader *in, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	if (value && !json_is_object(value)) {
		set_wrong(in, key, "is not an object");
		return NULL;
	}
	return value;
}

static void get_tally(struct reader *in, const json_t *object, struct ledger_tally *to)
{
	get_counts(in, object, to, render_tally_fields);
}

/* --- one function for each section -------------------------------------------------------------------------------- */

static void read_run(struct reader *in, const json_t *run, struct report *r)
{
	static const struct render_field fields[] = {
		{"pid", offsetof(struct report_run, pid)},
		{"ppid", offsetof(struct report_run, ppid)},
		{"start_unix_ns", offsetof(struct report_run, start_unix_ns)},
		{"duration_ns", offsetof(struct report_run, duration_ns)},
		{"", 0},
	};
	const json_t *argv = json_object_get(run, "argv");
	get_counts(in, run, &r->run, fields);
	r->run.exe = get_text(in, run, "exe", false);
	r->run.end = get_text(in, run, "end", false);
	r->run.fallback = get_text(in, run, "fallback", false);
	r->run.argv_truncated = get_bool(in, run, "argv_truncated");
	r->run.forked = get_bool(in, run, "forked");
	if (argv && !json_is_array(argv))
		set_wrong(in, "argv", "is not a list");
	r->run.argv = memory_room(json_array_size(argv), sizeof(r->run.argv[0]));
	for (size_t i = 0; i < json_array_size(argv); i++) {
		const char *word = json_string_value(json_array_get(argv, i));
		if (!word)
			set_wrong(in, "argv", "holds something else than text");
		r->run.argv[r->run.argc++] = word ? word : "";
	}
}

static void read_quality(struct reader *in, const json_t *quality, struct report_quality *q)
{
	static const struct render_field dropped[] = {
		{"sites", offsetof(struct report_quality, dropped_sites)},
		{"threads", offsetof(struct report_quality, dropped_threads)},
		{"mappings", offsetof(struct report_quality, dropped_mappings)},
		{"", 0},
	};
	q->site_counts = get_text(in, quality, "site_counts", false);
	q->live_threads = get_count(in, quality, "live_threads");
	q->untracked_frees = get_count(in, quality, "untracked_frees");
	get_counts(in, get_object(in, quality, "dropped"), q, dropped);
	const json_t *stacks = get_object(in, quality, "stacks");
	get_counts(in, stacks, &q->stacks, render_sampling_fields);
	get_counts(in, get_object(in, stacks, "error"), &q->stacks, render_error_fields);
}

static void read_memory(struct reader *in, const json_t *memory, struct ledger_memory *m)
{
	get_counts(in, memory, m, render_memory_fields);
	get_tally(in, memory, &m->tally);
}

static void read_resident(struct reader *in, const json_t *memory, struct ledger_resident *r)
{
	get_counts(in, get_object(in, memory, "resident_by"), r, render_resident_fields);
}

static void read_routing(struct reader *in, const json_t *routing, struct report *r)
{
	for (unsigned i = 0; i < LEDGER_ROUTES; i++)
		get_tally(in, get_object(in, routing, render_route_name(i)), &r->routes[i]);
	const json_t *fallback = get_object(in, routing, render_route_name(ROUTE_FALLBACK));
	const json_t *reasons = get_object(in, fallback, "reasons");
	for (unsigned i = 0; i < LEDGER_REASONS; i++)
		r->reasons[i] = get_count(in, reasons, render_reason_name(i));
}

static void read_class(struct reader *in, const json_t *record, void *to)
{
	static const struct render_field fields[] = {
		{"size", offsetof(struct ledger_class, size)},
		{"slab_size", offsetof(struct ledger_class, slab_size)},
		{"curslabs", offsetof(struct ledger_class, curslabs)},
		{"slots", offsetof(struct ledger_class, slots)},
		{"", 0},
	};
	struct ledger_class *c = to;
	get_tally(in, record, &c->tally);
	get_counts(in, record, c, fields);
	c->tally.alloc_objects = get_count(in, record, "nmalloc"); /* jemalloc's words, see render.c */
	c->tally.free_objects = get_count(in, record, "ndalloc");
	c->tally.inuse_objects = get_count(in, record, "curregs");
}

static void read_mapping(struct reader *in, const json_t *record, void *to)
{
	struct report_mapping *m = to;
	m->start = get_address(in, record, "start");
	m->limit = get_address(in, record, "limit");
	m->bias = get_address(in, record, "bias");
	m->path = get_text(in, record, "path", false);
	m->build_id = get_text(in, record, "build_id", false);
}

static int route_of(const char *name)
{
	for (int i = 0; name && i < LEDGER_ROUTES; i++)
		if (strcmp(name, render_route_name(i)) == 0)
			return i;
	return -1; /* none, or one that a later minor version added */
}

/* An index into a table that is read before; LEDGER_NONE, if `or_null`, when it is null or missing. */
static uint32_t get_index(struct reader *in, const json_t *object, const char *key, size_t count, bool or_null)
{
	const json_t *value = json_object_get(object, key);
	if (or_null && (!value || json_is_null(value)))
		return LEDGER_NONE;
	uint64_t index = get_count(in, object, key);
	if (!value || index >= count || index >= LEDGER_NONE) {
		set_wrong(in, key, "is not in the table that it points into");
		return LEDGER_NONE;
	}
	return (uint32_t)index;
}

static void read_frame(struct reader *in, const json_t *record, void *to)
{
	struct report_frame *f = to;
	f->mapping = get_index(in, record, "mapping", in->report->mappings_count, true);
	f->offset = get_address(in, record, "offset");
	f->symbol = get_text(in, record, "symbol", true);
	f->symbol_offset = get_count(in, record, "symbol_offset");
	if (json_object_get(record, "id") && get_count(in, record, "id") != in->index)
		set_wrong(in, "id", "is not its place in the table");
}

static void read_stack(struct reader *in, const json_t *record, void *to)
{
	struct report_stack *s = to;
	const json_t *frames = json_object_get(record, "frames");
	s->truncated = get_bool(in, record, "truncated");
	if (json_object_get(record, "id") && get_count(in, record, "id") != in->index)
		set_wrong(in, "id", "is not its place in the table");
	if (!json_is_array(frames))
		set_wrong(in, "frames", "is not a list");
	s->count = json_array_size(frames);
	s->frames = memory_room(s->count, sizeof(s->frames[0]));
	for (size_t i = 0; i < s->count; i++) {
		const json_t *value = json_array_get(frames, i);
		json_int_t index = json_is_integer(value) ? json_integer_value(value) : -1;
		if (index < 0 || (uint64_t)index >= in->report->frames_count || index >= LEDGER_NONE)
			set_wrong(in, "frames", "holds something else than indices of frames");
		else
			s->frames[i] = (uint32_t)index;
	}
}

static void read_site_stack(struct reader *in, const json_t *record, struct report_site *s)
{
	const struct report *r = in->report;
	uint64_t key_frames = get_count(in, record, "key_frames");
	s->stack = get_index(in, record, "stack", r->stacks_count, true);
	if (s->stack < r->stacks_count && key_frames > r->stacks[s->stack].count)
		s->stack = LEDGER_NONE; /* it ends too early: a table was full, or the process was killed as it was written */
	s->key_frames = key_frames && key_frames < LEDGER_NONE ? (uint32_t)key_frames : 1;
}

/* A histogram as render.c writes it; what is beyond `count` buckets is added to the last. */
static void get_histogram(struct reader *in, const json_t *object, const char *key, uint64_t *buckets, size_t count)
{
	const json_t *list = json_object_get(object, key), *value;
	if (list && !json_is_array(list))
		set_wrong(in, key, "is not a list");
	for (size_t i = 0; (value = json_array_get(list, i)); i++) {
		if (!json_is_integer(value) || json_integer_value(value) < 0)
			set_wrong(in, key, "holds something else than counts");
		buckets[i < count ? i : count - 1] += (uint64_t)json_integer_value(value);
	}
}

static void read_fact(struct reader *in, const json_t *record, struct ledger_fact *f)
{
	get_counts(in, record, f, render_fact_fields);
	get_counts(in, record, f, render_realloc_fields);
	get_histogram(in, record, "size_hist_log2", f->size_hist_log2, LEDGER_SIZES);
}

/* The ledger keeps no buckets below 2^shift: render.c writes them as empty. */
static void read_span(struct reader *in, const json_t *span, struct ledger_span *s, unsigned shift)
{
	uint64_t buckets[LEDGER_LIVES + LEDGER_LIFE_SHIFT_NS] = {0};
	get_counts(in, span, s, render_span_fields);
	get_histogram(in, span, "hist_log2", buckets, LEDGER_LIVES + shift);
	for (unsigned i = 0; i < LEDGER_LIVES + shift; i++)
		s->hist[i < shift ? 0 : i - shift] += buckets[i];
}

static void read_life(struct reader *in, const json_t *life, struct ledger_life *l)
{
	get_counts(in, life, l, render_life_fields);
	read_span(in, get_object(in, life, "ns"), &l->ns, LEDGER_LIFE_SHIFT_NS);
	read_span(in, get_object(in, life, "space"), &l->space, LEDGER_LIFE_SHIFT_SPACE);
}

static void read_sampled_stack(struct reader *in, const json_t *record, struct report_sampled_stack *s)
{
	if (!json_is_object(record))
		set_wrong(in, "sampled", "holds something else than stacks");
	s->stack = get_index(in, record, "stack", in->report->stacks_count, false);
	s->by_realloc = get_bool(in, record, "by_realloc");
	s->samples = get_count(in, record, "samples");
	s->weight = get_count(in, record, "weight");
}

static void read_sampled(struct reader *in, const json_t *sampled, struct report_sampled *s)
{
	const json_t *effective = json_object_get(sampled, "effective"), *stacks = json_object_get(sampled, "stacks");
	get_counts(in, sampled, &s->of, render_sampled_fields);
	s->standard_error = get_count(in, sampled, "standard_error");
	if ((effective && !json_is_number(effective)) || (stacks && !json_is_array(stacks)))
		set_wrong(in, "sampled", "is not what it should be");
	s->effective = json_number_value(effective);
	s->stacks_count = json_array_size(stacks);
	s->stacks = memory_room(s->stacks_count, sizeof(s->stacks[0]));
	for (size_t i = 0; i < s->stacks_count; i++)
		read_sampled_stack(in, json_array_get(stacks, i), &s->stacks[i]);
}

static void read_site(struct reader *in, const json_t *record, void *to)
{
	static const struct render_field fields[] = {
		{"id", offsetof(struct report_site, id)},
		{"symbol_offset", offsetof(struct report_site, symbol_offset)},
		{"realloc_objects", offsetof(struct report_site, realloc_objects)},
		{"cross_thread_free_objects", offsetof(struct report_site, cross_thread_free_objects)},
		{"", 0},
	};
	struct report_site *s = to;
	const json_t *mapping = json_object_get(record, "mapping");
	uint64_t index = get_count(in, record, "mapping");
	const json_t *routes = get_object(in, record, "routes");
	get_counts(in, record, s, fields);
	get_tally(in, record, &s->tally);
	s->offset = get_address(in, record, "offset");
	s->has_fact = json_object_get(record, "max_space");
	read_fact(in, record, &s->fact);
	read_life(in, get_object(in, record, "lifetimes"), &s->life);
	read_sampled(in, get_object(in, record, "sampled"), &s->sampled);
	s->symbol = get_text(in, record, "symbol", true);
	s->route = route_of(get_text(in, record, "route", true));
	s->other = get_bool(in, record, "other");
	read_site_stack(in, record, s);
	s->mapping = !mapping || json_is_null(mapping) || index >= LEDGER_NONE ? LEDGER_NONE : (uint32_t)index;
	for (unsigned i = 0; i < LEDGER_ROUTES; i++) {
		const json_t *share = get_object(in, routes, render_route_name(i));
		s->route_objects[i] = get_count(in, share, "alloc_objects");
		s->route_space[i] = get_count(in, share, "alloc_space");
	}
}

static void read_thread(struct reader *in, const json_t *record, void *to)
{
	static const struct render_field fields[] = {
		{"tid", offsetof(struct report_thread, tid)},
		{"start_unix_ns", offsetof(struct report_thread, start_unix_ns)},
		{"end_unix_ns", offsetof(struct report_thread, end_unix_ns)},
		{"alloc_objects", offsetof(struct report_thread, alloc_objects)},
		{"alloc_space", offsetof(struct report_thread, alloc_space)},
		{"", 0},
	};
	struct report_thread *t = to;
	get_counts(in, record, t, fields);
	t->name = get_text(in, record, "name", false);
}

/* A table of records of `size` bytes each. Returns the records, released by free(). */
static void *read_table(struct reader *in, const json_t *root, const char *key, size_t size, size_t *count,
                        void read(struct reader *in, const json_t *record, void *to))
{
	const json_t *table = json_object_get(root, key);
	*count = json_array_size(table);
	char *records = memory_room(*count, size);
	in->section = "report";
	in->in_table = false;
	if (table && !json_is_array(table))
		set_wrong(in, key, "is not a list");
	in->section = key;
	in->in_table = true;
	for (in->index = 0; in->index < *count; in->index++) {
		const json_t *record = json_array_get(table, in->index);
		if (!json_is_object(record))
			set_wrong(in, "", "is not an object");
		read(in, record, records + in->index * size);
	}
	in->in_table = false;
	return records;
}

static const json_t *section(struct reader *in, const json_t *root, const char *key)
{
	in->section = "report";
	const json_t *found = get_object(in, root, key);
	in->section = key;
	return found;
}

static void read_all(struct reader *in, const json_t *root, struct report *r)
{
	r->schema_version = get_text(in, root, "schema_version", false);
	r->tool_version = get_text(in, root, "tool_version", false);
	read_run(in, section(in, root, "run"), r);
	read_quality(in, section(in, root, "quality"), &r->quality);
	read_memory(in, section(in, root, "memory"), &r->memory);
	read_resident(in, json_object_get(root, "memory"), &r->resident);
	read_routing(in, section(in, root, "routing"), r);
	r->classes = read_table(in, root, "classes", sizeof(*r->classes), &r->classes_count, read_class);
	r->mappings = read_table(in, root, "mappings", sizeof(*r->mappings), &r->mappings_count, read_mapping);
	r->frames = read_table(in, root, "frames", sizeof(*r->frames), &r->frames_count, read_frame);
	r->stacks = read_table(in, root, "stacks", sizeof(*r->stacks), &r->stacks_count, read_stack);
	r->sites = read_table(in, root, "sites", sizeof(*r->sites), &r->sites_count, read_site);
	r->threads = read_table(in, root, "threads", sizeof(*r->threads), &r->threads_count, read_thread);
	for (size_t i = 0; i < r->sites_count; i++)
		if (r->sites[i].mapping >= r->mappings_count)
			r->sites[i].mapping = LEDGER_NONE;
}

bool report_read_sections(struct report *r, const json_t *root, char *wrong, size_t wrong_bytes)
{
	struct reader in = {.section = "report", .report = r};
	read_all(&in, root, r);
	snprintf(wrong, wrong_bytes, "%s", in.wrong);
	r->requests = report_read_requests(json_object_get(root, "requests"), &r->request_sites, wrong, wrong_bytes);
	return !wrong[0];
}
