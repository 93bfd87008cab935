/* inert.c: should sluice act here, and to whom does it pass calls if not?
 *
 * Under valgrind the tool must see glibc's allocator. When a program (or a library before us) brings a malloc of its
 * own, ours is bound only by the few functions that the other does not define, and mixing the two would crash: so we ask
 * whom `malloc` is bound to. Our own reference goes through the global offset table and so finds the winner. If that is
 * not our entry it may still lead here: an executable's PLT stub, or a wrapper that counts and passes on. A probe tells:
 * we call the winner once and see whether the call arrives.
 */
#define _GNU_SOURCE
#include "inert.h"

#include "interpose.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <valgrind/valgrind.h>

static struct {
	void *(*malloc)(size_t);
	void (*free)(void *);
	void *(*realloc)(void *, size_t);
	void *(*memalign)(size_t, size_t);
	size_t (*usable_size)(void *);
} next;

static volatile bool probe_arrived;

void inert_probe_seen(void)
{
	probe_arrived = true;
}

static bool malloc_is_ours(void)
{
	void *(*volatile winner)(size_t) = malloc;
	if (winner == interpose_malloc)
		return true;
	void (*volatile winner_free)(void *) = free;
	void *block = winner(1);
	winner_free(block);
	return probe_arrived;
}

const char *inert_reason(void)
{
	if (getauxval(AT_SECURE)) /* by /etc/ld.so.preload: the linker ignores LD_PRELOAD there */
		return "the program runs with raised rights (setuid, setgid or file capabilities)";
	if (RUNNING_ON_VALGRIND)
		return "running under valgrind";
	if (!malloc_is_ours())
		return "another malloc comes first in this program";
	return NULL;
}

static void look_up(void *function_pointer, const char *name)
{
	*(void **)function_pointer = dlsym(RTLD_NEXT, name);
}

void inert_init(void)
{
	look_up(&next.malloc, "malloc");
	look_up(&next.free, "free");
	look_up(&next.realloc, "realloc");
	look_up(&next.memalign, "memalign");
	look_up(&next.usable_size, "malloc_usable_size");
}

void *inert_malloc(size_t size)
{
	return next.malloc ? next.malloc(size) : NULL;
}

void inert_free(void *block)
{
	if (next.free)
		next.free(block);
}

void *inert_realloc(void *block, size_t size)
{
	return next.realloc ? next.realloc(block, size) : NULL;
}

void *inert_memalign(size_t align, size_t size)
{
	return next.memalign ? next.memalign(align, size) : NULL;
}

size_t inert_usable_size(const void *block)
{
	return next.usable_size ? next.usable_size((void *)(size_t)block) : 0;
}
