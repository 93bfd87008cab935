/* site_peak.h: the highest number of bytes each site had alive, at a cost of nothing on the fast path.
 *
 * What a route (a site's blocks of one class on one thread) has alive is known when its cache is refilled or overflows.
 * Between two such moments it takes and gives blocks unseen, but within what its cache was given and may hold:
 *
 *   floor  =  supplied - most   <=   alive   <=   supplied  =  held         (cache.h; alive = floor + room)
 *
 * So each site has two sums over its routes, of the floors and of what is held, each as the routes last told. When a route
 * tells, its own part is known exactly and the others' floors are certain: their sum is a number of bytes that were alive at
 * this moment. The highest of these is `seen`; the highest `held` is `most`; and the true peak lies between the two. They
 * differ by what lay ready, or could have: nothing where a site has one route of blocks above 4 KiB, which come one by one.
 *
 * A block that another thread frees counts until it is home and its route tells next. Fallback blocks tell at once.
 */
#ifndef SLUICE_SITE_PEAK_H
#define SLUICE_SITE_PEAK_H

#include "route.h"

struct site_peak {
	_Atomic int64_t floor, held; /* bytes now */
	_Atomic int64_t seen, most;  /* their bounds on the peak */
};

/* The route's cache has changed what it was given or may hold, and the program is about to take `taken` blocks of it. By the
 * thread that acts for its heap. */
void site_peak_note(struct route *route, const struct cache *cache, uint32_t taken);

/* `bytes` more alive at the site (or less: negative), behind the pools. */
void site_peak_add(uint16_t site, int64_t bytes);

/* For reading: NULL when the site never had any. */
const struct site_peak *site_peak_seen(uint16_t site);

#endif
