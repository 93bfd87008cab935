/* apart.h: where large tables, and what only a few programs use, lie in memory.
 *
 * A variable marked APART is linked behind all others (shim/apart.ld). So the variables that every start writes lie together,
 * on three pages instead of a dozen: a page's first write costs over a microsecond, once in each process and once more after
 * each fork.
 */
#ifndef SLUICE_APART_H
#define SLUICE_APART_H

#define APART __attribute__((section(".bss.apart")))

#endif
