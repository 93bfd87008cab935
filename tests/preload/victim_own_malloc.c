/* A program with an allocator of its own in the executable: it wins over any preload, which must then stay out of it. */
#include "victim.h"

#include <pthread.h>
#include <sys/mman.h>

static char *top, *end;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static size_t mine;

/* Bump allocation with the size in front; free forgets. */
static void *take(size_t alignment, size_t n)
{
	pthread_mutex_lock(&lock);
	uintptr_t at = ((uintptr_t)top + 16 + alignment - 1) / alignment * alignment;
	if (!top || at + n > (uintptr_t)end) {
		size_t room = 64 * MIB + n;
		top = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		end = top + room;
		at = ((uintptr_t)top + 16 + alignment - 1) / alignment * alignment;
	}
	((size_t *)at)[-1] = n;
	top = (char *)at + n;
	mine++;
	pthread_mutex_unlock(&lock);
	return (void *)at;
}

void *malloc(size_t n)
{
	return take(16, n);
}

void *calloc(size_t n, size_t m)
{
	return take(16, n * m);
}

void *realloc(void *p, size_t n)
{
	void *q = take(16, n);
	size_t old = p ? ((size_t *)p)[-1] : 0;
	return p ? memcpy(q, p, old < n ? old : n) : q;
}

void free(void *p)
{
	(void)p;
}

void *memalign(size_t alignment, size_t n)
{
	return take(alignment < 16 ? 16 : alignment, n);
}

void *aligned_alloc(size_t alignment, size_t n)
{
	return memalign(alignment, n);
}

int posix_memalign(void **p, size_t alignment, size_t n)
{
	*p = memalign(alignment, n);
	return 0;
}

static void *body(void *unused)
{
	for (int i = 0; i < 1000; i++) {
		char *text = strdup("from a library");
		CHECK(text > end - 128 * MIB && text <= end, "strdup's block is not of our allocator");
		free(text);
	}
	return unused;
}

int main(void)
{
	pthread_t t;
	CHECK(pthread_create(&t, NULL, body, NULL) == 0, "pthread_create");
	pthread_join(t, NULL);
	FILE *f = fopen("/proc/self/maps", "r");
	char *line = NULL;
	size_t room = 0;
	while (f && getline(&line, &room, f) > 0) {
	}
	CHECK(f && fclose(f) == 0, "stdio fails");
	free(line);
	CHECK(mine > 1000, "the program's own malloc was called %zu times", mine);
	return victim_ok();
}
