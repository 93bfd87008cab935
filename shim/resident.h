/* resident.h: what the process's resident memory is made of, and what of it each site explains. For the report.
 *
 *   resident = blocks + slack + retained + metadata + fallback + program + unattributed
 *
 * The kernel is asked page by page which of our memory is resident (/proc/thread-self/pagemap), so untouched parts of slabs count nowhere; and
 * what the rest of the process has (/proc/self/smaps). A slab's slack is its bytes beyond the blocks alive in it: in an owned
 * slab it is its site's; of a class's shared slabs together it goes to the sites in proportion to what they have alive there.
 */
#ifndef SLUICE_RESIDENT_H
#define SLUICE_RESIDENT_H

#include "analytics/ledger.h"

/* Fills slack_space and resident_space of the facts' sites, and facts->resident. After publish(), which counted. */
void resident_fill(const struct ledger_header *l, struct ledger_facts *facts);

#endif
