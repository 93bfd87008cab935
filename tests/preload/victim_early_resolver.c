/* Allocates in the resolver of an indirect function, which runs while the program is still being relocated: before any
 * constructor, before the C library's own early set-up. glibc's malloc works there; Debian's jemalloc crashes.
 */
#include "victim.h"

enum { EARLY = 300 };

static void *from_resolver[EARLY];

static int resolved_function(void)
{
	return 7;
}

__attribute__((used)) static int (*resolve(void))(void)
{
	for (int i = 0; i < EARLY; i++) {
		from_resolver[i] = i % 3 ? malloc((size_t)i * 17 + 1) : calloc(1, (size_t)i * 400 + 1);
		if (!from_resolver[i]) {
			_exit(41);
		}
		((volatile char *)from_resolver[i])[0] = (char)i;
		free(kept(malloc(100)));
	}
	return resolved_function;
}

int indirect(void) __attribute__((ifunc("resolve")));

int main(void)
{
	CHECK(indirect() == 7, "the indirect function is not resolved");
	for (int i = 0; i < EARLY; i++) {
		CHECK(((char *)from_resolver[i])[0] == (char)i, "block %d is damaged", i);
		free(realloc(from_resolver[i], 5000));
	}
	return victim_ok();
}
