/* Allocates before any constructor of any library ran (preinit array), in the first constructor, and frees these blocks
 * in main, at exit and in the last destructor.
 */
#include "victim.h"

#include <malloc.h>

enum { EARLY = 300 };

static void *from_preinit[EARLY], *from_constructor[EARLY];

static void early(void **block)
{
	for (int i = 0; i < EARLY; i++) {
		size_t size = (size_t)(EARLY - 1 - i) * (i % 3 ? 17 : 400); /* the very first call asks for 120 KB */
		block[i] = i % 3 ? malloc(size) : calloc(1, size);
		if (!block[i]) {
			_exit(41);
		}
		if (malloc_usable_size(block[i]) < size) {
			_exit(43);
		}
		((volatile char *)block[i])[0] = (char)i;
	}
	for (int i = 0; i < EARLY; i += 5) {
		free(block[i]);
		block[i] = realloc(malloc(10), 3000);
		((volatile char *)block[i])[0] = (char)i;
	}
}

static void preinit(int argc, char **argv, char **environment)
{
	(void)argc, (void)argv, (void)environment;
	early(from_preinit);
}

__attribute__((section(".preinit_array"), used)) static void (*preinit_entry)(int, char **, char **) = preinit;

__attribute__((constructor(101))) static void first_constructor(void)
{
	early(from_constructor);
}

static void check_and_free(void **block, int from, int to)
{
	for (int i = from; i < to; i++) {
		if (((char *)block[i])[0] != (char)i) {
			_exit(42);
		}
		free(block[i]);
	}
}

__attribute__((destructor(101))) static void last_destructor(void)
{
	check_and_free(from_preinit, 200, EARLY);
	check_and_free(from_constructor, 200, EARLY);
	early(from_preinit);
}

static void at_exit(void)
{
	check_and_free(from_preinit, 100, 200);
	check_and_free(from_constructor, 100, 200);
}

int main(void)
{
	CHECK(from_preinit[0] && from_constructor[0], "something early did not run");
	check_and_free(from_preinit, 0, 100);
	check_and_free(from_constructor, 0, 100);
	atexit(at_exit);
	return victim_ok();
}
