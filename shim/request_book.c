/* request_book.c: see request_book.h. Everything here is the calling thread's own.
 */
#define _GNU_SOURCE
#include "request_book.h"

#include "confined.h"
#include "pools/apart.h"
#include "pools/os.h"
#include "request_top.h"
#include "route.h"
#include "thread.h"

#include <string.h>

enum {
	ROOM_FIRST = 64,
	PAID_SHARE = 400, /* an account may cost one part in so many of the time from one to the next */
	BESIDES_NS = 200, /* of that cost is not measured: clocks, sums, what is no longer in the processor's caches */
	EVERY_MAX = 4096
};

static uint64_t every;
APART struct request_book request_book_shared;
_Atomic uint32_t request_epoch;

void request_books_configure(uint64_t option_every)
{
	every = option_every;
}

static void count_in(struct request_book *book, enum request_histogram which, uint64_t value, uint64_t weight)
{
	request_book_add(book, &book->histograms[which][request_bucket(value)], weight);
}

/* --- books -------------------------------------------------------------------------------------------------------- */

/* What a fork left in it is its parent's. */
static void clear(struct request_book *book)
{
	if (book->tags)
		memset(book->tags, 0, book->room * sizeof(*book->tags));
	memset(book->counts, 0, sizeof(book->counts));
	memset(book->histograms, 0, sizeof(book->histograms));
	for (unsigned i = 0; i < REQUEST_OPENS; i++)
		if (book->opens[i].on)
			book->opens[i].on = NULL;
	book->awaited = 0;
	book->epoch = request_epoch;
	book->countdown = 1;
	book->passed = book->cost_ns = book->cost_open_ns = 0;
}

struct request_book *request_book_make(void)
{
	struct thread *thread = thread_if_any();
	if (!thread)
		return &request_book_shared;
	if (!thread->requests) {
		thread->requests = os_map(sizeof(struct request_book));
		if (!thread->requests)
			return &request_book_shared;
		thread->requests->dice = (uintptr_t)thread | 1;
		thread->requests->countdown = 1;
		thread->requests->epoch = request_epoch;
	}
	if (thread->requests->epoch != request_epoch)
		clear(thread->requests);
	return thread->requests;
}

struct request_book *request_book_seen(const struct thread *of)
{
	struct request_book *book = of ? of->requests : &request_book_shared;
	return book && book->epoch == request_epoch ? book : NULL;
}

/* --- marks -------------------------------------------------------------------------------------------------------- */

static bool make_room(struct request_book *book, uint32_t tags)
{
	uint32_t room = book->room ? book->room : ROOM_FIRST;
	while (room <= tags)
		room *= 2;
	size_t one = sizeof(*book->marks) + sizeof(*book->tags);
	struct request_mark *marks = os_map(room * one), *old = book->marks;
	if (!marks)
		return false;
	struct request_tag *sums = (struct request_tag *)(marks + room);
	if (old) {
		memcpy(marks, old, book->room * sizeof(*marks));
		memcpy(sums, book->tags, book->room * sizeof(*sums));
		os_unmap(old, book->room * one);
	}
	book->marks = marks;
	book->tags = sums;
	book->room = room;
	return true;
}

/* The request's part at the tag, which is not below that of the last call's; `at` is where to look from. NULL: no room. */
static struct request_pair *pair_at(struct request_open *open, uint32_t *at, uint16_t tag)
{
	while (*at < open->pairs_count && open->pairs[*at].tag < tag)
		++*at;
	struct request_pair *pair = &open->pairs[*at];
	if (*at < open->pairs_count && pair->tag == tag)
		return pair;
	if (open->pairs_count == REQUEST_PAIRS)
		return NULL;
	memmove(pair + 1, pair, (open->pairs_count++ - *at) * sizeof(*pair));
	*pair = (struct request_pair){.tag = tag};
	return pair;
}

static void charge(struct request_open *to, uint32_t *at, uint16_t tag, const struct request_mark *then,
                   const struct request_mark *now)
{
	uint64_t objects = now->objects - then->objects, space = now->space - then->space;
	to->objects += objects;
	to->space += space;
	struct request_pair *pair = pair_at(to, at, tag);
	if (!pair) {
		to->book->tags[tag].objects += objects * to->weight;
		to->book->tags[tag].space += space * to->weight;
		return;
	}
	pair->objects += (uint32_t)objects;
	pair->space += space;
	pair->alive += (int32_t)(now->alive - then->alive);
}

static void mark_behind(struct request_book *book, struct request_open *charged)
{
	if (charged) {
		charged->objects += book->behind_objects - book->behind_objects_marked;
		charged->space += book->behind_space - book->behind_space_marked;
	}
	book->behind_objects_marked = book->behind_objects;
	book->behind_space_marked = book->behind_space;
}

