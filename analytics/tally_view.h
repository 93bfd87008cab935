/* tally_view.h: the lines that begin with a word in the margin, and those of counters: of a run, of a site, alike. */
#ifndef SLUICE_TALLY_VIEW_H
#define SLUICE_TALLY_VIEW_H

#include "analytics/ledger.h"
#include "analytics/terminal.h"

enum { MARGIN_RUN = 10, MARGIN_SITE = 12 }; /* columns that the word has */

/* Begins a line. */
void view_margin(const struct terminal *t, int margin, const char *word);

/* "allocated 3 blocks, 76.0 KiB asked for"; the caller ends the line. */
void view_allocated(const struct terminal *t, int margin, const struct ledger_tally *tally);

/* "live 1 block, 64 B at the end; 2 freed"; the caller ends the line. */
void view_live(const struct terminal *t, int margin, const struct ledger_tally *tally);

/* "block" or "blocks". */
const char *view_blocks(uint64_t count);

#endif
