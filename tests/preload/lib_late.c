/* A library that allocates in its constructor, on request, and in its destructor. */
#include "victim.h"

static void *held[100];

__attribute__((constructor)) static void begin(void)
{
	for (size_t i = 0; i < 100; i++) {
		held[i] = malloc(i * 50);
	}
}

void *lib_late_take(size_t n);
void *lib_late_take(size_t n)
{
	return kept(malloc(n));
}

__attribute__((destructor)) static void end(void)
{
	for (size_t i = 0; i < 100; i++) {
		held[i] = realloc(held[i], i * 90 + 1);
		memset(held[i], 1, i * 90 + 1);
		free(held[i]);
	}
	kept(malloc(1000)); /* and one that nobody ever frees */
}
