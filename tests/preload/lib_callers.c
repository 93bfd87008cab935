/* A library with a wrapper of its own, loaded again and again at other places. */
#include <stdlib.h>
#ifdef __clang__
#define APART __attribute__((noinline))
#else
#define APART __attribute__((noinline, noclone))
#endif
#define STAY() __asm__ volatile("" : : "i"(__COUNTER__) : "memory")

APART static void *take(size_t size)
{
	void *block = malloc(size);
	STAY();
	return block;
}

#define CALLER(name)                                                                                                   \
	void *name(size_t size);                                                                                           \
	APART void *name(size_t size)                                                                                      \
	{                                                                                                                  \
		void *block = take(size);                                                                                      \
		STAY();                                                                                                        \
		return block;                                                                                                  \
	}
CALLER(lib_one)
CALLER(lib_two)
CALLER(lib_three)
CALLER(lib_four)
