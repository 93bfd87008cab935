/* symbols.h: the dynamic symbol that holds each site, written into the ledger when the report is.
 */
#ifndef SLUICE_SYMBOLS_H
#define SLUICE_SYMBOLS_H

#include "analytics/ledger.h"

/* Names the sites whose module is still loaded. Allocates nothing; takes no lock. */
void symbols_fill(struct ledger_header *l);

#endif
