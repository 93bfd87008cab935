/* render.c: writes a ledger out as the JSON report; see render.h for the contract.
 *
 * One pass from front to back, in the order of the tables, with no memory of its own but a view: the sections of the
 * ledger with every count cut back to what fits inside. The counts are read once, into the view, because a ledger of a
 * live process may grow meanwhile. Sorting and names are the command's business; here each table keeps its order and
 * each record stands on a line of its own, so that grep and diff work on a report.
 *
 * Counters are written as JSON integers no larger than 2^63 - 1, since that is what most readers can hold; no true
 * count comes near it. Addresses and build-ids are strings.
 */
#include "analytics/render.h"

#include "analytics/version.h"

#include <errno.h>
#include <string.h>

struct view {
	const struct ledger_header *l;
	const struct ledger_class *classes;
	const struct ledger_mapping *mappings;
	const struct ledger_thread *threads;
	const struct ledger_site *sites;
	const struct ledger_frame *frames;
	const struct ledger_stack *stacks;
	const uint32_t *stack_ids;
	const char *strings;
	uint32_t classes_count, mappings_count, threads_count, sites_count, strings_bytes;
	const struct ledger_facts *facts; /* NULL: none */
	uint32_t frames_count, stacks_count, stack_ids_count;
};

const char *render_route_name(enum ledger_route route)
{
	static const char *const names[LEDGER_ROUTES] = {"owned", "shared", "arena", "fallback"};
	return names[route];
}

const char *render_reason_name(enum ledger_reason reason)
{
	static const char *const names[LEDGER_REASONS] = {"large", "aligned", "capacity", "range", "memory", "thread"};
	return names[reason];
}

/* How many records of `size` bytes may be read at offset `at`: at most `count`, none when the offset is nonsense. */
static uint32_t clamp(const struct ledger_header *l, uint64_t at, uint32_t count, size_t size, uint32_t max)
{
	if (at < sizeof(*l) || at > l->total_bytes || at % _Alignof(uint64_t))
		return 0;
	uint64_t room = (l->total_bytes - at) / size;
	count = count < max ? count : max;
	return room < count ? (uint32_t)room : count;
}

static bool view_open(struct view *v, const struct ledger_header *l)
{
	if (memcmp(l->magic, LEDGER_MAGIC, sizeof(l->magic)) != 0 || l->version != LEDGER_VERSION ||
	    l->header_bytes != sizeof(*l) || l->total_bytes < sizeof(*l))
		return false;
	v->l = l;
	v->classes_count = clamp(l, l->classes_at, l->classes_count, sizeof(*v->classes), LEDGER_CLASSES_MAX);
	v->mappings_count = clamp(l, l->mappings_at, l->mappings_count, sizeof(*v->mappings), LEDGER_MAPPINGS_MAX);
	v->threads_count = clamp(l, l->threads_at, l->threads_count, sizeof(*v->threads), LEDGER_THREADS_MAX);
	v->strings_bytes = clamp(l, l->strings_at, l->strings_used, 1, LEDGER_STRINGS_BYTES);
	v->sites_count = clamp(l, l->sites_at, l->sites_count, sizeof(*v->sites), LEDGER_SITES_MAX + 1);
	v->classes = v->classes_count ? ledger_classes(l) : NULL;
	v->mappings = v->mappings_count ? ledger_mappings(l) : NULL;
	v->threads = v->threads_count ? ledger_threads(l) : NULL;
	v->strings = v->strings_bytes ? ledger_strings(l) : NULL;
	v->sites = v->sites_count ? ledger_sites(l) : NULL;
	v->frames_count = clamp(l, l->frames_at, l->frames_count, sizeof(*v->frames), LEDGER_FRAMES_MAX);
	v->stacks_count = clamp(l, l->stacks_at, l->stacks_count, sizeof(*v->stacks), LEDGER_STACKS_MAX);
	v->stack_ids_count = clamp(l, l->stack_ids_at, l->stack_ids_count, sizeof(*v->stack_ids), LEDGER_STACK_IDS_MAX);
	v->frames = v->frames_count ? ledger_frames(l) : NULL;
	v->stacks = v->stacks_count ? ledger_stacks(l) : NULL;
	v->stack_ids = v->stack_ids_count ? ledger_stack_ids(l) : NULL;
	return true;
}

