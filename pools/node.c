/* node.c: see node.h.
 *
 * Asking for a node's pages takes mbind, which services are often forbidden by a filter that ends them for it (systemd's
 * SystemCallFilter=~@resources). So a process that was started with a filter does not ask; each run of the range goes to
 * threads of one node even then, and the kernel takes pages from near the thread that touches them first.
 */
#include "node.h"

#include "os.h"

#include <stdatomic.h>

enum { NODE_IDS = 1024, TEXT_MAX = 4096 };

static struct {
	_Atomic unsigned count; /* 0: not looked */
	_Atomic bool stopped;
	bool may_prefer;
	uint16_t ids[NODES_MAX]; /* the kernel's numbers */
	unsigned (*here)(void);
} nodes;

static char text[TEXT_MAX]; /* one caller at a time looks, and its stack may be a small one */

/* A number below NODE_IDS, and where it ends; -1: there is none. */
static int number(const char **at)
{
	int n = -1;
	for (; **at >= '0' && **at <= '9'; ++*at) {
		n = (n < 0 ? 0 : n) * 10 + (**at - '0');
		if (n >= NODE_IDS)
			return -1;
	}
	return n;
}

unsigned node_parse(const char *list, uint16_t *ids, unsigned room)
{
	unsigned count = 0;
	for (;; list++) {
		int first = number(&list), last = first;
		if (first >= 0 && *list == '-') {
			list++;
			last = number(&list);
		}
		if (first < 0 || last < first)
			return 0;
		for (; first <= last && count < room; first++)
			ids[count++] = (uint16_t)first;
		if (*list != ',')
			return *list == '\n' || *list == 0 ? count : 0;
	}
}

static unsigned look(void)
{
	if (atomic_load_explicit(&nodes.stopped, memory_order_relaxed) ||
	    !os_read("/sys/devices/system/node/online", text, sizeof(text)))
		return 1;
	unsigned count = node_parse(text, nodes.ids, NODES_MAX);
	if (count < 2)
		return 1;
	nodes.here = os_thread_node;
	nodes.may_prefer = os_unfiltered();
	return nodes.may_prefer && os_nodes_chosen() ? 1 : count;
}

unsigned node_look(void)
{
	unsigned count = atomic_load_explicit(&nodes.count, memory_order_acquire);
	if (!count) {
		count = look();
		atomic_store_explicit(&nodes.count, count, memory_order_release); /* partner: node_here */
	}
	return count;
}

unsigned node_here(void)
{
	unsigned count = atomic_load_explicit(&nodes.count, memory_order_acquire);
	if (count < 2)
		return 0;
	unsigned id = nodes.here();
	for (unsigned i = 0; i < count; i++)
		if (nodes.ids[i] == id)
			return i;
	return 0;
}

void node_prefer(void *start, size_t bytes, unsigned node)
{
	if (nodes.may_prefer && !atomic_load_explicit(&nodes.stopped, memory_order_relaxed))
		os_prefer_node(start, bytes, nodes.ids[node]);
}

void node_stop(void)
{
	atomic_store_explicit(&nodes.stopped, true, memory_order_relaxed);
}

void node_simulate(unsigned count, unsigned (*here)(void))
{
	for (unsigned i = 0; i < count && i < NODES_MAX; i++)
		nodes.ids[i] = (uint16_t)i;
	nodes.here = here;
	nodes.may_prefer = os_unfiltered();
	atomic_store_explicit(&nodes.count, count < NODES_MAX ? count : NODES_MAX, memory_order_release);
}
