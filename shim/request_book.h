/* request_book.h: what requests allocated, kept by the heap of the thread that works for them.
 *
 * A thread's allocations are counted in its caches, a cache line a tag (pools/cache.h), and nothing is added to that path. So
 * what a thread allocated between two boundaries is the difference of all its caches' counters: about a nanosecond a tag each
 * time. That is exact, and too dear for every request of a thread with many tags: therefore requests are counted all, and
 * *accounted* as often as a quarter of a percent of the time between them pays for, measured as it goes, at intervals with a
 * random part; with the option request_every:N each N-th.
 *
 * Each account stands for the requests that the thread began since the one before (its weight), and all sums are weighted so: a
 * draw from each stretch. When the process is young all are accounted, and later few: without weights the young would rule.
 *
 *   open      an account: what one request allocated so far, tag by tag; it is the heap's that began it
 *   file      its sums go to the histograms and sites: when the next request begins on the connection, when that closes, or
 *             when its place is wanted and it has been answered
 *
 * An account whose request goes on in another thread is given up (REQUESTS_LOST). A book belongs to its heap's thread, like
 * the heap; threads without a heap share one for the counts, and account nothing, having allocated nothing.
 */
#ifndef SLUICE_REQUEST_BOOK_H
#define SLUICE_REQUEST_BOOK_H

#include "analytics/ledger_requests.h"
#include "connection.h"
#include "thread.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REQUEST_OPENS = 64, REQUEST_OPENS_USUAL = 8, REQUEST_PAIRS = 128, REQUEST_PATIENCE = 64 };

/* What was counted, by all threads and connections. */
enum request_count {
	REQUESTS_BEGUN,
	REQUESTS_READS,  /* calls that brought data from a client */
	REQUESTS_WRITES, /* calls that took some */
	REQUESTS_ACCEPTED,
	REQUESTS_SILENT, /* connections that were closed, and nothing was read or written that we saw */
	REQUESTS_BEYOND, /* descriptors too high to be looked at */
	REQUESTS_LOST,   /* accounts given up */
	REQUESTS_ACCOUNTED,
	REQUESTS_WEIGHT,  /* requests that the accounted stand for; all that follows is of those */
	REQUESTS_OBJECTS, /* what the accounted allocated */
	REQUESTS_SPACE,
	REQUESTS_ESCAPED_OBJECTS, /* blocks, and the bytes they can hold, that there were more at their end */
	REQUESTS_ESCAPED_SPACE,
	REQUESTS_FREED_OBJECTS, /* that there were fewer */
	REQUESTS_FREED_SPACE,
	REQUEST_COUNTS
};

enum request_histogram {
	HISTOGRAM_OBJECTS, /* of accounted requests */
	HISTOGRAM_SPACE,
	HISTOGRAM_NS,
	HISTOGRAM_CONNECTION_REQUESTS, /* of connections that ended */
	HISTOGRAM_CONNECTION_SPACE,
	REQUEST_HISTOGRAMS
};

/* One tag's part of a request. */
struct request_pair {
	uint64_t space;
	uint32_t objects;
	int32_t alive; /* more than at its begin */
	uint16_t tag;
};

struct request_open {
	struct request_book *book;
	struct connection *_Atomic on; /* NULL: free */
	uint32_t serial;
	uint32_t number;                /* of the request on the connection, from 1 */
	uint64_t begun_ns, answered_ns; /* 0: not yet */
	uint64_t objects, space;
	uint32_t patience;
	uint64_t
		weight; /* requests it stands for: those that the thread began since the one accounted before, and itself */
	uint32_t pairs_count;                     /* the tags that did not fit are in the sums only */
	struct request_pair pairs[REQUEST_PAIRS]; /* by tag */
};

/* A tag's counters at the last boundary, and what the accounted requests did with it. */
struct request_mark {
	uint64_t objects, space;
	int64_t alive;
};

struct request_tag {
	uint64_t objects, space;
	uint64_t escaped, freed; /* blocks that a request left behind; blocks it freed of what others had left */
	uint64_t escaping;       /* requests that left some */
};

