/* render_fields.c: see render_fields.h. */
#include "analytics/render_fields.h"

#include "analytics/ledger.h"

const struct render_field render_tally_fields[] = {
	{"alloc_objects", offsetof(struct ledger_tally, alloc_objects)},
	{"alloc_space", offsetof(struct ledger_tally, alloc_space)},
	{"free_objects", offsetof(struct ledger_tally, free_objects)},
	{"inuse_objects", offsetof(struct ledger_tally, inuse_objects)},
	{"inuse_space", offsetof(struct ledger_tally, inuse_space)},
	{"inherited_objects", offsetof(struct ledger_tally, inherited_objects)},
	{"inherited_space", offsetof(struct ledger_tally, inherited_space)},
	{"", 0},
};

const struct render_field render_memory_fields[] = {
	{"active", offsetof(struct ledger_memory, active)},
	{"metadata", offsetof(struct ledger_memory, metadata)},
	{"resident", offsetof(struct ledger_memory, resident)},
	{"mapped", offsetof(struct ledger_memory, mapped)},
	{"retained", offsetof(struct ledger_memory, retained)},
	{"purged", offsetof(struct ledger_memory, purged)},
	{"pressure_trims", offsetof(struct ledger_memory, pressure_trims)},
	{"peak_allocated", offsetof(struct ledger_memory, peak_allocated)},
	{"peak_slack", offsetof(struct ledger_memory, peak_slack)},
	{"peak_active", offsetof(struct ledger_memory, peak_active)},
	{"peak_resident", offsetof(struct ledger_memory, peak_resident)},
	{"", 0},
};

const struct render_field render_resident_fields[] = {
	{"blocks", offsetof(struct ledger_resident, blocks)},
	{"slack", offsetof(struct ledger_resident, slack)},
	{"retained", offsetof(struct ledger_resident, retained)},
	{"metadata", offsetof(struct ledger_resident, metadata)},
	{"fallback", offsetof(struct ledger_resident, fallback)},
	{"program", offsetof(struct ledger_resident, program)},
	{"unattributed", offsetof(struct ledger_resident, unattributed)},
	{"total", offsetof(struct ledger_resident, resident)},
	{"", 0},
};

const struct render_field render_fact_fields[] = {
	{"max_space", offsetof(struct ledger_fact, max_space)},
	{"max_slack", offsetof(struct ledger_fact, max_slack)},
	{"slack_space", offsetof(struct ledger_fact, slack_space)},
	{"resident_space", offsetof(struct ledger_fact, resident_space)},
	{"", 0},
};

const struct render_field render_realloc_fields[] = {
	{"realloc_moved_objects", offsetof(struct ledger_fact, realloc_moved_objects)},
	{"realloc_grown_space", offsetof(struct ledger_fact, realloc_grown_space)},
	{"realloc_shrunk_space", offsetof(struct ledger_fact, realloc_shrunk_space)},
	{"realloc_copied_space", offsetof(struct ledger_fact, realloc_copied_space)},
	{"", 0},
};

const struct render_field render_span_fields[] = {
	{"count", offsetof(struct ledger_span, count)}, {"weight", offsetof(struct ledger_span, weight)},
	{"min", offsetof(struct ledger_span, min)},     {"max", offsetof(struct ledger_span, max)},
	{"sum", offsetof(struct ledger_span, sum)},     {"", 0},
};

const struct render_field render_life_fields[] = {
	{"censored", offsetof(struct ledger_life, censored)},
	{"censored_weight", offsetof(struct ledger_life, censored_weight)},
	{"judged", offsetof(struct ledger_life, judged)},
	{"judged_squares", offsetof(struct ledger_life, judged_squares)},
	{"short_weight", offsetof(struct ledger_life, short_weight)},
	{"long_weight", offsetof(struct ledger_life, long_weight)},
	{"", 0},
};

const struct render_field render_sampling_fields[] = {
	{"period_bytes", offsetof(struct ledger_sampling, period)},
	{"draws", offsetof(struct ledger_sampling, draws)},
	{"samples", offsetof(struct ledger_sampling, samples)},
	{"dropped", offsetof(struct ledger_sampling, dropped)},
	{"", 0},
};

const struct render_field render_error_fields[] = {
	{"sites", offsetof(struct ledger_sampling, sites)},
	{"held", offsetof(struct ledger_sampling, held)},
	{"exact_space", offsetof(struct ledger_sampling, exact_space)},
	{"estimated_space", offsetof(struct ledger_sampling, estimated_space)},
	{"off_space", offsetof(struct ledger_sampling, off_space)},
	{"", 0},
};

const struct render_field render_sampled_fields[] = {
	{"draws", offsetof(struct ledger_sampled, draws)},
	{"estimated_space", offsetof(struct ledger_sampled, space)},
	{"samples", offsetof(struct ledger_sampled, samples)},
	{"weight", offsetof(struct ledger_sampled, weight)},
	{"", 0},
};
