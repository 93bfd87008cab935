/* apart.h: where variables lie in memory, so that a process pays for few pages.
 *
 * A page's first write costs over a microsecond in each process, and after each fork once more on both sides. So variables
 * of three kinds are kept apart by the linker (shim/apart.ld): what changes all the time, unmarked, which is less than a
 * page; what is written ONCE, at the start; and large tables and what few programs use, APART.
 */
#ifndef SLUICE_APART_H
#define SLUICE_APART_H

#define ONCE __attribute__((section(".bss.once")))
#define APART __attribute__((section(".bss.apart")))

#endif
