/* The child of a fork allocates, frees blocks of its parent and makes threads of its own; so does the child's child. The
 * parent's blocks keep their bytes in both.
 */
#include "victim.h"

#include <pthread.h>
#include <sys/wait.h>

enum { BLOCKS = 2000 };

static void *blocks[BLOCKS];

static size_t size_of(size_t i)
{
	return i % 40 == 0 ? i * 100 : i % 700;
}

static void *thread_body(void *unused)
{
	for (size_t i = 0; i < 500; i++) {
		free(kept(malloc(i * 11)));
	}
	return unused;
}

static void work(int depth)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		CHECK(first_wrong(blocks[i], size_of(i), i) == size_of(i), "depth %d: block %zu is damaged", depth, i);
		if (i % 2) {
			free(blocks[i]);
			blocks[i] = malloc(size_of(i));
			fill(blocks[i], size_of(i), i);
		}
	}
	pthread_t t[4];
	for (int i = 0; i < 4; i++) {
		CHECK(pthread_create(&t[i], NULL, thread_body, NULL) == 0, "pthread_create in a child");
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
	}
}

static void child(int depth)
{
	pid_t pid = fork();
	CHECK(pid >= 0, "fork");
	if (pid == 0) {
		work(depth);
		if (depth < 3) {
			child(depth + 1);
		}
		for (size_t i = 0; i < BLOCKS; i++) {
			free(blocks[i]);
		}
		exit(0);
	}
	int status;
	CHECK(waitpid(pid, &status, 0) == pid && status == 0, "the child at depth %d ended with status %x", depth, status);
}

int main(void)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(size_of(i));
		fill(blocks[i], size_of(i), i);
	}
	for (int i = 0; i < 10; i++) {
		child(1);
		work(0);
	}
	return victim_ok();
}