static void count(struct json_out *out, const char *key, uint64_t value)
{
	json_out_key(out, key);
	json_out_u64(out, value < INT64_MAX ? value : INT64_MAX);
}

static void flag(struct json_out *out, const char *key, bool value)
{
	json_out_key(out, key);
	json_out_bool(out, value);
}

static void text(struct json_out *out, const char *key, const char *value)
{
	json_out_key(out, key);
	json_out_string(out, value);
}

static void hex(struct json_out *out, const char *key, uint64_t value)
{
	json_out_key(out, key);
	json_out_hex(out, value);
}

static size_t string_length(const struct view *v, uint32_t at)
{
	return at < v->strings_bytes ? strnlen(v->strings + at, v->strings_bytes - at) : 0;
}

/* The value of a ledger string; one that points outside reads as empty. */
static void ledger_text(struct json_out *out, const struct view *v, struct ledger_string s)
{
	size_t length = string_length(v, s.at);
	json_out_string_n(out, length ? v->strings + s.at : "", length);
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

static bool tally_is_zero(const struct ledger_tally *t)
{
	return !(t->alloc_objects | t->alloc_space | t->free_objects | t->inuse_objects | t->inuse_space |
	         t->inherited_objects | t->inherited_space);
}

/* --- run, quality, memory, routing -------------------------------------------------------------------------------- */

static void render_argv(struct json_out *out, const struct view *v)
{
	uint32_t at = v->l->run.argv.at;
	json_out_key(out, "argv");
	json_out_array_begin(out);
	for (uint32_t i = 0; i < v->l->run.argc && at && at < v->strings_bytes; i++) {
		size_t length = string_length(v, at);
		json_out_string_n(out, v->strings + at, length);
		at += (uint32_t)length + 1;
	}
	json_out_array_end(out);
}

static void render_end(struct json_out *out, const struct ledger_run *run)
{
	static const char *const names[] = {"live", "exit", "signal:", "killed", "exec"};
	char name[16];
	const char *known = names[run->end <= END_EXEC ? run->end : END_LIVE];
	size_t length = strlen(known);
	memcpy(name, known, length);
	if (run->end == END_SIGNAL) {
		unsigned signal = run->signal % 100;
		if (signal >= 10)
			name[length++] = (char)('0' + signal / 10);
		name[length++] = (char)('0' + signal % 10);
	}
	json_out_key(out, "end");
	json_out_string_n(out, name, length);
}

/* A damaged ledger may name a key twice; a JSON object must not. */
static bool conf_key_seen(const struct view *v, const struct ledger_run *run, uint32_t number)
{
	const char *key = v->strings + run->conf_keys[number].at;
	size_t length = strlen(key);
	for (uint32_t i = 0; i < number; i++)
		if (string_length(v, run->conf_keys[i].at) == length &&
		    memcmp(v->strings + run->conf_keys[i].at, key, length) == 0)
			return true;
	return false;
}

static void render_run(struct json_out *out, const struct view *v)
{
	const struct ledger_run *run = &v->l->run;
	json_out_key(out, "run");
	json_out_object_begin(out);
	count(out, "pid", run->pid);
	count(out, "ppid", run->ppid);
	json_out_key(out, "exe");
	ledger_text(out, v, run->exe);
	render_argv(out, v);
	flag(out, "argv_truncated", run->argv_truncated);
	flag(out, "forked", run->forked);
	count(out, "start_unix_ns", run->start_unix_ns);
	count(out, "duration_ns", run->duration_ns);
	render_end(out, run);
	json_out_key(out, "conf");
	json_out_object_begin(out);
	for (uint32_t i = 0; i < run->conf_count && i < LEDGER_CONF_MAX; i++) {
		size_t length = string_length(v, run->conf_keys[i].at);
		if (!length || run->conf_keys[i].at + length >= v->strings_bytes ||
		    conf_key_seen(v, run, i)) /* needs its NUL */
			continue;
		json_out_key(out, v->strings + run->conf_keys[i].at);
		ledger_text(out, v, run->conf_values[i]);
	}
	json_out_object_end(out);
	json_out_key(out, "fallback");
	ledger_text(out, v, run->fallback);
	json_out_object_end(out);
}

static void render_quality(struct json_out *out, const struct ledger_quality *q)
{
	json_out_key(out, "quality");
	json_out_object_begin(out);
	text(out, "site_counts", q->untracked_frees ? "incomplete" : q->live_threads ? "racing" : "exact");
	count(out, "live_threads", q->live_threads);
	count(out, "untracked_frees", q->untracked_frees);
	json_out_key(out, "dropped");
	json_out_object_begin(out);
	count(out, "sites", q->dropped_sites);
	count(out, "threads", q->dropped_threads);
	count(out, "mappings", q->dropped_mappings);
	count(out, "frames", q->dropped_frames);
	count(out, "stacks", q->dropped_stacks);
	json_out_object_end(out);
	json_out_key(out, "callers");
	json_out_object_begin(out);
	count(out, "wrappers", q->wrappers);
	count(out, "unwound", q->unwound);
	count(out, "wrong", q->wrong_callers);
	json_out_object_end(out);
	json_out_object_end(out);
}

static void render_resident(struct json_out *out, const struct ledger_resident *r)
{
	json_out_key(out, "resident_by");
	json_out_object_begin(out);
	count(out, "blocks", r->blocks);
	count(out, "slack", r->slack);
	count(out, "retained", r->retained);
	count(out, "metadata", r->metadata);
	count(out, "fallback", r->fallback);
	count(out, "program", r->program);
	count(out, "unattributed", r->unattributed);
	count(out, "total", r->resident);
	json_out_object_end(out);
}

static void render_memory(struct json_out *out, const struct ledger_memory *m, const struct ledger_facts *facts)
{
	uint64_t explained = m->active + m->metadata + m->retained;
	json_out_key(out, "memory");
	json_out_object_begin(out);
	count(out, "requested", m->tally.alloc_space);
	count(out, "allocated", m->tally.inuse_space);
	count(out, "active", m->active);
	count(out, "metadata", m->metadata);
	count(out, "resident", m->resident);
	count(out, "mapped", m->mapped);
	count(out, "retained", m->retained);
	count(out, "purged", m->purged);
	count(out, "pressure_trims", m->pressure_trims);
	count(out, "peak_allocated", m->peak_allocated);
	count(out, "peak_slack", m->peak_slack);
	count(out, "peak_active", m->peak_active);
	count(out, "peak_resident", m->peak_resident);
	count(out, "unattributed", m->resident > explained ? m->resident - explained : 0);
	tally(out, &m->tally);
	if (facts && facts->resident.resident)
		render_resident(out, &facts->resident);
	json_out_object_end(out);
}

static void render_routing(struct json_out *out, const struct ledger_header *l)
{
	json_out_key(out, "routing");
	json_out_object_begin(out);
	for (unsigned i = 0; i < LEDGER_ROUTES; i++) {
		json_out_line(out);
		json_out_key(out, render_route_name(i));
		json_out_object_begin(out);
		tally(out, &l->routes[i]);
		json_out_key(out, "moved_objects");
		json_out_i64(out, l->routes_moved[i]);
		if (i == ROUTE_FALLBACK) {
			json_out_key(out, "reasons");
			json_out_object_begin(out);
			for (unsigned reason = 0; reason < LEDGER_REASONS; reason++)
				count(out, render_reason_name(reason), l->fallback_reasons[reason]);
			json_out_object_end(out);
		}
		json_out_object_end(out);
	}
	json_out_object_end(out);
}

/* --- the tables, a record a line ---------------------------------------------------------------------------------- */

static void table_begin(struct json_out *out, const char *key)
{
	json_out_line(out);
	json_out_key(out, key);
	json_out_array_begin(out);
}

static void record_begin(struct json_out *out)
{
	json_out_line(out);
	json_out_object_begin(out);
}

static void table_end(struct json_out *out)
{
	json_out_line(out);
	json_out_array_end(out);
}

/* Classes speak jemalloc's words: nmalloc, ndalloc and curregs are its alloc, free and inuse objects. */
static void render_classes(struct json_out *out, const struct view *v)
{
	table_begin(out, "classes");
	for (uint32_t i = 0; i < v->classes_count; i++) {
		const struct ledger_class *c = &v->classes[i];
		if (tally_is_zero(&c->tally) && !c->curslabs)
			continue;
		record_begin(out);
		count(out, "size", c->size);
		count(out, "slab_size", c->slab_size);
		count(out, "nmalloc", c->tally.alloc_objects);
		count(out, "ndalloc", c->tally.free_objects);
		count(out, "curregs", c->tally.inuse_objects);
		count(out, "curslabs", c->curslabs);
		count(out, "slots", c->slots);
		json_out_key(out, "util");
		json_out_ratio(out, c->tally.inuse_objects, c->slots, 4);
		count(out, "alloc_space", c->tally.alloc_space);
		count(out, "inuse_space", c->tally.inuse_space);
		count(out, "inherited_objects", c->tally.inherited_objects);
		count(out, "inherited_space", c->tally.inherited_space);
		json_out_object_end(out);
	}
	table_end(out);
}

static void render_mappings(struct json_out *out, const struct view *v)
{
	table_begin(out, "mappings");
	for (uint32_t i = 0; i < v->mappings_count; i++) {
		const struct ledger_mapping *m = &v->mappings[i];
		record_begin(out);
		hex(out, "start", m->start);
		hex(out, "limit", m->limit);
		hex(out, "bias", m->bias);
		json_out_key(out, "path");
		ledger_text(out, v, m->path);
		json_out_key(out, "build_id");
		json_out_hex_bytes(out, m->build_id,
		                   m->build_id_bytes < LEDGER_BUILD_ID_MAX ? m->build_id_bytes : LEDGER_BUILD_ID_MAX);
		json_out_object_end(out);
	}
	table_end(out);
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
		count(out, "alloc_objects", s->route_objects[i]);
		count(out, "alloc_space", s->route_space[i]);
		json_out_object_end(out);
	}
	json_out_object_end(out);
}

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
	count(out, "count", s->count);
	count(out, "weight", s->weight);
	count(out, "min", s->min);
	count(out, "max", s->max);
	count(out, "sum", s->sum);
	histogram(out, "hist_log2", buckets, LEDGER_LIVES + shift);
	json_out_object_end(out);
}

