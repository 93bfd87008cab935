/* Allocates and frees to the very end: on_exit, atexit handlers registered by atexit handlers, destructors of the program
 * and of a library that was loaded by hand and is never closed. Prints "ok" in the last destructor, so that a death on the
 * way shows.
 */
#include "victim.h"

static void *blocks[1000];

static void work(size_t salt)
{
	for (size_t i = 0; i < 1000; i++) {
		blocks[i] = realloc(blocks[i], (i * salt) % 5000 + 1);
		CHECK(blocks[i], "realloc gives NULL at the end");
		memset(blocks[i], (int)i, (i * salt) % 5000 + 1);
		if (i % 3 == 0) {
			free(blocks[i]);
			blocks[i] = NULL;
		}
	}
}

static void last(void)
{
	work(31);
}

static void first(void)
{
	work(17);
	atexit(last);
}

static void with_status(int status, void *arg)
{
	(void)status;
	work(13);
	free(arg);
}

__attribute__((destructor(101))) static void very_last(void)
{
	work(7);
	_exit(victim_ok());
}

int main(void)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 32);
	CHECK(n > 0, "readlink");
	self[n] = '\0';
	strcpy(strrchr(self, '/') + 1, "liblate.so");
	void *lib = dlopen(self, RTLD_NOW);
	CHECK(lib, "%s", dlerror());
	void *(*take)(size_t) = (void *(*)(size_t))(uintptr_t)dlsym(lib, "lib_late_take");
	CHECK(take, "%s", dlerror());
	work(3);
	free(take(100));
	on_exit(with_status, malloc(77));
	atexit(first);
	return 0;
}
