/* render_view.h: a ledger as the renderer reads it: the sections with every count cut back to what fits inside.
 *
 * Nothing in a ledger is trusted but that total_bytes bytes are readable. The counts are read once, into the view,
 * because a ledger of a live process may grow meanwhile.
 */
#ifndef SLUICE_RENDER_VIEW_H
#define SLUICE_RENDER_VIEW_H

#include "analytics/json_out.h"
#include "analytics/ledger.h"

struct render_view {
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

/* Fills all of the view but `facts`, which are the caller's. False: this is no ledger of this version. */
bool render_view_open(struct render_view *v, const struct ledger_header *l);

/* Bytes of the ledger's string that begins at `at`; 0 when that is outside. */
size_t render_string_length(const struct render_view *v, uint32_t at);

/* The value of a ledger string; one that points outside reads as empty. */
void render_string(struct json_out *out, const struct render_view *v, struct ledger_string s);

#endif
