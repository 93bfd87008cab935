/* A library with a wrapper of its own, loaded again and again at other places. */
#include "tests/frames.h"

#include <stdlib.h>

OWN_FRAME static void *take(size_t size)
{
	void *block = malloc(size);
	STAY();
	return block;
}

CALLER(lib_a, take)
CALLER(lib_b, take)
CALLER(lib_c, take)
CALLER(lib_d, take)
CALLER(lib_e, take)
CALLER(lib_f, take)
CALLER(lib_g, take)
CALLER(lib_h, take)
CALLER(lib_i, take)
CALLER(lib_j, take)
CALLER(lib_k, take)
CALLER(lib_l, take)
CALLER(lib_m, take)
CALLER(lib_n, take)
CALLER(lib_o, take)
CALLER(lib_p, take)
CALLER(lib_q, take)
CALLER(lib_r, take)
CALLER(lib_s, take)
CALLER(lib_t, take)
CALLER(lib_u, take)
CALLER(lib_v, take)
CALLER(lib_w, take)
CALLER(lib_x, take)
CALLER(lib_y, take)
CALLER(lib_z, take)
