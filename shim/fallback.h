/* fallback.h: jemalloc behind the pools, with a site for every block.
 *
 * jemalloc is linked into the library under private names (sluice_je_*), so nothing clashes with a jemalloc, a C++
 * runtime or an operator new of the program's. Its blocks carry no site of ours; a sharded table outside keeps
 * address -> site, so that a free is counted where the block was born. Blocks here are large or rare.
 * Every function keeps errno unless it says otherwise; NULL means no memory.
 */
#ifndef SLUICE_FALLBACK_H
#define SLUICE_FALLBACK_H

#include "analytics/ledger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A block, counted on the site of `pc`. align: a power of two, or 0. */
void *fallback_take(size_t size, size_t align, bool zero, uintptr_t pc, enum ledger_reason why);

/* Frees a block of fallback_take; `block` is not NULL. */
void fallback_give(void *block);

/* Grows or shrinks, counted as one more alloc and one more free; the block keeps its site. NULL: unchanged. */
void *fallback_resize(void *block, size_t size, enum ledger_reason why);

/* Return address of the block's site, 0 when it is not known. */
uintptr_t fallback_pc(const void *block);

/* The block is about to move to the pools: counts the realloc on its site. Usable bytes before and after, and bytes asked. */
void fallback_count_move(const void *block, size_t before, size_t after, size_t size);

/* Counts a realloc on a site's fallback counters. */
struct site_fallback;
void fallback_count_resize(struct site_fallback *on, size_t before, size_t after, size_t size, bool moved);

/* Where a block that can hold `usable` bytes counts in a histogram of sizes. */
unsigned fallback_size_bucket(size_t usable);

/* Usable bytes. */
size_t fallback_usable(const void *block);

/* Blocks freed that the table did not know. */
uint64_t fallback_untracked(void);

/* Allocations by reason. */
uint64_t fallback_reason_count(enum ledger_reason why);

/* jemalloc's version, and a number of its statistics by name (0 when unknown). */
const char *fallback_version(void);

/* Passes on a mallctl. */
int fallback_control(const char *name, void *old, size_t *old_bytes, void *fresh, size_t fresh_bytes);

int fallback_control_mib(const char *name, size_t *mib, size_t *length);
int fallback_control_by_mib(const size_t *mib, size_t length, void *old, size_t *old_bytes, void *fresh, size_t bytes);

/* jemalloc's own statistics of the fallback. */
void fallback_stats_print(void (*write_text)(void *, const char *), void *context, const char *opts);

/* Gives jemalloc's unused pages back to the kernel. */
void fallback_trim(void);

void fallback_fork_prepare(void);
void fallback_fork_parent(void);
void fallback_fork_child(void);

#endif