bool request_book_mark(struct request_book *book, struct request_open *charged)
{
	struct thread *thread = thread_if_any();
	if (!thread || thread->requests != book)
		return false;
	uint64_t began = os_now_ns();
	uint32_t tags = thread->heap.tags, at = 0;
	if (tags >= book->room && !make_room(book, tags))
		return false;
	const struct cache *caches = thread->heap.caches;
	struct request_mark *marks = book->marks;
	for (uint32_t tag = 1; tag <= tags; tag++) {
		struct request_mark now = {caches[tag].allocs, caches[tag].space, cache_alive(&caches[tag])};
		if (charged && (now.objects != marks[tag].objects || now.alive != marks[tag].alive))
			charge(charged, &at, (uint16_t)tag, &marks[tag], &now);
		marks[tag] = now;
	}
	mark_behind(book, charged);
	book->now_ns = os_now_ns();
	book->cost_open_ns += book->now_ns - began;
	return true;
}

void request_book_behind(size_t bytes)
{
	struct thread *thread = thread_if_any();
	if (!thread || !thread->requests)
		return;
	thread->requests->behind_objects++;
	thread->requests->behind_space += bytes;
}

/* --- accounts ----------------------------------------------------------------------------------------------------- */

static bool is_of(const struct request_open *open, const struct connection *c)
{
	return atomic_load_explicit(&open->on, memory_order_relaxed) == c &&
	       open->serial == atomic_load_explicit(&c->serial, memory_order_relaxed);
}

struct request_open *request_open_of(const struct request_book *book, const struct connection *c)
{
	struct request_open *open = atomic_load_explicit(&c->open, memory_order_relaxed);
	return open && open->book == book && is_of(open, c) ? open : NULL;
}

static void file_pair(struct request_book *book, const struct thread *thread, const struct request_pair *pair,
                      uint64_t weight)
{
	struct request_tag *sums = &book->tags[pair->tag];
	uint64_t size = class_table[route_at(thread, pair->tag)->class].size;
	sums->objects += pair->objects * weight;
	sums->space += pair->space * weight;
	if (pair->alive > 0) {
		uint64_t more = (uint64_t)pair->alive * weight;
		sums->escaped += more;
		sums->escaping += weight;
		request_book_add(book, &book->counts[REQUESTS_ESCAPED_OBJECTS], more);
		request_book_add(book, &book->counts[REQUESTS_ESCAPED_SPACE], more * size);
	} else if (pair->alive < 0) {
		uint64_t fewer = (uint64_t)-pair->alive * weight;
		sums->freed += fewer;
		request_book_add(book, &book->counts[REQUESTS_FREED_OBJECTS], fewer);
		request_book_add(book, &book->counts[REQUESTS_FREED_SPACE], fewer * size);
	}
}

static void file_sums(struct request_book *book, uint64_t objects, uint64_t space, uint64_t weight)
{
	request_book_count(book, REQUESTS_ACCOUNTED);
	request_book_add(book, &book->counts[REQUESTS_WEIGHT], weight);
	request_book_add(book, &book->counts[REQUESTS_OBJECTS], objects * weight);
	request_book_add(book, &book->counts[REQUESTS_SPACE], space * weight);
	count_in(book, HISTOGRAM_OBJECTS, objects, weight);
	count_in(book, HISTOGRAM_SPACE, space, weight);
}

static void file(struct request_book *book, struct request_open *open)
{
	const struct thread *thread = thread_if_any();
	struct connection *c = open->on;
	for (uint32_t i = 0; i < open->pairs_count; i++)
		file_pair(book, thread, &open->pairs[i], open->weight);
	file_sums(book, open->objects, open->space, open->weight);
	if (open->answered_ns)
		count_in(book, HISTOGRAM_NS, open->answered_ns - open->begun_ns, open->weight);
	request_top_enter(thread, open);
	atomic_store_explicit(&c->accounted, c->accounted + 1, memory_order_relaxed);
	atomic_store_explicit(&c->space, c->space + open->space, memory_order_relaxed);
	atomic_store_explicit(&c->open, NULL, memory_order_relaxed);
	atomic_store_explicit(&open->on, NULL, memory_order_relaxed);
}

/* An account that its connection no longer knows of: another thread began the next request there, or closed it. */
static bool is_lost(const struct request_book *book, const struct request_open *open)
{
	return request_open_of(book, open->on) != open;
}

static bool is_answered(const struct request_open *open)
{
	return atomic_load_explicit(&open->on->phase, memory_order_relaxed) == PHASE_ANSWERED;
}

