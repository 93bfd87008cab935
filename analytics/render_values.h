/* render_values.h: a key and its value, as every section of a report writes them.
 *
 * Linked into the library: the rule of json_out.h holds. A count is cut to 2^63 - 1, since that is what most readers
 * can hold; no true count comes near it.
 */
#ifndef SLUICE_RENDER_VALUES_H
#define SLUICE_RENDER_VALUES_H

#include "analytics/json_out.h"
#include "analytics/ledger.h"
#include "analytics/render_fields.h"

void render_count(struct json_out *out, const char *key, uint64_t value);
void render_flag(struct json_out *out, const char *key, bool value);
void render_text(struct json_out *out, const char *key, const char *value); /* NULL: null */
void render_hex(struct json_out *out, const char *key, uint64_t value);     /* as json_out_hex() */

/* The counts of a record that a table names. */
void render_counts(struct json_out *out, const void *record, const struct render_field *fields);

/* The seven counters, each under its own name in the object that is open. */
void render_tally(struct json_out *out, const struct ledger_tally *t);
bool render_tally_is_zero(const struct ledger_tally *t);

/* An array of objects, each on a line of its own; json_out_object_end() ends a record. */
void render_table_begin(struct json_out *out, const char *key);
void render_record_begin(struct json_out *out);
void render_table_end(struct json_out *out);

#endif
