/* Runs under RLIMIT_AS of 256 MiB from its start (it sets the limit and executes itself): allocation works to a good part
 * of the limit, then gives NULL and ENOMEM; what is freed can be had again. Each size has a child of its own, since no
 * allocator promises that address space once used for one size serves every other; then one process goes through all
 * sizes, and small blocks must still be had. With the argument "later" the limit comes down while the program runs, 64 MiB
 * above the address space it then has; an allocator that reserved address space before may give more, which nobody minds.
 */
#include "victim.h"

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>

static bool later;

struct chain {
	struct chain *next;
};

static void limit_to(size_t bytes)
{
	struct rlimit limit = {bytes, bytes};
	CHECK(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit: %s", strerror(errno));
}

static size_t address_space(void)
{
	char text[64] = "";
	FILE *f = fopen("/proc/self/statm", "r");
	CHECK(f && fgets(text, sizeof(text), f), "no /proc/self/statm");
	fclose(f);
	return strtoull(text, NULL, 10) * 4096;
}

/* Takes blocks of n bytes until there are no more; how many bytes that were, the blocks given back. */
static size_t take_all(size_t n)
{
	struct chain *chain = NULL, *one;
	size_t bytes = 0;
	errno = 0;
	while ((one = malloc(n))) {
		memset(one, 1, n);
		one->next = chain;
		chain = one;
		bytes += n;
		if (bytes >= 300 * MIB) {
			CHECK(later, "the limit does not hold");
			break;
		}
	}
	CHECK(one || errno == ENOMEM, "at the limit malloc sets errno to %d", errno);
	if (!later) {
		CHECK(!calloc(1, 512 * MIB) && !realloc(NULL, 512 * MIB), "more than the limit was given");
	}
	while (chain) {
		one = chain->next;
		free(chain);
		chain = one;
	}
	return bytes;
}

static const size_t sizes[] = {64, 1000, 5000, 100000, 3 * MIB};

enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

static void in_child(size_t n, size_t least)
{
	pid_t pid = fork();
	CHECK(pid >= 0, "fork: %s", strerror(errno));
	if (pid == 0) {
		for (int round = 0; round < 2; round++) {
			size_t bytes = take_all(n);
			CHECK(bytes >= least, "round %d: only %zu KiB in blocks of %zu bytes, not %zu KiB", round, bytes / 1024, n,
			      least / 1024);
		}
		exit(0);
	}
	int status;
	if (waitpid(pid, &status, 0) != pid || status != 0) {
		exit(1); /* the child has said why */
	}
}

static void at_the_limit(size_t least)
{
	for (int i = 0; i < SIZES; i++) {
		in_child(sizes[i], least);
	}
	for (int i = 0; i < SIZES; i++) {
		take_all(sizes[(i * 5 + 3) % SIZES]);
	}
	for (size_t n = 1; n < 2000; n = n * 2 + 1) {
		void *p = malloc(n);
		CHECK(p, "malloc(%zu) gives NULL after everything was given back", n);
		free(p);
	}
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "later") == 0) {
		later = true;
		free(kept(malloc(100)));
		size_t now = address_space();
		limit_to(now + 64 * MIB);
		at_the_limit(16 * MIB);
		return victim_ok();
	}
	if (argc == 1) {
		limit_to(256 * MIB);
		char *again[] = {argv[0], (char[]){"limited"}, NULL};
		execv("/proc/self/exe", again);
		CHECK(0, "exec: %s", strerror(errno));
	}
	at_the_limit(64 * MIB);
	return victim_ok();
}
