/* sample_table.h: what the samples of stacks have told, by site and stack.
 *
 * Nobody waits for its lock: who finds it taken, another thread or a signal handler, loses what it had to tell, and that is
 * counted. Memory is touched from the first sample on, a record of 40 bytes for each site and each stack of it.
 */
#ifndef SLUICE_SAMPLE_TABLE_H
#define SLUICE_SAMPLE_TABLE_H

#include "analytics/ledger.h"
#include "unwind.h"

#include <stdbool.h>
#include <stdint.h>

/* A stretch of `bytes` bytes of the site's was drawn, for which `weight` stands. false: that could not be noted. */
bool sample_table_drawn(uint16_t site, uint64_t bytes, uint64_t weight);

/* An allocation of the site's, which stands for `weight` bytes, came from there; or it was a realloc's, of a block of the site's. A
 * stack that is not the site's is left out, but for a realloc. */
void sample_table_add(uint16_t site, uint64_t weight, const struct unwound *seen, bool by_realloc);

/* How many records there are, grows: no more stacks than that. */
uint32_t sample_table_records(void);

/* A sample was lost. */
void sample_table_drop(void);

/* Copies what is known to the facts: their sampled_at has room for every site, their sampled_stacks_at for `records`, which were
 * asked for before. The sums in their `sampling` are made too. */
void sample_table_fill(struct ledger_facts *facts, const struct ledger_header *l, uint32_t records);

/* The child of a fork begins anew. */
void sample_table_fork_child(void);

#endif
