/* interpose.h: what the rest of the shim may know of the interposed entries.
 */
#ifndef SLUICE_INTERPOSE_H
#define SLUICE_INTERPOSE_H

#include <stddef.h>

/* Our own malloc, by a name that nobody can interpose. */
void *interpose_malloc(size_t size);

#endif
