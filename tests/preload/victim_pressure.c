/* Leaves memory free and works on, so that its allocator looks around; says how much of it is resident. Arguments: MiB that
 * become free, MiB that stay, ms of work a round, rounds. After each round it waits for a line.
 */
#include "victim.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>

enum { BLOCK = 1000, LARGE = 20000, LARGE_BLOCKS = 400 /* more than may lie ready */ };

static void leave(size_t bytes)
{
	size_t blocks = bytes / BLOCK;
	char **all = malloc(blocks * sizeof(char *));
	for (size_t i = 0; i < blocks; i++) {
		all[i] = malloc(BLOCK);
		memset(all[i], 1, BLOCK);
	}
	for (size_t i = 0; i < blocks; i++) {
		free(all[i]);
	}
	free(all);
}

static long now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void work(long ms)
{
	static void *block[LARGE_BLOCKS];
	for (long end = now_ms() + ms; now_ms() < end;) {
		for (int i = 0; i < LARGE_BLOCKS; i++) {
			block[i] = malloc(LARGE);
		}
		for (int i = 0; i < LARGE_BLOCKS; i++) {
			free(block[i]);
		}
	}
}

static void say_resident(void)
{
	char text[256] = "";
	long pages = 0;
	int fd = open("/proc/self/statm", O_RDONLY);
	CHECK(fd == 3, "descriptor %d is the lowest", fd); /* whoever has read files here has closed them */
	CHECK(read(fd, text, sizeof(text) - 1) > 0 && sscanf(text, "%*s %ld", &pages) == 1, "statm");
	close(fd);
	int n = snprintf(text, sizeof(text), "%ld\n", pages * (sysconf(_SC_PAGESIZE) / 1024));
	CHECK(write(1, text, (size_t)n) == n && read(0, text, 1) == 1, "nobody listens");
}

int main(int argc, char **argv)
{
	CHECK(argc == 5, "arguments");
	leave(strtoul(argv[1], NULL, 10) * MIB);
	size_t stays = strtoul(argv[2], NULL, 10) * MIB;
	if (stays) {
		char *memory = mmap(NULL, stays, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(memory != MAP_FAILED, "mmap");
		memset(memory, 1, stays);
	}
	say_resident();
	for (int rounds = atoi(argv[4]); rounds; rounds--) {
		work(atol(argv[3]));
		say_resident();
	}
	return victim_ok();
}
