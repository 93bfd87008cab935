/* books.h: a test's own books of what its call sites (sites.h) did, to hold the ledger against. Any thread may write them.
 */
#ifndef BOOKS_H
#define BOOKS_H

#include <stddef.h>

enum { BOOKS_SITES = 60 };

void books_allocated(unsigned site, size_t bytes);
void books_freed(unsigned site);

/* A realloc: one block of the new size, one freed. */
void books_reallocated(unsigned site, size_t bytes);

/* The ledger says of each site what the books say, nothing is counted anywhere else, and the pools are whole. Nobody may
 * allocate meanwhile. */
void books_check(void);

#endif
