/* connection.c: see connection.h.
 *
 * request:turn asks the kernel once what a descriptor is that was not accepted here: a stream socket, not a listening one,
 * that this process did not connect itself (interpose_socket.c hears of that), is a client's. Of two processes' ends of a
 * socketpair neither is: they have no name, while what a listener of AF_UNIX accepts has the listener's.
 */
#define _GNU_SOURCE
#include "connection.h"

#include "confined.h"
#include "pools/os.h"

#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

struct connection *_Atomic connections;
static _Atomic int end;

bool connections_begin(void)
{
	if (atomic_load_explicit(&connections, memory_order_acquire))
		return true;
	size_t bytes = CONNECTIONS_MAX * sizeof(struct connection);
	struct connection *fresh = os_map(bytes), *none = NULL;
	if (!fresh)
		return false;
	if (!atomic_compare_exchange_strong(&connections, &none, fresh))
		os_unmap(fresh, bytes);
	return true;
}

static bool option_is(int fd, int option, int value)
{
	int found = -1;
	socklen_t bytes = sizeof(found);
	return getsockopt(fd, SOL_SOCKET, option, &found, &bytes) == 0 && found == value;
}

static bool has_name(int fd)
{
	struct sockaddr_un name = {0};
	socklen_t bytes = sizeof(name);
	if (getsockname(fd, (struct sockaddr *)&name, &bytes) != 0)
		return false;
	return name.sun_family != AF_UNIX || bytes > offsetof(struct sockaddr_un, sun_path);
}

bool connection_look(int fd, struct connection *c)
{
	int saved = errno;
	if (confined())
		return false;
	bool client = option_is(fd, SO_TYPE, SOCK_STREAM) && option_is(fd, SO_ACCEPTCONN, 0) && has_name(fd);
	errno = saved;
	atomic_store_explicit(&c->kind, client ? CONNECTION_CLIENT : CONNECTION_NONE, memory_order_relaxed);
	if (client)
		connections_reach(fd);
	return client;
}

int connections_end(void)
{
	return atomic_load_explicit(&end, memory_order_relaxed);
}

void connections_reach(int fd)
{
	int before = atomic_load_explicit(&end, memory_order_relaxed);
	while (fd >= before && !atomic_compare_exchange_weak(&end, &before, fd + 1))
		;
}

void connections_fork_child(void)
{
	for (int fd = 0; fd < connections_end(); fd++) {
		struct connection *c = connection_at(fd);
		if (connection_kind(c) != CONNECTION_CLIENT)
			continue;
		atomic_store(&c->used, false);
		atomic_store(&c->requests, 0);
		atomic_store(&c->accounted, 0);
		atomic_store(&c->space, 0);
		atomic_store(&c->open, NULL);
	}
}
