/* slow_malloc.c: glibc's malloc with a known effect planted in it: SLOW_TURNS turns of spin() in every call of malloc.
 */
#define _GNU_SOURCE
#include "spin.h"

#include <stdlib.h>

extern void *__libc_malloc(size_t bytes);

void *malloc(size_t bytes)
{
	static unsigned long turns;
	static int known;
	if (!known) {
		const char *text = getenv("SLOW_TURNS");
		turns = text ? strtoul(text, NULL, 10) : 0;
		known = 1;
	}
	spin(turns);
	return __libc_malloc(bytes);
}
