/* Prints every usable size that malloc gives up to 64 MiB, in ascending order, one a line: for the counting oracle. */
#include "victim.h"

#include <malloc.h>

int main(void)
{
	for (size_t n = 0; n <= 64 * MIB;) {
		void *p = malloc(n);
		CHECK(p, "malloc(%zu) gives NULL", n);
		size_t usable = malloc_usable_size(p);
		CHECK(usable >= n, "malloc(%zu) is usable to %zu", n, usable);
		printf("%zu\n", usable);
		free(p);
		n = usable + 1;
	}
	return 0;
}
