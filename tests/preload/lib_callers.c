/* A library with a wrapper of its own, loaded again and again at other places. */
#include "tests/frames.h"

#include <stdlib.h>

OWN_FRAME static void *take(size_t size)
{
	void *block = malloc(size);
	STAY();
	return block;
}

CALLER(lib_one, take)
CALLER(lib_two, take)
CALLER(lib_three, take)
CALLER(lib_four, take)
