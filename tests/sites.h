/* sites.h: a program's call sites by number, in a test that acts as one (acting.h): what they take and give, and what the
 * calling thread knows of them.
 */
#ifndef SITES_H
#define SITES_H

#include "shim/route.h"

enum { BLOCKS = 20000 };

/* What `take` has taken last. */
extern void *blocks[BLOCKS];

/* A return address; no code is there. */
static inline uintptr_t pc_of(unsigned site)
{
	return 0x40000 + 32 * (uintptr_t)site;
}

/* `count` blocks from the site. */
void take(unsigned site, size_t size, unsigned count);

/* The first `count` of `blocks` are freed. */
void give(unsigned count);

/* The site takes one block and frees it, `times` times. */
void churn(unsigned site, size_t size, unsigned times);

/* The site's cache on the calling thread if it has one, and its route, made if need be. */
struct cache *cache_of(unsigned site, size_t size);
struct route *route(unsigned site, size_t size);

/* The pools are whole: pools/walk.h. */
void whole(void);

#endif