struct request_book {
	/* What every request touches, in one cache line with the first of the counts. */
	uint32_t epoch;             /* the process's that it is of */
	uint32_t room;              /* tags that there are marks for */
	uint64_t awaited;           /* a bit for each of the accounts below that may not be answered yet */
	uint64_t countdown, passed; /* requests to the next account; since the last */
	_Atomic uint64_t counts[REQUEST_COUNTS];
	uint64_t behind_objects, behind_space; /* blocks from the fallback, which has no tags */
	uint64_t behind_objects_marked, behind_space_marked;
	uint64_t now_ns;       /* at the last mark */
	uint64_t cost_ns;      /* of an account, on average of late */
	uint64_t cost_open_ns; /* spent since the last one began */
	uint64_t begun_ns;     /* when that was */
	uint64_t dice;
	uint32_t next; /* of the usual places, where to look first */
	struct request_mark *marks;
	struct request_tag *tags;
	_Atomic uint64_t histograms[REQUEST_HISTOGRAMS][LEDGER_REQUEST_BUCKETS];
	struct request_open opens[REQUEST_OPENS];
};

void request_books_configure(uint64_t every);

extern struct request_book request_book_shared; /* of threads without a heap */
extern _Atomic uint32_t request_epoch;

/* The calling thread's. After a system call little is in the processor's caches, and a call costs more than elsewhere: what
 * most requests need is inlined. */
struct request_book *request_book_make(void);
static inline struct request_book *request_book_mine(void)
{
	const struct thread *thread = thread_self;
	struct request_book *book = __builtin_expect(thread_has_heap(thread), 1) ? thread->requests : NULL;
	uint32_t epoch = atomic_load_explicit(&request_epoch, memory_order_relaxed);
	return __builtin_expect(book && book->epoch == epoch, 1) ? book : request_book_make();
}

static inline void request_book_add(struct request_book *book, _Atomic uint64_t *to, uint64_t n)
{
	if (__builtin_expect(book == &request_book_shared, 0))
		atomic_fetch_add_explicit(to, n, memory_order_relaxed);
	else
		atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline void request_book_count(struct request_book *book, enum request_count what)
{
	request_book_add(book, &book->counts[what], 1);
}

/* For how many requests an account of the one that begins now stands; 0: it is to have none. Counts down. */
uint64_t request_book_due_now(struct request_book *book);
static inline uint64_t request_book_due(struct request_book *book)
{
	book->passed++;
	return __builtin_expect(--book->countdown == 0, 0) ? request_book_due_now(book) : 0;
}

/* Reads the thread's counters, charges what came since the last time to the account (NULL: to nobody). false: it cannot. */
bool request_book_mark(struct request_book *book, struct request_open *charged);

/* The connection's account in this book; NULL: it has none here. */
struct request_open *request_open_of(const struct request_book *book, const struct connection *c);

/* Is there an account whose request has not been answered yet, so that the thread may go on with it? Each account makes a
 * thread mark so many times at most in vain: one that is answered after minutes must not cost more than its share. */
bool request_book_awaits(struct request_book *book);

/* Files the connection's last account, and opens one of that weight for the request that begins; 0: none. */
void request_book_begin(struct request_book *book, struct connection *c, uint64_t weight);

/* The connection was written to; `answers`: that was its turn-around. */
void request_book_answered(struct request_book *book, const struct connection *c, bool answers);

/* The connection ends: its sums go to the book and its record is clear. */
void request_book_closed(struct request_book *book, struct connection *c);

/* The fallback gave the calling thread a block. */
void request_book_behind(size_t bytes);

/* For the report: the child of a fork has books of its parent, which do not count. NULL: none. The shared one is for NULL. */
struct request_book *request_book_seen(const struct thread *of);

void request_books_fork_child(void);

/* Bucket of a histogram: 0 for 0, else the number of bits. */
static inline unsigned request_bucket(uint64_t value)
{
	unsigned bits = value ? 64 - (unsigned)__builtin_clzll(value) : 0;
	return bits < LEDGER_REQUEST_BUCKETS ? bits : LEDGER_REQUEST_BUCKETS - 1;
}

#endif
