/* Three callers allocate through one chain of functions, longer than a site's key; each child of fork is one run, and has a
 * report of its own. Prints "CALLER bytes", the same for every child. Arguments: how many children, and the rhythm:
 *   trick   one caller's blocks stay and so make all the refills; the others' go at once, in a fixed order
 *   sizes   each caller has a size of its own
 *   batch   many at once, then all are freed
 *   large   blocks that lie alone, and blocks behind the pools
 */
#include "victim.h"

#include <stdlib.h>
#include <sys/wait.h>

#ifdef __clang__
#define APART __attribute__((noinline))
#else
#define APART __attribute__((noinline, noclone))
#endif
#define STAY() __asm__ volatile("" : : "i"(__COUNTER__) : "memory")

#define LEVEL(name, of)                                                                                                \
	void *name(size_t size);                                                                                           \
	APART void *name(size_t size)                                                                                      \
	{                                                                                                                  \
		void *block = of(size);                                                                                        \
		STAY();                                                                                                        \
		return block;                                                                                                  \
	}
LEVEL(chain_1, malloc)
LEVEL(chain_2, chain_1)
LEVEL(chain_3, chain_2)
LEVEL(chain_4, chain_3)
LEVEL(chain_5, chain_4)
LEVEL(chain_6, chain_5)
LEVEL(chain_7, chain_6)
LEVEL(chain_8, chain_7)
LEVEL(caller_one, chain_8)
LEVEL(caller_two, chain_8)
LEVEL(caller_three, chain_8)

static void *(*const callers[])(size_t) = {caller_one, caller_two, caller_three};
static size_t bytes[3];

static void *from(unsigned caller, size_t size)
{
	char *block = callers[caller](size);
	CHECK(block, "no block");
	block[0] = 1;
	bytes[caller] += size;
	return block;
}

static void trick(void)
{
	for (int i = 0; i < 40000; i++) {
		from(0, 64);
		free(from(1, 64));
		free(from(1, 64));
		free(from(2, 64));
	}
}

static void sizes(void)
{
	for (int i = 0; i < 12000; i++) {
		free(from(0, 40));
		if (i % 3 == 0)
			from(1, 400);
		if (i % 12 == 0)
			free(from(2, 3000));
	}
}

static void batch(void)
{
	static void *blocks[900];
	for (int turn = 0; turn < 300; turn++) {
		for (unsigned i = 0; i < 900; i++)
			blocks[i] = from(i < 600 ? 0 : i < 800 ? 1 : 2, 80);
		for (unsigned i = 0; i < 900; i++)
			free(blocks[i]);
	}
}

static void large(void)
{
	for (int i = 0; i < 3000; i++) {
		free(from(0, 20000));
		free(from(1, 10000));
		if (i % 30 == 0)
			free(from(2, (size_t)(i % 60 ? 5 << 20 : 300000)));
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} rhythms[] = {{"trick", trick}, {"sizes", sizes}, {"batch", batch}, {"large", large}};
	CHECK(argc == 3, "two arguments");
	for (int i = 0; i < 1000; i++)
		kept(malloc(64)); /* the parent's dice have rolled */
	for (int i = 0; i < atoi(argv[1]); i++) {
		pid_t pid = fork();
		CHECK(pid >= 0, "fork");
		int last = i + 1 == atoi(argv[1]);
		if (pid == 0) {
			for (unsigned r = 0; r < sizeof(rhythms) / sizeof(rhythms[0]); r++)
				if (strcmp(rhythms[r].name, argv[2]) == 0)
					rhythms[r].run();
			for (unsigned c = 0; last && c < 3; c++)
				printf("caller_%s %zu\n", (const char *[]){"one", "two", "three"}[c], bytes[c]);
			exit(0);
		}
		int status;
		CHECK(waitpid(pid, &status, 0) == pid && status == 0, "child: %d", status);
	}
	return 0;
}
