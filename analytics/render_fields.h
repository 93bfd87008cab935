/* render_fields.h: the counts of a report that stand in it as they stand in the ledger: key, and place in the record.
 *
 * What writes them (render_values.h) and what reads them (report_sections.c) go by the same tables, so no key is spelt
 * twice. Each table ends with an empty key, and is in the report's order. Keys are in the tables, not pointed to: the
 * library has no relocation for them.
 */
#ifndef SLUICE_RENDER_FIELDS_H
#define SLUICE_RENDER_FIELDS_H

#include <stddef.h>
#include <stdint.h>

struct render_field {
	char key[28];
	uint32_t at; /* offset of a uint64_t in the record */
};

extern const struct render_field render_tally_fields[];    /* of struct ledger_tally */
extern const struct render_field render_memory_fields[];   /* of struct ledger_memory, beside its tally */
extern const struct render_field render_resident_fields[]; /* of struct ledger_resident */
extern const struct render_field render_fact_fields[];     /* of struct ledger_fact: what every site has */
extern const struct render_field render_realloc_fields[];  /* of struct ledger_fact: where there were reallocs */
extern const struct render_field render_span_fields[];     /* of struct ledger_span */
extern const struct render_field render_life_fields[];     /* of struct ledger_life */
extern const struct render_field render_sampling_fields[]; /* of struct ledger_sampling: how it was done */
extern const struct render_field render_error_fields[];    /* of struct ledger_sampling: what it is off */
extern const struct render_field render_sampled_fields[];  /* of struct ledger_sampled */

#endif
