/* Threads with the smallest stack there is, 16 KiB, allocate of every kind and end; their blocks outlive them. Under
 * jemalloc such threads crash in its clean-up: a shim must not lean on it there.
 */
#include "victim.h"

#include <limits.h>
#include <pthread.h>

enum { THREADS = 200, AT_ONCE = 4, LEFT = 16 };

static void *left[THREADS][LEFT];

static void *body(void *arg)
{
	void **mine = arg;
	for (size_t i = 0; i < 300; i++) {
		size_t n = i % 50 == 0 ? i * 1000 : i * 9;
		void *p = i % 3 ? malloc(n) : calloc(1, n);
		if (!p) {
			return (void *)1;
		}
		memset(p, 1, n);
		p = realloc(p, n * 2 + 1);
		if (i % 10 == 0 && i / 10 < LEFT) {
			mine[i / 10] = p;
		} else {
			free(p);
		}
	}
	return NULL;
}

int main(void)
{
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	long smallest = sysconf(_SC_THREAD_STACK_MIN) < 16384 ? 16384 : sysconf(_SC_THREAD_STACK_MIN);
	CHECK(pthread_attr_setstacksize(&attr, (size_t)smallest) == 0, "no stacks of %ld bytes", smallest);
	for (int done = 0; done < THREADS; done += AT_ONCE) {
		pthread_t t[AT_ONCE];
		for (int i = 0; i < AT_ONCE; i++) {
			CHECK(pthread_create(&t[i], &attr, body, left[done + i]) == 0, "pthread_create with a small stack");
		}
		for (int i = 0; i < AT_ONCE; i++) {
			void *failed = NULL;
			pthread_join(t[i], &failed);
			CHECK(!failed, "malloc gives NULL on a small stack");
		}
	}
	for (int i = 0; i < THREADS; i++) {
		for (int k = 0; k < LEFT; k++) {
			free(left[i][k]);
		}
	}
	return victim_ok();
}
