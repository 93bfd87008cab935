/* Destructors of thread-specific data allocate and free, in every one of the PTHREAD_DESTRUCTOR_ITERATIONS rounds that
 * the C library makes, with keys made before and after the allocator's own could have been; so the last allocations
 * come when the thread's heap may be gone already.
 */
#include "victim.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

enum { KEYS = 8, THREADS = 400, AT_ONCE = 8 };

static pthread_key_t keys[KEYS];
static atomic_int destroyed;

struct state {
	int round;
	pthread_key_t key;
	char *text;
};

static void destroy(void *p)
{
	struct state *old = p;
	CHECK(strcmp(old->text, "thread-specific") == 0, "the block of round %d reads %.20s", old->round, old->text);
	destroyed++;
	if (old->round + 1 < PTHREAD_DESTRUCTOR_ITERATIONS) {
		struct state *next = calloc(1, sizeof(*next) + (size_t)old->round * 1000);
		CHECK(next, "calloc gives NULL in a destructor");
		*next = (struct state){old->round + 1, old->key, strdup("thread-specific")};
		pthread_setspecific(old->key, next);
	}
	for (size_t n = 0; n < 3000; n += 111) { /* and other work, of many sizes */
		free(kept(realloc(kept(malloc(n)), 2 * n + 1)));
	}
	free(kept(malloc(200000)));
	free(old->text);
	free(old);
}

static void *body(void *unused)
{
	for (int i = 0; i < KEYS; i++) {
		struct state *s = malloc(sizeof(*s));
		*s = (struct state){0, keys[i], strdup("thread-specific")};
		pthread_setspecific(keys[i], s);
	}
	return unused;
}

/* Before any constructor ran, so before ours could make a key. */
static void early_keys(void)
{
	for (int i = 0; i < KEYS / 2; i++) {
		pthread_key_create(&keys[i], destroy);
	}
}

__attribute__((section(".preinit_array"), used)) static void (*preinit_entry)(void) = early_keys;

int main(void)
{
	for (int i = KEYS / 2; i < KEYS; i++) {
		CHECK(pthread_key_create(&keys[i], destroy) == 0, "pthread_key_create");
	}
	for (int done = 0; done < THREADS; done += AT_ONCE) {
		pthread_t t[AT_ONCE];
		for (int i = 0; i < AT_ONCE; i++) {
			CHECK(pthread_create(&t[i], NULL, body, NULL) == 0, "pthread_create");
		}
		for (int i = 0; i < AT_ONCE; i++) {
			pthread_join(t[i], NULL);
		}
	}
	int want = THREADS * KEYS * PTHREAD_DESTRUCTOR_ITERATIONS;
	CHECK(destroyed == want, "%d destructors ran, not %d", (int)destroyed, want);
	return victim_ok();
}
