/* node.h: the machine's memory nodes (NUMA), and which one the calling thread is near.
 *
 * Nodes are counted from 0 here, without the gaps the kernel's numbers may have. Nothing is read before the range has grown
 * to where it matters (range.c); until then, and where there is one node, everything is node 0 and costs a comparison.
 */
#ifndef SLUICE_NODE_H
#define SLUICE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NODES_MAX = 64 }; /* further ones count as node 0 */

/* How many there are. The first call reads it, and a caller must see to it that there is one at a time. 1 too where the
 * program, or numactl, has chosen nodes for its memory itself: then that holds. */
unsigned node_look(void);

/* The calling thread's; 0 until node_look has found several. It may be another one a moment later. */
unsigned node_here(void);

/* Asks for pages of the node for what has been made accessible there; where the kernel, or a filter, may not like to be
 * asked, they come from where the first thread that touches them is. */
void node_prefer(void *start, size_t bytes, unsigned node);

/* The program is about to bind itself (a seccomp filter): from now on no file is read and nothing is asked for. */
void node_stop(void);

/* The numbers in "0-3,8\n", as the kernel lists nodes, up to `room` of them. Returns how many; 0: that is no such list. */
unsigned node_parse(const char *list, uint16_t *ids, unsigned room);

/* For tests: a machine of `count` nodes, the calling thread's told by `here`. Before the range grows. Nodes the kernel does
 * not know it refuses to prefer. */
void node_simulate(unsigned count, unsigned (*here)(void));

#endif
