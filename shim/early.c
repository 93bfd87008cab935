/* early.c: a bump buffer with the size in front of each block. See early.h. Only the thread that runs process_start
 * gets here, so there is no lock.
 */
#include "early.h"

#include "pools/apart.h"

#include <stdint.h>

enum { EARLY_BYTES = 16 << 10, HEADER = 16 };

static APART _Alignas(16) char buffer[EARLY_BYTES];
static size_t used;

void *early_take(size_t size)
{
	size_t bytes = (size + HEADER + 15) & -(size_t)16;
	if (size > EARLY_BYTES || bytes > EARLY_BYTES - used)
		return NULL;
	char *block = buffer + used + HEADER;
	*(size_t *)(void *)(block - HEADER) = size;
	used += bytes;
	return block;
}

bool early_holds(const void *block)
{
	return (uintptr_t)block - (uintptr_t)buffer < EARLY_BYTES;
}

size_t early_usable(const void *block)
{
	return *(const size_t *)(const void *)((const char *)block - HEADER);
}
