/* render.c: writes a ledger out as the JSON report; see render.h for the contract.
 *
 * One pass from front to back, in the order of the tables, with no memory of its own but a view (render_view.h).
 * Sorting and names are the command's business; here each table keeps its order and each record stands on a line of
 * its own, so that grep and diff work on a report. Sites, frames and stacks are written by render_sites.c.
 *
 * Addresses and build-ids are strings.
 */
#include "analytics/render.h"

#include "analytics/render_requests.h"
#include "analytics/render_samples.h"
#include "analytics/render_sites.h"
#include "analytics/render_values.h"
#include "analytics/version.h"

#include <errno.h>
#include <string.h>

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

/* --- run, quality, memory, routing -------------------------------------------------------------------------------- */

static void render_argv(struct json_out *out, const struct render_view *v)
{
	uint32_t at = v->l->run.argv.at;
	json_out_key(out, "argv");
	json_out_array_begin(out);
	for (uint32_t i = 0; i < v->l->run.argc && at && at < v->strings_bytes; i++) {
		size_t length = render_string_length(v, at);
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
static bool conf_key_seen(const struct render_view *v, const struct ledger_run *run, uint32_t number)
{
	const char *key = v->strings + run->conf_keys[number].at;
	size_t length = strlen(key);
	for (uint32_t i = 0; i < number; i++)
		if (render_string_length(v, run->conf_keys[i].at) == length &&
		    memcmp(v->strings + run->conf_keys[i].at, key, length) == 0)
			return true;
	return false;
}

static void render_run(struct json_out *out, const struct render_view *v)
{
	const struct ledger_run *run = &v->l->run;
	json_out_key(out, "run");
	json_out_object_begin(out);
	render_count(out, "pid", run->pid);
	render_count(out, "ppid", run->ppid);
	json_out_key(out, "exe");
	render_string(out, v, run->exe);
	render_argv(out, v);
	render_flag(out, "argv_truncated", run->argv_truncated);
	render_flag(out, "forked", run->forked);
	render_count(out, "start_unix_ns", run->start_unix_ns);
	render_count(out, "duration_ns", run->duration_ns);
	render_end(out, run);
	json_out_key(out, "conf");
	json_out_object_begin(out);
	for (uint32_t i = 0; i < run->conf_count && i < LEDGER_CONF_MAX; i++) {
		size_t length = render_string_length(v, run->conf_keys[i].at);
		if (!length || run->conf_keys[i].at + length >= v->strings_bytes ||
		    conf_key_seen(v, run, i)) /* needs its NUL */
			continue;
		json_out_key(out, v->strings + run->conf_keys[i].at);
		render_string(out, v, run->conf_values[i]);
	}
	json_out_object_end(out);
	json_out_key(out, "fallback");
	render_string(out, v, run->fallback);
	json_out_object_end(out);
}

static void render_quality(struct json_out *out, const struct ledger_quality *q, const struct ledger_facts *facts)
{
	json_out_key(out, "quality");
	json_out_object_begin(out);
	render_text(out, "site_counts", q->untracked_frees ? "incomplete" : q->live_threads ? "racing" : "exact");
	render_count(out, "live_threads", q->live_threads);
	render_count(out, "untracked_frees", q->untracked_frees);
	json_out_key(out, "dropped");
	json_out_object_begin(out);
	render_count(out, "sites", q->dropped_sites);
	render_count(out, "threads", q->dropped_threads);
	render_count(out, "mappings", q->dropped_mappings);
	render_count(out, "frames", q->dropped_frames);
	render_count(out, "stacks", q->dropped_stacks);
	json_out_object_end(out);
	json_out_key(out, "callers");
	json_out_object_begin(out);
	render_count(out, "wrappers", q->wrappers);
	render_count(out, "unwound", q->unwound);
	render_count(out, "wrong", q->wrong_callers);
	json_out_object_end(out);
	if (facts)
		render_sampling(out, &facts->sampling);
	json_out_object_end(out);
}

static void render_resident(struct json_out *out, const struct ledger_resident *r)
{
	json_out_key(out, "resident_by");
	json_out_object_begin(out);
	render_counts(out, r, render_resident_fields);
	json_out_object_end(out);
}

static void render_memory(struct json_out *out, const struct ledger_memory *m, const struct ledger_facts *facts)
{
	uint64_t explained = m->active + m->metadata + m->retained;
	json_out_key(out, "memory");
	json_out_object_begin(out);
	render_count(out, "requested", m->tally.alloc_space);
	render_count(out, "allocated", m->tally.inuse_space);
	render_counts(out, m, render_memory_fields);
	render_count(out, "unattributed", m->resident > explained ? m->resident - explained : 0);
	render_tally(out, &m->tally);
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
		render_tally(out, &l->routes[i]);
		json_out_key(out, "moved_objects");
		json_out_i64(out, l->routes_moved[i]);
		if (i == ROUTE_FALLBACK) {
			json_out_key(out, "reasons");
			json_out_object_begin(out);
			for (unsigned reason = 0; reason < LEDGER_REASONS; reason++)
				render_count(out, render_reason_name(reason), l->fallback_reasons[reason]);
			json_out_object_end(out);
		}
		json_out_object_end(out);
	}
	json_out_object_end(out);
}

/* --- the tables, a record a line ---------------------------------------------------------------------------------- */

/* Classes speak jemalloc's words: nmalloc, ndalloc and curregs are its alloc, free and inuse objects. */
static void render_classes(struct json_out *out, const struct render_view *v)
{
	render_table_begin(out, "classes");
	for (uint32_t i = 0; i < v->classes_count; i++) {
		const struct ledger_class *c = &v->classes[i];
		if (render_tally_is_zero(&c->tally) && !c->curslabs)
			continue;
		render_record_begin(out);
		render_count(out, "size", c->size);
		render_count(out, "slab_size", c->slab_size);
		render_count(out, "nmalloc", c->tally.alloc_objects);
		render_count(out, "ndalloc", c->tally.free_objects);
		render_count(out, "curregs", c->tally.inuse_objects);
		render_count(out, "curslabs", c->curslabs);
		render_count(out, "slots", c->slots);
		json_out_key(out, "util");
		json_out_ratio(out, c->tally.inuse_objects, c->slots, 4);
		render_count(out, "alloc_space", c->tally.alloc_space);
		render_count(out, "inuse_space", c->tally.inuse_space);
		render_count(out, "inherited_objects", c->tally.inherited_objects);
		render_count(out, "inherited_space", c->tally.inherited_space);
		json_out_object_end(out);
	}
	render_table_end(out);
}

static void render_mappings(struct json_out *out, const struct render_view *v)
{
	render_table_begin(out, "mappings");
	for (uint32_t i = 0; i < v->mappings_count; i++) {
		const struct ledger_mapping *m = &v->mappings[i];
		render_record_begin(out);
		render_hex(out, "start", m->start);
		render_hex(out, "limit", m->limit);
		render_hex(out, "bias", m->bias);
		json_out_key(out, "path");
		render_string(out, v, m->path);
		json_out_key(out, "build_id");
		json_out_hex_bytes(out, m->build_id,
		                   m->build_id_bytes < LEDGER_BUILD_ID_MAX ? m->build_id_bytes : LEDGER_BUILD_ID_MAX);
		json_out_object_end(out);
	}
	render_table_end(out);
}

static void render_threads(struct json_out *out, const struct render_view *v)
{
	render_table_begin(out, "threads");
	for (uint32_t i = 0; i < v->threads_count; i++) {
		const struct ledger_thread *t = &v->threads[i];
		render_record_begin(out);
		render_count(out, "tid", t->tid);
		json_out_key(out, "name");
		json_out_string_n(out, t->name, strnlen(t->name, sizeof(t->name)));
		render_count(out, "start_unix_ns", t->start_unix_ns);
		json_out_key(out, "end_unix_ns");
		if (t->end_unix_ns)
			json_out_u64(out, t->end_unix_ns < INT64_MAX ? t->end_unix_ns : INT64_MAX);
		else
			json_out_null(out);
		render_count(out, "alloc_objects", t->alloc_objects);
		render_count(out, "alloc_space", t->alloc_space);
		json_out_object_end(out);
	}
	render_table_end(out);
}

int render_report(const struct ledger_header *l, const struct ledger_facts *facts, struct json_out *out)
{
	struct render_view v;
	if (!render_view_open(&v, l))
		return EINVAL;
	v.facts = facts;
	json_out_object_begin(out);
	render_text(out, "schema", REPORT_SCHEMA);
	render_text(out, "schema_version", REPORT_SCHEMA_VERSION);
	render_text(out, "tool_version", SLUICE_VERSION);
	json_out_line(out);
	render_run(out, &v);
	json_out_line(out);
	render_quality(out, &l->quality, facts);
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
	render_requests(out, facts, v.sites_count);
	json_out_object_end(out);
	json_out_line(out);
	return json_out_close(out);
}
