/* The child of a vfork shares its parent's memory: what it allocates (which programs do, allowed or not: building argv)
 * is its parent's, and its end is not the end of the parent.
 */
#include "victim.h"

#include <spawn.h>
#include <sys/wait.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

extern char **environ;

int main(void)
{
	static void *volatile made[200];
	for (int round = 0; round < 200; round++) {
		void *mine = malloc(100);
		fill(mine, 100, (uint64_t)round);
		pid_t pid = vfork();
		CHECK(pid >= 0, "vfork");
		if (pid == 0) {
			made[round] = malloc((size_t)round * 30);
			free(kept(malloc(5000)));
			if (round % 2) {
				execl("/bin/true", "true", (char *)NULL);
			}
			_exit(round % 100);
		}
		int status;
		CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status), "the child ended with status %x", status);
		CHECK(WEXITSTATUS(status) == (round % 2 ? 0 : round % 100), "the child exited with %d", WEXITSTATUS(status));
		CHECK(made[round], "the child's block is gone");
		CHECK(first_wrong(mine, 100, (uint64_t)round) == 100, "the parent's block is damaged");
		free(made[round]);
		free(mine);
	}
	for (int round = 0; round < 50; round++) {
		char *argv[] = {"true", NULL};
		pid_t pid;
		int status;
		CHECK(posix_spawnp(&pid, "true", NULL, NULL, argv, environ) == 0, "posix_spawnp");
		CHECK(waitpid(pid, &status, 0) == pid && status == 0, "the spawned program ended with status %x", status);
	}
	return victim_ok();
}
