/* render_samples.h: the part of the report that is estimated: what a sample by bytes says of the sites and their callers.
 *
 * As render.h: no allocation, no stdio; what points outside the facts or the ledger is left out.
 */
#ifndef SLUICE_RENDER_SAMPLES_H
#define SLUICE_RENDER_SAMPLES_H

#include "analytics/json_out.h"
#include "analytics/ledger.h"

/* quality.stacks. */
void render_sampling(struct json_out *out, const struct ledger_sampling *s);

/* A site's `sampled`; nothing where it was not drawn. Stacks from `stacks_count` on are not in the report. */
void render_sampled(struct json_out *out, const struct ledger_fact *f, const struct ledger_facts *facts,
                    uint32_t stacks_count);

#endif