static void render_life(struct json_out *out, const struct ledger_life *life)
{
	json_out_key(out, "lifetimes");
	json_out_object_begin(out);
	render_span(out, "ns", &life->ns, LEDGER_LIFE_SHIFT_NS);
	render_span(out, "space", &life->space, LEDGER_LIFE_SHIFT_SPACE);
	count(out, "censored", life->censored);
	count(out, "censored_weight", life->censored_weight);
	count(out, "judged", life->judged);
	count(out, "judged_squares", life->judged_squares);
	count(out, "short_weight", life->short_weight);
	count(out, "long_weight", life->long_weight);
	json_out_object_end(out);
}

static void render_reallocs(struct json_out *out, const struct ledger_fact *f)
{
	count(out, "realloc_moved_objects", f->realloc_moved_objects);
	count(out, "realloc_grown_space", f->realloc_grown_space);
	count(out, "realloc_shrunk_space", f->realloc_shrunk_space);
	count(out, "realloc_copied_space", f->realloc_copied_space);
}

static void render_fact(struct json_out *out, const struct ledger_fact *f, const struct ledger_facts *facts)
{
	count(out, "max_space", f->max_space);
	count(out, "max_slack", f->max_slack);
	count(out, "slack_space", f->slack_space);
	count(out, "resident_space", f->resident_space);
	histogram(out, "size_hist_log2", f->size_hist_log2, LEDGER_SIZES);
	if (f->realloc_moved_objects | f->realloc_grown_space | f->realloc_shrunk_space)
		render_reallocs(out, f);
	if (f->life && f->life <= facts->lives_count)
		render_life(out, &ledger_lives(facts)[f->life - 1]);
}

