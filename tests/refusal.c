/* refusal.c: see refusal.h. */
#include "refusal.h"

#include "pools/meta.h"

#include <stddef.h>
#include <sys/resource.h>

/* RLIMIT_DATA: private writable memory, which is what a table or a step of the range needs. */
static bool limit_data(rlim_t bytes)
{
	return setrlimit(RLIMIT_DATA, &(struct rlimit){bytes, RLIM_INFINITY}) == 0;
}

bool memory_refuse(void)
{
	return limit_data(4096);
}

bool memory_allow(void)
{
	return limit_data(RLIM_INFINITY);
}

void tables_use_up(void)
{
	for (size_t bytes = 16 << 20; bytes >= 64; bytes /= 2)
		while (meta_take(bytes))
			;
}
