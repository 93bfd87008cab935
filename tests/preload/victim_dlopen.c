/* Loads and closes libraries that allocate in their constructors and destructors, again and again, in several threads,
 * while another thread allocates; blocks that a library made outlive it. What unwinds or asks the loader for names must
 * neither hang nor meet a library that is gone. Argument: rounds.
 */
#include "victim.h"

#include <pthread.h>
#include <stdatomic.h>

enum { LOADERS = 2, LEFT = 64 };

static char path[4096];
static atomic_int done;
static int rounds = 40;
static const char *const others[] = {"libm.so.6", "libresolv.so.2", "libnss_files.so.2", "libutil.so.1", "libanl.so.1"};

static void *load(void *arg)
{
	void *left[LEFT] = {NULL};
	size_t self = (uintptr_t)arg;
	for (int i = 0; i < rounds; i++) {
		void *lib = dlopen(path, i % 2 ? RTLD_NOW : RTLD_LAZY);
		CHECK(lib, "%s", dlerror());
		void *(*take)(size_t) = (void *(*)(size_t))(uintptr_t)dlsym(lib, "lib_late_take");
		CHECK(take, "%s", dlerror());
		free(left[i % LEFT]);
		left[i % LEFT] = take((size_t)i * 10);
		fill(left[i % LEFT], (size_t)i * 10, self);
		void *other = dlopen(others[((size_t)i + self) % 5], RTLD_LAZY);
		CHECK(dlclose(lib) == 0, "%s", dlerror());
		CHECK(!dlopen("/no/such/library.so", RTLD_NOW) && dlerror(), "a library that is not there was loaded");
		if (other) {
			dlclose(other);
		}
	}
	for (int i = 0; i < LEFT; i++) {
		free(left[i]);
	}
	return NULL;
}

static void *allocate(void *unused)
{
	for (size_t i = 0; !done; i++) {
		free(kept(malloc(i % 3000)));
	}
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t t[LOADERS], busy;
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 32);
	CHECK(n > 0, "readlink");
	path[n] = '\0';
	strcpy(strrchr(path, '/') + 1, "liblate.so");
	rounds = argc > 1 ? atoi(argv[1]) : rounds;
	CHECK(pthread_create(&busy, NULL, allocate, NULL) == 0, "pthread_create");
	for (uintptr_t i = 0; i < LOADERS; i++) {
		CHECK(pthread_create(&t[i], NULL, load, (void *)i) == 0, "pthread_create");
	}
	for (int i = 0; i < LOADERS; i++) {
		pthread_join(t[i], NULL);
	}
	done = 1;
	pthread_join(busy, NULL);
	return victim_ok();
}