/* What sites and frames say of where they are. */
static void place(struct json_out *out, const struct view *v, const struct ledger_frame *f)
{
	bool named = string_length(v, f->symbol.at);
	json_out_key(out, "mapping");
	if (f->mapping < v->mappings_count)
		json_out_u64(out, f->mapping);
	else
		json_out_null(out);
	hex(out, "offset", f->offset);
	json_out_key(out, "symbol");
	if (named)
		ledger_text(out, v, f->symbol);
	else
		json_out_null(out);
	count(out, "symbol_offset", named ? f->symbol_offset : 0);
}

static void site_stack(struct json_out *out, const struct view *v, const struct ledger_site *s)
{
	bool known = s->stack < v->stacks_count;
	uint32_t most = known ? v->stacks[s->stack].count : 1;
	json_out_key(out, "stack");
	if (known)
		json_out_u64(out, s->stack);
	else
		json_out_null(out);
	count(out, "key_frames", s->key_frames < most ? s->key_frames : most);
}

static void render_site(struct json_out *out, const struct view *v, uint32_t id, bool other)
{
	const struct ledger_site *s = &v->sites[id];
	struct ledger_frame at = {
		.offset = s->offset, .mapping = s->mapping, .symbol = s->symbol, .symbol_offset = s->symbol_offset};
	record_begin(out);
	count(out, "id", id);
	if (other)
		flag(out, "other", true);
	place(out, v, &at);
	site_stack(out, v, s);
	site_route(out, s);
	tally(out, &s->tally);
	count(out, "realloc_objects", s->realloc_objects);
	count(out, "cross_thread_free_objects", s->cross_thread_free_objects);
	if (v->facts && id < v->facts->sites_count)
		render_fact(out, &v->facts->sites[id], v->facts);
	json_out_object_end(out);
}

