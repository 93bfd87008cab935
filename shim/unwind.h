/* unwind.h: the frames above a call, from the unwind tables of the program's own files.
 *
 * Safe wherever malloc is, and reads no stack but what stack.h allows. Tables are found through _dl_find_object, which waits for
 * nobody, also inside dlopen. Code without tables (generated) ends it: then `whole` is false.
 *
 * Two implementations: unwind.c (x86-64), which takes no lock, makes no system call but os_peek, needs a KiB of stack, and may be
 * interrupted and entered again; and unwind_libunwind.c (other machines, V=libunwind), which says itself what it refuses.
 */
#ifndef SLUICE_UNWIND_H
#define SLUICE_UNWIND_H

#include <stdbool.h>
#include <stdint.h>

enum { UNWIND_FRAMES_MAX = 64, UNWIND_SLOTS_MAX = 6 };

struct unwound {
	uint32_t count;
	bool whole;                        /* the outermost frame was reached */
	uintptr_t pcs[UNWIND_FRAMES_MAX];  /* return addresses, leaf first */
	uintptr_t slots[UNWIND_SLOTS_MAX]; /* where the first of them were found */
	bool fixed[UNWIND_SLOTS_MAX];      /* the frame that pcs[i] returns to has one size, so the next slot is certain */
};

/* The return addresses from the call whose canonical frame address is `cfa` outwards, `max` at most, into `to`. The call must
 * be one that the calling function was reached from; when it is not found, count is 0. */
void unwind(uintptr_t cfa, uint32_t max, struct unwound *to);

/* Code may have gone, and other come in its place. */
void unwind_forget(void);

#endif
