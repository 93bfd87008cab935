/* thread.h: what one thread of the program knows, and the fast path over it.
 *
 * The index maps the hash of (return address, class) to a tag, the tag is a cache of the thread's heap, and the cache
 * knows the key it is for: so a collision is seen, and one allocation reads an index entry, a cache and a block:
 *
 *   thread_self ─► index[hash(pc, class)] ─► caches[tag] ─► free block ─► next free block
 *
 * thread_self is the only thread-local variable of the fast path. Until a thread has a heap it points at a front whose single
 * cache never matches, so the fast path needs no test for it.
 */
#ifndef SLUICE_THREAD_H
#define SLUICE_THREAD_H

#include "pools/heap.h"

#include <stddef.h>
#include <stdint.h>

struct front {
	uint16_t *index; /* tags, open addressing; 0: empty */
	uint64_t mask;   /* (number of entries - 1) * sizeof(uint16_t): an even offset */
};

struct route; /* route.h */
struct request_book;

enum { ROUTES_CHUNK = 64 };

struct thread {
	struct front front;
	struct heap heap; /* begins with the caches: front and caches are what a sentinel has too (thread.c) */
	uint64_t refills;
	uint64_t misses;                   /* look-ups that found their key away from home, since the index last grew */
	uint32_t moves;                    /* of route.c, as they were when the index was last filled */
	uint32_t ledger_thread;            /* its record in the ledger */
	uint64_t ready_max;                /* bytes all caches may hold ready */
	uint64_t ready_owned_max;          /* of those, the caches whose route owns a pool */
	uint16_t stocked[CLASSES];         /* a tag of each class whose cache may have more than it needs; 0: none known */
	uint64_t ready_large_max;          /* beside them, bytes the caches of large classes may hold ready */
	uint64_t swept_ms;                 /* when those that nobody takes from were last looked for; 0: never */
	uint64_t look_at;                  /* refill at which lifetime.c looks for a route to sample; 0: not yet */
	uint16_t aside[CLASSES];           /* the pool aside of each class for watched blocks; 0: none */
	uint32_t look_tag;                 /* where it looked last */
	uint64_t sample_left;              /* bytes to the next sampling point (sample.h); 0: not begun */
	uint64_t sample_dice;              /* sample.c's */
	uint64_t sweep_at;                 /* refill at which further routes tell their bytes */
	uint32_t sweep_tag;                /* the last that did */
	bool sampling;                     /* a handler may have interrupted it */
	uint64_t calls_heard;              /* of those to give back memory (pressure.c) */
	int64_t live_noted;                /* live bytes last told to peak.h */
	uint64_t base_objects, base_space; /* the heap's totals when this thread took it over */
	struct request_book *requests;     /* request_book.h; NULL: it never worked for one */
	struct route *routes[HEAP_TAGS_MAX / ROUTES_CHUNK];
};

extern __thread struct thread *thread_self __attribute__((tls_model("initial-exec")));

/* The calling thread's own, made or adopted if need be; NULL: no memory, too early, or too late in its life. */
struct thread *thread_get(void);

/* The calling thread's own if it has one. */
struct thread *thread_if_any(void);

/* Once, before any thread allocates; safe to call before constructors. */
void threads_init(void);

/* Tells peak.h how the thread's live bytes have changed, when it is worth telling. After any change of many. */
void thread_note_peak(struct thread *thread);

/* The child of a fork: only the calling thread is left. */
void threads_fork_child(void);

/* The only cache of a thread that has no heap. */
extern struct cache thread_no_cache;

static inline bool thread_has_heap(const struct thread *thread)
{
	return thread->heap.caches != &thread_no_cache;
}

/* The heap whose outbox a free of another thread's block goes to. A thread that only frees gets one for it once it has done
 * so a while; NULL until then, and too early or too late. */
struct heap *thread_sender_slow(void);
static inline struct heap *thread_sender(struct thread *thread)
{
	return __builtin_expect(thread_has_heap(thread), 1) ? &thread->heap : thread_sender_slow();
}

static inline struct thread *thread_of(struct heap *heap)
{
	return (struct thread *)((char *)heap - offsetof(struct thread, heap));
}

/* The variant that tells what sites and counters cost (V=bare): all calls are one site's, so a class is a place. */
#ifdef SLUICE_BARE
enum { SITELESS = true };
#else
enum { SITELESS = false };
#endif

static inline uint64_t route_key(uintptr_t pc, unsigned class)
{
	return (uint64_t)pc << 8 | class; /* CLASSES <= 256; addresses of code have at most 55 bits, see SITE_RETIRED */
}

/* In place of the class: nobody looks for such a key, so every look-up misses (route_arm). */
enum { KEY_ARMED = 255 };

_Static_assert((int)CLASSES <= (int)KEY_ARMED, "no class is KEY_ARMED");

static inline uintptr_t key_pc(uint64_t key)
{
	return key >> 8;
}

static inline unsigned key_class(uint64_t key)
{
	return key & 255;
}

#define INDEX_SPREAD (UINT64_C(2) << 44 | UINT64_C(0x9B97F4A7C15))

/* A step of one class is a step of 2.6 bytes, so the classes of one pc lie side by side, in a place each, and share cache
 * lines; pcs are spread by the low digits of the golden ratio (multiplicative hashing: Knuth, TAOCP 3, 6.4). */
static inline uint16_t *index_home(const struct front *front, uintptr_t pc, unsigned class)
{
	uint64_t spread = SITELESS ? 2 * (uint64_t) class : route_key(pc, class) * INDEX_SPREAD >> 44;
	return (uint16_t *)((char *)front->index + (spread & front->mask));
}

/* A block for `size` bytes of the class from the cache of (pc, class), if that is where it hashes to; NULL: route_refill
 * must look closer. */
static inline void *thread_take(struct thread *thread, uintptr_t pc, unsigned class, size_t size)
{
	struct cache *cache = &thread->heap.caches[*index_home(&thread->front, pc, class)];
	return SITELESS || __builtin_expect(cache->key == route_key(pc, class), 1) ? cache_take(cache, size) : NULL;
}

#endif
