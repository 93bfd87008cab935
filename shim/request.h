/* request.h: when a request begins and ends, told by the socket calls of a program that knows nothing of it.
 *
 *   on a connection   data read after the last write begins a request; the write after it is the turn-around
 *   on a thread       it works for the connection that it last read from or wrote to, until it waits
 *
 * What a thread does before it has touched a connection, after a wait say, is the connection's to which it then goes on: the
 * one that it answers, or reads more of. What it does after it has answered one and before it answers another is the
 * other's. A connection is what was accepted, by this process or the one that forked it; request:turn adds stream sockets
 * that came some other way (connection.c). A client that sends several requests before it reads gets them counted as one turn.
 *
 * All of it may be called in signal handlers, keeps errno, takes no lock and no memory but by mmap.
 */
#ifndef SLUICE_REQUEST_H
#define SLUICE_REQUEST_H

#include "connection.h"

#include <stddef.h>
#include <sys/types.h>

enum request_mode { REQUEST_OFF, REQUEST_AUTO, REQUEST_TURN };

extern enum request_mode request_mode;

/* Options: the mode, and how many requests to one that is accounted; 0: as its cost allows. */
void requests_configure(enum request_mode mode, uint64_t every);

/* The connection if the descriptor is a client's, else NULL. */
static inline struct connection *request_on(int fd)
{
	struct connection *c = connection_at(fd);
	if (__builtin_expect(!c, 1))
		return NULL;
	uint8_t kind = connection_kind(c);
	if (kind == CONNECTION_CLIENT)
		return c;
	return kind == CONNECTION_UNKNOWN && request_mode == REQUEST_TURN && connection_look(fd, c) ? c : NULL;
}

/* Data was read from it, or is about to be written to it. */
void request_note_read(struct connection *c);
void request_note_write(struct connection *c);

/* The calling thread is about to wait for descriptors. */
void request_note_wait(void);

/* A listener returned the descriptor. */
void request_note_accept(int fd);

/* The process connected it: the other end is no client. */
void request_note_connect(int fd);

/* The descriptor is about to go, or to mean something else. */
void request_note_close(int fd);

/* The child of a fork: counts begin anew. */
void requests_fork_child(void);

#endif
