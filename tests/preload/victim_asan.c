/* build: -fsanitize=address -O0 */
/* A program built with the address sanitizer, whose allocator must stay in charge: argument "misuse" reads freed memory,
 * which it must still find.
 */
#include "victim.h"

int main(int argc, char **argv)
{
	for (size_t i = 0; i < 5000; i++) {
		free(kept(realloc(kept(malloc(i)), 2 * i + 1)));
	}
	if (argc > 1 && strcmp(argv[1], "misuse") == 0) {
		char *p = malloc(100);
		free(p);
		return *(volatile char *)kept(p);
	}
	return victim_ok();
}
