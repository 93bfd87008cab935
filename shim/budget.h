/* budget.h: the bound on what site-owned slabs may waste.
 *
 * An owned slab is refused when, with it, the owned slabs' unused bytes S would pass  L/8 + allowance,  where L is the
 * thread's live small bytes and the allowance (256 KiB by default) is shared by all threads of the process. Since slabs
 * are only ever added under that condition, the owned slabs' total is at most (1 + 1/8) x L_max + allowance, whatever
 * the program does afterwards: bytes that become unused later were live when they were counted.
 */
#ifndef SLUICE_BUDGET_H
#define SLUICE_BUDGET_H

#include "thread.h"

/* Bytes of the process's allowance. Before the first thread. */
void budget_init(uint64_t allowance);

/* May the thread own one more slab of `bytes`? On true, *charged is what it took of the allowance, in granules. */
bool budget_allows(const struct thread *thread, size_t bytes, uint8_t *charged);

/* Blocks a shared route may be handed at once, of `want`: their unused bytes are bounded by L/8 + 64 KiB a thread. */
uint32_t budget_batch(const struct thread *thread, uint32_t want, size_t size);

#endif
