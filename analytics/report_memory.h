/* report_memory.h: where jansson puts the tree of a report: large pieces that are released together.
 *
 * A tree of 60,000 sites has millions of small blocks. Here each costs a few instructions, and none at the end. For one
 * thread, as the command is.
 */
#ifndef SLUICE_REPORT_MEMORY_H
#define SLUICE_REPORT_MEMORY_H

struct report_memory;

/* From here to report_memory_end() jansson's blocks come from it, and what jansson gives back meanwhile stays. */
struct report_memory *report_memory_begin(void);
void report_memory_end(void);

/* Releases all of it, and so every tree that was made there; those are only to be read after report_memory_end(). NULL: none. */
void report_memory_release(struct report_memory *memory);

#endif