/* Is it free, or can it be made so? */
static bool is_to_have(struct request_book *book, struct request_open *open)
{
	if (!open->on)
		return true;
	if (is_lost(book, open)) {
		request_book_count(book, REQUESTS_LOST);
		return true;
	}
	if (is_answered(open))
		file(book, open);
	return !open->on;
}

/* A place for an account. By turns, since an answer may go on after its first write; the others where many wait for theirs. */
static struct request_open *place(struct request_book *book)
{
	for (unsigned i = 0; i < REQUEST_OPENS; i++) {
		unsigned at = i < REQUEST_OPENS_USUAL ? (book->next + i) % REQUEST_OPENS_USUAL : i;
		if (!is_to_have(book, &book->opens[at]))
			continue;
		book->next = at + 1;
		return &book->opens[at];
	}
	return NULL;
}

bool request_book_awaits(struct request_book *book)
{
	for (uint64_t left = book->awaited; left; left &= left - 1) {
		struct request_open *open = &book->opens[__builtin_ctzll(left)];
		if (open->on && !is_lost(book, open) && !is_answered(open) && open->patience) {
			open->patience--;
			return true;
		}
		book->awaited &= ~(left & -left);
	}
	return false;
}

void request_book_begin(struct request_book *book, struct connection *c, uint64_t weight)
{
	struct request_open *last = request_open_of(book, c);
	if (last)
		file(book, last);
	atomic_store_explicit(&c->open, NULL, memory_order_relaxed);
	struct request_open *open = weight ? place(book) : NULL;
	if (!open)
		return;
	open->book = book; /* field by field: the pairs are most of it */
	open->serial = c->serial;
	open->number = c->requests;
	open->weight = weight;
	open->begun_ns = book->now_ns;
	open->answered_ns = open->objects = open->space = 0;
	open->pairs_count = 0;
	atomic_store_explicit(&open->on, c, memory_order_relaxed);
	atomic_store_explicit(&c->open, open, memory_order_relaxed);
	open->patience = REQUEST_PATIENCE;
	book->awaited |= UINT64_C(1) << (open - book->opens);
}

void request_book_answered(struct request_book *book, const struct connection *c, bool answers)
{
	struct request_open *open = request_open_of(book, c);
	if (answers && book == &request_book_shared && !thread_if_any()) { /* it has no heap: it has allocated nothing */
		file_sums(book, 0, 0, 1);
	}
	if (open)
		open->answered_ns = os_now_ns();
}

void request_book_closed(struct request_book *book, struct connection *c)
{
	struct request_open *open = request_open_of(book, c);
	if (open)
		file(book, open);
	if (!c->used)
		request_book_count(book, REQUESTS_SILENT);
	if (c->requests)
		count_in(book, HISTOGRAM_CONNECTION_REQUESTS, c->requests, 1);
	if (c->accounted)
		count_in(book, HISTOGRAM_CONNECTION_SPACE, c->space / c->accounted * c->requests, 1);
	c->used = false;
	c->requests = c->accounted = 0;
	c->space = 0;
	c->open = NULL;
	c->serial++;
}

/* --- how often ---------------------------------------------------------------------------------------------------- */

static uint64_t throw_dice(struct request_book *book)
{
	book->dice ^= book->dice << 13;
	book->dice ^= book->dice >> 7;
	book->dice ^= book->dice << 17;
	return book->dice;
}

/* Requests to the next account, from what the last ones cost and how fast requests come. */
static uint64_t pause(struct request_book *book)
{
	uint64_t now = os_now_ns(), wall = now - book->begun_ns;
	bool first = book->begun_ns == 0;
	uint64_t cost_ns = book->cost_open_ns + BESIDES_NS;
	book->cost_ns = book->cost_ns ? (7 * book->cost_ns + cost_ns) / 8 : cost_ns;
	book->cost_open_ns = 0;
	book->begun_ns = now;
	if (every || first)
		return every ? every : 1;
	uint64_t a_request = wall / (book->passed ? book->passed : 1);
	uint64_t n = book->cost_ns * PAID_SHARE / (a_request ? a_request : 1) + 1;
	n = n < EVERY_MAX ? n : EVERY_MAX;
	return n <= 2 ? n : n / 2 + 1 + throw_dice(book) % n; /* n on average */
}

uint64_t request_book_due_now(struct request_book *book)
{
	uint64_t weight = book->passed;
	if (book == &request_book_shared || confined()) {
		book->countdown = 1;
		return 0;
	}
	book->countdown = pause(book);
	book->passed = 0;
	return weight;
}

void request_books_fork_child(void)
{
	request_epoch++;
	clear(&request_book_shared);
	request_top_fork_child();
}
