/* request_top.c: see request_top.h. The table is all threads', and is tried, not waited for.
 */
#define _GNU_SOURCE
#include "request_top.h"

#include "pools/apart.h"
#include "route.h"

#include <string.h>

static APART struct {
	atomic_flag busy;
	_Atomic uint64_t least; /* bytes of the smallest, once the table is full */
	uint32_t count;
	struct ledger_request_top top[LEDGER_REQUEST_TOP];
} largest;

static void add_part(struct ledger_request_top *top, struct ledger_request_part part)
{
	for (unsigned i = 0; i < top->parts_count; i++) /* a site has several tags: classes, twins */
		if (top->parts[i].site == part.site) {
			part.objects += top->parts[i].objects;
			part.space += top->parts[i].space;
			memmove(&top->parts[i], &top->parts[i + 1], (--top->parts_count - i) * sizeof(part));
			break;
		}
	unsigned at = (unsigned)top->parts_count;
	while (at && top->parts[at - 1].space < part.space)
		at--;
	if (at == LEDGER_REQUEST_TOP_SITES)
		return;
	unsigned behind = (unsigned)top->parts_count - at;
	if (top->parts_count == LEDGER_REQUEST_TOP_SITES)
		behind--;
	else
		top->parts_count++;
	memmove(&top->parts[at + 1], &top->parts[at], behind * sizeof(part));
	top->parts[at] = part;
}

void request_top_fill(struct ledger_request_top *top, const struct thread *thread, const struct request_open *open)
{
	*top = (struct ledger_request_top){.number = open->number,
	                                   .objects = open->objects,
	                                   .space = open->space,
	                                   .duration_ns = open->answered_ns ? open->answered_ns - open->begun_ns : 0};
	for (uint32_t i = 0; i < open->pairs_count; i++)
		if (open->pairs[i].objects)
			add_part(top, (struct ledger_request_part){route_at(thread, open->pairs[i].tag)->site,
			                                           open->pairs[i].objects, open->pairs[i].space});
}

/* Another thread at it: then this one is not entered; it is one of the largest of very many, or there will be more. */
void request_top_enter(const struct thread *thread, const struct request_open *open)
{
	if (open->space <= atomic_load_explicit(&largest.least, memory_order_relaxed) ||
	    atomic_flag_test_and_set_explicit(&largest.busy, memory_order_acquire))
		return;
	uint32_t least = 0;
	if (largest.count < LEDGER_REQUEST_TOP) {
		least = largest.count++;
	} else {
		for (uint32_t i = 1; i < LEDGER_REQUEST_TOP; i++)
			least = largest.top[i].space < largest.top[least].space ? i : least;
	}
	request_top_fill(&largest.top[least], thread, open);
	uint64_t bound = UINT64_MAX;
	for (uint32_t i = 0; i < LEDGER_REQUEST_TOP; i++)
		bound = largest.top[i].space < bound ? largest.top[i].space : bound;
	atomic_store_explicit(&largest.least, bound, memory_order_relaxed);
	atomic_flag_clear_explicit(&largest.busy, memory_order_release);
}

uint32_t request_top_copy(struct ledger_request_top *to)
{
	uint32_t count = 0;
	if (atomic_flag_test_and_set_explicit(&largest.busy, memory_order_acquire))
		return 0;
	for (; count < largest.count; count++)
		to[count] = largest.top[count];
	atomic_flag_clear_explicit(&largest.busy, memory_order_release);
	return count;
}

void request_top_fork_child(void)
{
	memset(&largest, 0, sizeof(largest));
}
