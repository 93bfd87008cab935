/* render_samples.c: see render_samples.h. */
#include "analytics/render_samples.h"

#include "analytics/render_values.h"

void render_sampling(struct json_out *out, const struct ledger_sampling *s)
{
	json_out_key(out, "stacks");
	json_out_object_begin(out);
	render_text(out, "method", s->period ? "poisson" : "off");
	render_counts(out, s, render_sampling_fields);
	json_out_key(out, "error");
	json_out_object_begin(out);
	render_counts(out, s, render_error_fields);
	json_out_key(out, "relative");
	json_out_ratio(out, s->off_space, s->exact_space, 4);
	json_out_object_end(out);
	json_out_object_end(out);
}

/* (sum of weights)^2 / (sum of squares), in thousandths: as many samples of one weight tell as much. */
static uint64_t effective_milli(const struct ledger_sampled *s)
{
	__extension__ typedef unsigned __int128 wide;
	wide weight = s->weight / LEDGER_WEIGHT_UNIT;
	if (!s->squares)
		return s->samples * 1000;
	wide milli = weight * weight / s->squares * 1000 + weight * weight % s->squares * 1000 / s->squares;
	return milli < (wide)s->samples * 1000 ? (uint64_t)milli : s->samples * 1000;
}

static void stacks(struct json_out *out, const struct ledger_sampled *s, const struct ledger_facts *facts,
                   uint32_t stacks_count)
{
	json_out_key(out, "stacks");
	json_out_array_begin(out);
	for (uint64_t i = s->first; i - s->first < s->count && i < facts->sampled_stacks_count; i++) {
		const struct ledger_sampled_stack *at = &ledger_sampled_stacks(facts)[i];
		if (at->stack >= stacks_count)
			continue;
		json_out_object_begin(out);
		render_count(out, "stack", at->stack);
		render_count(out, "samples", at->samples);
		render_count(out, "weight", at->weight);
		if (at->by_realloc)
			render_flag(out, "by_realloc", true);
		json_out_object_end(out);
	}
	json_out_array_end(out);
}

void render_sampled(struct json_out *out, const struct ledger_fact *f, const struct ledger_facts *facts,
                    uint32_t stacks_count)
{
	if (!f->sampled || f->sampled > facts->sampled_count)
		return;
	const struct ledger_sampled *s = &ledger_sampled(facts)[f->sampled - 1];
	json_out_key(out, "sampled");
	json_out_object_begin(out);
	render_counts(out, s, render_sampled_fields);
	render_count(out, "standard_error", ledger_sampled_error(s));
	json_out_key(out, "effective");
	json_out_ratio(out, effective_milli(s), 1000, 3);
	stacks(out, s, facts, stacks_count);
	json_out_object_end(out);
}
