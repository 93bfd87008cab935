/* frame.h: places in files that calls return to, and stacks of them, interned in the ledger.
 *
 * A frame is a file and an address in it, so it is the same wherever the file is mapped; code that no file holds is known
 * by its address. Every site has one stack, from the day it was new. Both tables are capped: further frames are LEDGER_NONE,
 * further stacks too, and both are counted.
 */
#ifndef SLUICE_FRAME_H
#define SLUICE_FRAME_H

#include "analytics/ledger.h"

#include <stdbool.h>
#include <stdint.h>

/* The frame a return address is, new if need be. Takes the sites' lock. */
uint32_t frame_of(uintptr_t pc);

/* The same, but waits for nobody: LEDGER_NONE also when somebody has the lock. It leaves a quarter of the table to the sites. */
uint32_t frame_try(uintptr_t pc);

/* The return address that a frame is now; 0: its file is unloaded. */
uintptr_t frame_pc(const struct ledger_frame *frame);

/* The stack of these frames; LEDGER_NONE: no room. Under the sites' lock. */
uint32_t stack_add_locked(const uint32_t *frames, uint32_t count, bool truncated);

/* Its frames from the leaf on. */
const uint32_t *stack_frames(uint32_t stack, uint32_t *count);

#endif
