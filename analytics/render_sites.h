/* render_sites.h: what a report says of each site: where it is, its counts, its facts, its stack.
 *
 * Linked into the library: no allocation, no stdio, no locale. Each writes one table into the object that is open.
 */
#ifndef SLUICE_RENDER_SITES_H
#define SLUICE_RENDER_SITES_H

#include "analytics/render_view.h"

/* In the ledger's order, but "other" (no pc) last, wherever the ledger keeps it. Sites that counted nothing are left out. */
void render_sites(struct json_out *out, const struct render_view *v);

/* The return addresses that the stacks share. */
void render_frames(struct json_out *out, const struct render_view *v);

/* The stacks that the sites name, leaf first, as indices of frames. */
void render_stacks(struct json_out *out, const struct render_view *v);

#endif
