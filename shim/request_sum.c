/* request_sum.c: see request_sum.h.
 *
 * What is still open counts as far as it has come: an account whose request was answered as if it were filed, a connection as
 * if it ended now. Books are not changed: their threads may be running.
 */
#define _GNU_SOURCE
#include "request_sum.h"

#include "confined.h"
#include "pools/apart.h"
#include "pools/os.h"
#include "request.h"
#include "request_book.h"
#include "request_top.h"
#include "route.h"

#include <string.h>

enum { LONG_RUN_NS = 1000000000 }; /* a process that did not last so long is not worth the look at its mappings */

static void add_histogram(uint64_t *to, const struct request_book *book, enum request_histogram which)
{
	for (unsigned i = 0; i < LEDGER_REQUEST_BUCKETS; i++)
		to[i] += atomic_load_explicit(&book->histograms[which][i], memory_order_relaxed);
}

static void add_counts(struct ledger_requests *to, const struct request_book *book)
{
	uint64_t *const sums[REQUEST_COUNTS] = {
		[REQUESTS_BEGUN] = &to->count,
		[REQUESTS_READS] = &to->reads,
		[REQUESTS_WRITES] = &to->writes,
		[REQUESTS_ACCEPTED] = &to->accepted,
		[REQUESTS_SILENT] = &to->silent,
		[REQUESTS_BEYOND] = &to->beyond,
		[REQUESTS_LOST] = &to->lost,
		[REQUESTS_ACCOUNTED] = &to->accounted,
		[REQUESTS_WEIGHT] = &to->weight,
		[REQUESTS_OBJECTS] = &to->objects,
		[REQUESTS_SPACE] = &to->space,
		[REQUESTS_ESCAPED_OBJECTS] = &to->escaped_objects,
		[REQUESTS_ESCAPED_SPACE] = &to->escaped_space,
		[REQUESTS_FREED_OBJECTS] = &to->freed_objects,
		[REQUESTS_FREED_SPACE] = &to->freed_space,
	};
	for (unsigned i = 0; i < REQUEST_COUNTS; i++)
		*sums[i] += atomic_load_explicit(&book->counts[i], memory_order_relaxed);
	add_histogram(to->objects_hist, book, HISTOGRAM_OBJECTS);
	add_histogram(to->space_hist, book, HISTOGRAM_SPACE);
	add_histogram(to->ns_hist, book, HISTOGRAM_NS);
	add_histogram(to->connection_requests_hist, book, HISTOGRAM_CONNECTION_REQUESTS);
	add_histogram(to->connection_space_hist, book, HISTOGRAM_CONNECTION_SPACE);
}

static struct ledger_request_site *site_of_tag(struct ledger_requests *to, const struct thread *thread, uint32_t tag)
{
	uint16_t site = route_at(thread, tag)->site;
	return site < to->sites_count ? &to->sites[site] : NULL;
}

static void add_tags(struct ledger_requests *to, const struct thread *thread, const struct request_book *book)
{
	for (uint32_t tag = 1; tag < book->room && tag <= thread->heap.tags; tag++) {
		const struct request_tag *one = &book->tags[tag];
		struct ledger_request_site *site = site_of_tag(to, thread, tag);
		if (!site)
			continue;
		site->objects += one->objects;
		site->space += one->space;
		site->escaped += one->escaped;
		site->freed += one->freed;
		site->escaping += one->escaping;
	}
}

static void add_open_pair(struct ledger_requests *to, const struct thread *thread, const struct request_pair *pair,
                          uint64_t weight)
{
	struct ledger_request_site *site = site_of_tag(to, thread, pair->tag);
	uint64_t size = class_table[route_at(thread, pair->tag)->class].size;
	uint64_t more = pair->alive > 0 ? (uint64_t)pair->alive * weight : 0;
	uint64_t fewer = pair->alive < 0 ? (uint64_t)-pair->alive * weight : 0;
	to->escaped_objects += more;
	to->escaped_space += more * size;
	to->freed_objects += fewer;
	to->freed_space += fewer * size;
	if (!site)
		return;
	site->objects += pair->objects * weight;
	site->space += pair->space * weight;
	site->escaped += more;
	site->freed += fewer;
	site->escaping += more ? weight : 0;
}

