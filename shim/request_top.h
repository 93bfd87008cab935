/* request_top.h: the largest requests by bytes, with the sites that took most of each.
 */
#ifndef SLUICE_REQUEST_TOP_H
#define SLUICE_REQUEST_TOP_H

#include "request_book.h"

/* An account that is filed takes a place if it is large enough, and no other thread is at the table just now. */
void request_top_enter(const struct thread *thread, const struct request_open *open);

/* All that have one, in no order; at most LEDGER_REQUEST_TOP. Returns how many. */
uint32_t request_top_copy(struct ledger_request_top *to);

/* An account of the thread's as an entry. */
void request_top_fill(struct ledger_request_top *top, const struct thread *thread, const struct request_open *open);

void request_top_fork_child(void);

#endif
