/* early.h: a few blocks for the moments before sluice knows what it is.
 *
 * While process_start decides whether to act, glibc (dlsym) or a probe of another allocator may call malloc on the same
 * thread. Those calls get a piece of a small static buffer that is never reused; frees of it are ignored.
 */
#ifndef SLUICE_EARLY_H
#define SLUICE_EARLY_H

#include <stdbool.h>
#include <stddef.h>

/* A zero-filled block, NULL when the buffer is used up. */
void *early_take(size_t size);
bool early_holds(const void *block);
size_t early_usable(const void *block);

#endif