/* Into order, the largest first. */
static void add_top(struct ledger_requests *to, const struct ledger_request_top *top)
{
	uint64_t at = to->top_count;
	if (at == LEDGER_REQUEST_TOP && to->top[--at].space >= top->space)
		return;
	to->top_count = at + 1;
	for (; at && to->top[at - 1].space < top->space; at--)
		to->top[at] = to->top[at - 1];
	to->top[at] = *top;
}

static void add_filed_top(struct ledger_requests *to)
{
	static APART struct ledger_request_top filed[LEDGER_REQUEST_TOP];
	uint32_t count = request_top_copy(filed);
	for (uint32_t i = 0; i < count; i++)
		add_top(to, &filed[i]);
}

static void add_open_top(struct ledger_requests *to, const struct thread *thread, const struct request_open *open)
{
	struct ledger_request_top top;
	if (!open->space)
		return;
	request_top_fill(&top, thread, open);
	add_top(to, &top);
}

static void add_opens(struct ledger_requests *to, const struct thread *thread, struct request_book *book)
{
	for (unsigned i = 0; i < REQUEST_OPENS; i++) {
		const struct request_open *open = &book->opens[i];
		const struct connection *c = open->on;
		if (!c || !open->answered_ns || request_open_of(book, c) != open)
			continue;
		for (uint32_t p = 0; p < open->pairs_count && p < REQUEST_PAIRS; p++)
			add_open_pair(to, thread, &open->pairs[p], open->weight);
		add_open_top(to, thread, open);
		to->accounted++;
		to->weight += open->weight;
		to->objects += open->objects * open->weight;
		to->space += open->space * open->weight;
		to->objects_hist[request_bucket(open->objects)] += open->weight;
		to->space_hist[request_bucket(open->space)] += open->weight;
		to->ns_hist[request_bucket(open->answered_ns - open->begun_ns)] += open->weight;
	}
}

static void add_connections(struct ledger_requests *to)
{
	for (int fd = 0; fd < connections_end(); fd++) {
		const struct connection *c = connection_at(fd);
		uint32_t requests = c->requests, accounted = c->accounted;
		if (connection_kind(c) != CONNECTION_CLIENT || !requests)
			continue;
		to->connection_requests_hist[request_bucket(requests)]++;
		if (accounted)
			to->connection_space_hist[request_bucket(c->space / accounted * requests)]++;
	}
}

static void see_mapping(void *context, const char *line)
{
	if (strstr(line, "[io_uring]"))
		*(uint64_t *)context = 1;
}

static uint64_t sum_of(const uint64_t *histogram)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < LEDGER_REQUEST_BUCKETS; i++)
		sum += histogram[i];
	return sum;
}

/* A thread that runs has told its sums and histograms at different moments. */
static void settle(struct ledger_requests *to)
{
	uint64_t space = sum_of(to->space_hist), answered = sum_of(to->ns_hist);
	to->weight = sum_of(to->objects_hist);
	if (space < to->weight)
		to->space_hist[0] += to->weight - space;
	to->untimed = to->weight > answered ? to->weight - answered : 0;
	to->connections = sum_of(to->connection_requests_hist);
}

void requests_sum(struct ledger_requests *to, const struct ledger_header *l, uint64_t sites)
{
	to->sites_count = sites;
	if (request_mode == REQUEST_OFF)
		return;
	if (l->run.duration_ns > LONG_RUN_NS && !confined())
		os_read_lines("/proc/self/maps", see_mapping, &to->io_uring);
	if (!atomic_load(&connections))
		return;
	add_filed_top(to);
	for (const struct heap *heap = heap_first(); heap; heap = heap->next) {
		const struct thread *thread = thread_of((struct heap *)(uintptr_t)heap);
		struct request_book *book = request_book_seen(thread);
		if (!book)
			continue;
		add_counts(to, book);
		add_tags(to, thread, book);
		add_opens(to, thread, book);
	}
	if (request_book_seen(NULL))
		add_counts(to, request_book_seen(NULL));
	add_connections(to);
	settle(to);
	if (to->accepted || to->count)
		to->boundary = BOUNDARY_TURN;
}