static bool site_is_idle(const struct ledger_site *s)
{
	return tally_is_zero(&s->tally) && !s->realloc_objects && !s->cross_thread_free_objects;
}

/* In the table's order, but "other" (no pc) last, wherever the table keeps it. */
static void render_sites(struct json_out *out, const struct view *v)
{
	table_begin(out, "sites");
	for (int other = 0; other <= 1; other++)
		for (uint32_t id = 0; id < v->sites_count; id++)
			if ((v->sites[id].pc ? 0 : 1) == other && !site_is_idle(&v->sites[id]))
				render_site(out, v, id, other);
	table_end(out);
}

static void render_threads(struct json_out *out, const struct view *v)
{
	table_begin(out, "threads");
	for (uint32_t i = 0; i < v->threads_count; i++) {
		const struct ledger_thread *t = &v->threads[i];
		record_begin(out);
		count(out, "tid", t->tid);
		json_out_key(out, "name");
		json_out_string_n(out, t->name, strnlen(t->name, sizeof(t->name)));
		count(out, "start_unix_ns", t->start_unix_ns);
		json_out_key(out, "end_unix_ns");
		if (t->end_unix_ns)
			json_out_u64(out, t->end_unix_ns < INT64_MAX ? t->end_unix_ns : INT64_MAX);
		else
			json_out_null(out);
		count(out, "alloc_objects", t->alloc_objects);
		count(out, "alloc_space", t->alloc_space);
		json_out_object_end(out);
	}
	table_end(out);
}

static void render_frames(struct json_out *out, const struct view *v)
{
	table_begin(out, "frames");
	for (uint32_t id = 0; id < v->frames_count; id++) {
		record_begin(out);
		count(out, "id", id);
		place(out, v, &v->frames[id]);
		json_out_object_end(out);
	}
	table_end(out);
}

static void render_stacks(struct json_out *out, const struct view *v)
{
	table_begin(out, "stacks");
	for (uint32_t id = 0; id < v->stacks_count; id++) {
		const struct ledger_stack *s = &v->stacks[id];
		record_begin(out);
		count(out, "id", id);
		json_out_key(out, "frames");
		json_out_array_begin(out);
		for (uint32_t i = 0; i < s->count && (uint64_t)s->at + i < v->stack_ids_count; i++)
			if (v->stack_ids[s->at + i] < v->frames_count)
				json_out_u64(out, v->stack_ids[s->at + i]);
		json_out_array_end(out);
		flag(out, "truncated", s->truncated);
		json_out_object_end(out);
	}
	table_end(out);
}

int render_report(const struct ledger_header *l, const struct ledger_facts *facts, struct json_out *out)
{
	struct view v;
	if (!view_open(&v, l))
		return EINVAL;
	v.facts = facts;
	json_out_object_begin(out);
	text(out, "schema", REPORT_SCHEMA);
	text(out, "schema_version", REPORT_SCHEMA_VERSION);
	text(out, "tool_version", SLUICE_VERSION);
	json_out_line(out);
	render_run(out, &v);
	json_out_line(out);
	render_quality(out, &l->quality);
	json_out_line(out);
	render_memory(out, &l->memory, facts);
	json_out_line(out);
	render_routing(out, l);
	render_classes(out, &v);
	render_mappings(out, &v);
	render_sites(out, &v);
	render_threads(out, &v);
	render_frames(out, &v);
	render_stacks(out, &v);
	json_out_object_end(out);
	json_out_line(out);
	return json_out_close(out);
}
