/* identity.h: the variant that tells how good sites are (V=identity; scripts/bench/identity): every allocation is unwound, and
 * who called is set beside what its site says. In any other build there is nothing of it.
 */
#ifndef SLUICE_IDENTITY_H
#define SLUICE_IDENTITY_H

#include <stdint.h>

#ifdef SLUICE_IDENTITY
enum { IDENTITY = 1 };
#else
enum { IDENTITY = 0 };
#endif

/* An allocation from there, about to be made. */
void identity_note(uintptr_t pc, uintptr_t frame);

/* Writes what was noted, a line a chain of callers, to the file that SLUICE_IDENTITY names, with
 * the process's number behind it: how many allocations, how many
 * callers of the chain their site told (-1: it told others), and the callers, leaf first, each with a * when its function is
 * known to allocate for others. */
void identity_write(void);

#endif
