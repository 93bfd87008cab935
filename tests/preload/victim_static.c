/* build: -static */
/* A static binary: a preload never gets into it, and nothing may be said about that. */
#include "victim.h"

int main(void)
{
	for (size_t i = 0; i < 5000; i++) {
		free(kept(malloc(i)));
	}
	return victim_ok();
}
