/* render_values.c: a key and its value, as every section writes them; see render_values.h. */
#include "analytics/render_values.h"

#include <string.h>

void render_count(struct json_out *out, const char *key, uint64_t value)
{
	json_out_key(out, key);
	json_out_u64(out, value < INT64_MAX ? value : INT64_MAX);
}

void render_flag(struct json_out *out, const char *key, bool value)
{
	json_out_key(out, key);
	json_out_bool(out, value);
}

void render_text(struct json_out *out, const char *key, const char *value)
{
	json_out_key(out, key);
	if (value)
		json_out_string(out, value);
	else
		json_out_null(out);
}

void render_hex(struct json_out *out, const char *key, uint64_t value)
{
	json_out_key(out, key);
	json_out_hex(out, value);
}

void render_counts(struct json_out *out, const void *record, const struct render_field *fields)
{
	for (; fields->key[0]; fields++) {
		uint64_t value;
		memcpy(&value, (const char *)record + fields->at, sizeof(value));
		render_count(out, fields->key, value);
	}
}

void render_tally(struct json_out *out, const struct ledger_tally *t)
{
	render_counts(out, t, render_tally_fields);
}

bool render_tally_is_zero(const struct ledger_tally *t)
{
	return !(t->alloc_objects | t->alloc_space | t->free_objects | t->inuse_objects | t->inuse_space |
	         t->inherited_objects | t->inherited_space);
}

void render_table_begin(struct json_out *out, const char *key)
{
	json_out_line(out);
	json_out_key(out, key);
	json_out_array_begin(out);
}

void render_record_begin(struct json_out *out)
{
	json_out_line(out);
	json_out_object_begin(out);
}

void render_table_end(struct json_out *out)
{
	json_out_line(out);
	json_out_array_end(out);
}
