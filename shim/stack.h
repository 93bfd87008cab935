/* stack.h: which addresses above a frame may be read, on whatever stack the program runs.
 *
 * What is certain without asking: the page that the frame itself lies on; the main thread's stack up to where the kernel
 * began it; and of a thread's stack what was asked of the kernel once (glibc puts a thread's own variables at the top of
 * its stack, so from any frame up to them all is one mapping, if it is one). A fiber's, a handler's or a foreign stack is
 * none of these: there only the frame's own page is known, and the rest can at most be copied (os_peek).
 */
#ifndef SLUICE_STACK_H
#define SLUICE_STACK_H

#include <stdbool.h>
#include <stdint.h>

/* Of the calling thread's stack, what is known to be readable: `span` bytes from `low` on, less a word. 0: nothing yet. */
struct stack_known {
	uintptr_t low, span;
};
extern __thread struct stack_known stack_known __attribute__((tls_model("initial-exec")));

static inline bool stack_holds(uintptr_t slot)
{
	return slot - stack_known.low < stack_known.span;
}

/* May the word at `slot` be read from a frame that begins at `frame`, below it? May ask the kernel, seldom. */
bool stack_may_read(uintptr_t frame, uintptr_t slot);

#endif
