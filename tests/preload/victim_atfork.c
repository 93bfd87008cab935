/* The program's own handlers of pthread_atfork allocate and free, in all three moments, in every range of sizes, while
 * other threads do too. They are registered before any constructor runs, as those of libraries may be: then they run after
 * a later-registered allocator has taken its locks and before it has dropped them. An allocator must register first.
 */
#include "victim.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { THREADS = 2, FORKS = 100 };

static atomic_int done, handled;

static void work(size_t salt)
{
	static void *kept_blocks[64];
	for (size_t i = 0; i < 300; i++) {
		size_t n = i % 60 == 7 ? 600000 : i % 30 == 3 ? 50000 : (i * salt) % 3000;
		void **slot = &kept_blocks[i % 64];
		*slot = i % 3 ? realloc(*slot, n + 1) : *slot;
		if (i % 5 == 0) {
			free(*slot);
			*slot = calloc(1, n);
		}
	}
	handled++;
}

static void prepare(void)
{
	work(17);
}

static void parent(void)
{
	work(31);
}

static void child(void)
{
	work(53);
}

static void early(void)
{
	free(kept(malloc(100)));
	pthread_atfork(prepare, parent, child);
}

__attribute__((section(".preinit_array"), used)) static void (*preinit_entry)(void) = early;

static void *body(void *arg)
{
	for (size_t i = (uintptr_t)arg; !done; i++) {
		size_t n = i % 50 == 0 ? 500000 : i * 37 % 5000;
		free(kept(malloc(n)));
	}
	return NULL;
}

int main(void)
{
	pthread_t t[THREADS];
	for (uintptr_t i = 0; i < THREADS; i++) {
		CHECK(pthread_create(&t[i], NULL, body, (void *)i) == 0, "pthread_create");
	}
	pthread_atfork(prepare, parent, child); /* and once more, after all constructors */
	for (int i = 0; i < FORKS; i++) {
		pid_t pid = fork();
		CHECK(pid >= 0, "fork: %s", strerror(errno));
		if (pid == 0) {
			exit(handled == 4 * (i + 1) ? 0 : 3);
		}
		int status;
		CHECK(waitpid(pid, &status, 0) == pid && status == 0, "child %d ended with status %x", i, status);
	}
	done = 1;
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
	}
	return victim_ok();
}
