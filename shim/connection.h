/* connection.h: which descriptors are a client's connection, and whose turn it is there.
 *
 * A record a descriptor, by its number, in one table that is mapped when the first connection is accepted: until then, and
 * in every program that accepts none, `connections` is NULL and that is all an interposed call looks at. Any thread may
 * write to a record, without a locked instruction: two threads that read from one stream in the same moment, which no program
 * can make sense of, may make one request more or less of it.
 */
#ifndef SLUICE_CONNECTION_H
#define SLUICE_CONNECTION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { CONNECTIONS_MAX = 1 << 16 }; /* higher descriptors are not looked at */

enum connection_kind {
	CONNECTION_UNKNOWN, /* request:auto: not accepted here; request:turn: not looked at yet */
	CONNECTION_CLIENT,
	CONNECTION_NONE /* request:turn: looked at, no client's */
};

enum connection_phase {
	PHASE_ANSWERED, /* the last thing was written, or nothing was yet: what is read next begins a request */
	PHASE_ASKED
};

struct request_open; /* request_book.h */

struct connection {
	_Atomic uint8_t kind, phase;
	_Atomic bool used;                 /* something was read or written */
	_Atomic uint32_t serial;           /* which of the connections that had this number */
	_Atomic uint32_t requests;         /* begun on it in this process */
	_Atomic uint32_t accounted;        /* of them, whose allocations were added up */
	_Atomic uint64_t space;            /* bytes that those asked for */
	struct request_open *_Atomic open; /* the account of its newest request; NULL: it has none */
};

extern struct connection *_Atomic connections;

static inline struct connection *connection_at(int fd)
{
	struct connection *table = atomic_load_explicit(&connections, memory_order_acquire);
	return __builtin_expect(table && (unsigned)fd < CONNECTIONS_MAX, 0) ? &table[fd] : (struct connection *)0;
}

static inline uint8_t connection_kind(const struct connection *c)
{
	return atomic_load_explicit(&c->kind, memory_order_relaxed);
}

/* Maps the table if it is not there. false: no memory, or no requests are wanted. Any thread, any signal handler. */
bool connections_begin(void);

/* Is it a stream socket that somebody connected to us? Keeps the answer. errno is kept. */
bool connection_look(int fd, struct connection *c);

/* One past the highest descriptor that was ever a client's. */
int connections_end(void);
void connections_reach(int fd);

/* The child of a fork: the connections are still there, what was counted on them is not. */
void connections_fork_child(void);

#endif
