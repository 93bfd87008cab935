/* request.c: the rule; see request.h. Which thread works for whom is the thread's own; what it allocated for whom is
 * request_book.c's.
 *
 * A handler of a signal may interrupt us and read or write itself: it is seen by the mark that we leave, and then is not
 * counted. One that leaves us by a jump leaves the mark behind; whoever comes next further out on the stack knows it by that.
 */
#define _GNU_SOURCE
#include "request.h"

#include "confined.h"
#include "process.h"
#include "request_book.h"

#include <stddef.h>

enum request_mode request_mode;

static __thread struct {
	uintptr_t inside;      /* frame of the one of us that runs; 0: none */
	struct connection *on; /* the thread works for; NULL: nobody it knows of */
	uint32_t serial;
	struct request_book *marked; /* where the counters at the last boundary are; NULL: they are not known */
} turn;

void requests_configure(enum request_mode mode, uint64_t every)
{
	request_mode = mode;
	request_books_configure(every);
	if (mode == REQUEST_TURN)
		connections_begin();
}

static bool enter(void)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	if (turn.inside && here < turn.inside)
		return false;
	turn.inside = here;
	atomic_signal_fence(memory_order_seq_cst);
	return true;
}

static void leave(void)
{
	atomic_signal_fence(memory_order_seq_cst);
	turn.inside = 0;
}

static uint32_t serial_of(const struct connection *c)
{
	return atomic_load_explicit(&c->serial, memory_order_relaxed);
}

static bool is_asked(const struct connection *c)
{
	return atomic_load_explicit(&c->phase, memory_order_relaxed) == PHASE_ASKED;
}

/* For whom the thread works; NULL too when that connection has gone. */
static struct connection *current(void)
{
	return turn.on && serial_of(turn.on) == turn.serial ? turn.on : NULL;
}

static void work_for(struct connection *c)
{
	turn.on = c;
	turn.serial = c ? serial_of(c) : 0;
}

/* Is it known at the next boundary whose the allocations from now on were, and may that be somebody with an account? `next`:
 * for whom the thread works now, NULL: nobody yet. What it does for one that it has not answered is that one's alone. */
static bool is_wanted(struct request_book *book, const struct connection *next)
{
	return (next && request_open_of(book, next)) || ((!next || !is_asked(next)) && request_book_awaits(book));
}

/* What the thread allocated since the last boundary was for `owner`; `goes_on`: what comes now is wanted. */
static void settle(struct request_book *book, const struct connection *owner, bool goes_on)
{
	struct request_open *charged = owner && turn.marked == book ? request_open_of(book, owner) : NULL;
	bool marked = (charged || goes_on) && request_book_mark(book, charged);
	turn.marked = marked && goes_on ? book : NULL;
}

/* Is nothing added up for anybody at the moment? Then a boundary is only a change of whom the thread works for. */
static inline bool is_idle(const struct request_book *book, const struct connection *c)
{
	return !turn.marked && !book->awaited && !atomic_load_explicit(&c->open, memory_order_relaxed);
}

static __attribute__((noinline)) void begin_accounted(struct request_book *book, struct connection *c, uint64_t weight)
{
	settle(book, current(), weight != 0);
	request_book_begin(book, c, turn.marked ? weight : 0);
}

static inline void begin(struct request_book *book, struct connection *c)
{
	uint64_t weight = request_book_due(book);
	request_book_count(book, REQUESTS_BEGUN);
	atomic_store_explicit(&c->requests, atomic_load_explicit(&c->requests, memory_order_relaxed) + 1,
	                      memory_order_relaxed);
	if (__builtin_expect(weight || !is_idle(book, c), 0))
		begin_accounted(book, c, weight);
	work_for(c);
}

static __attribute__((noinline)) void pass_on(struct request_book *book, struct connection *owner, struct connection *c)
{
	settle(book, owner, is_wanted(book, c));
}

/* The thread has touched the connection again: what it did before was for `owner`. */
static inline void go_on_with(struct request_book *book, struct connection *owner, struct connection *c)
{
	if (current() == c)
		return;
	if (__builtin_expect(!is_idle(book, c), 0))
		pass_on(book, owner, c);
	work_for(c);
}

void request_note_read(struct connection *c)
{
	if (!enter())
		return;
	struct request_book *book = request_book_mine();
	request_book_count(book, REQUESTS_READS);
	atomic_store_explicit(&c->used, true, memory_order_relaxed);
	if (is_asked(c)) {
		go_on_with(book, current() ? current() : c, c);
	} else {
		atomic_store_explicit(&c->phase, PHASE_ASKED, memory_order_relaxed);
		begin(book, c);
	}
	leave();
}

/* What the thread did before an answer: for the one that it worked for, unless that one has been answered already. */
static inline struct connection *answers_for(struct connection *on, struct connection *c, bool answers)
{
	return !on || (answers && !is_asked(on)) ? c : on;
}

static __attribute__((noinline)) void answered(struct request_book *book, struct connection *c, bool answers)
{
	if (current() == c && answers) /* what comes now may be for the one that is answered next */
		settle(book, c, is_wanted(book, c));
	else
		go_on_with(book, answers_for(current(), c, answers), c);
	request_book_answered(book, c, answers);
}

void request_note_write(struct connection *c)
{
	if (!enter())
		return;
	struct request_book *book = request_book_mine();
	bool answers = is_asked(c);
	request_book_count(book, REQUESTS_WRITES);
	atomic_store_explicit(&c->used, true, memory_order_relaxed);
	if (answers)
		atomic_store_explicit(&c->phase, PHASE_ANSWERED, memory_order_relaxed);
	if (__builtin_expect(!is_idle(book, c) || book == &request_book_shared, 0))
		answered(book, c, answers);
	else
		work_for(c);
	leave();
}

static __attribute__((noinline)) void wait_accounted(void)
{
	struct request_book *book = request_book_mine();
	settle(book, current(), is_wanted(book, NULL));
}

void request_note_wait(void)
{
	if ((!turn.on && !turn.marked) || !enter())
		return;
	if (turn.marked || request_book_mine()->awaited)
		wait_accounted();
	work_for(NULL);
	leave();
}

void request_note_accept(int fd)
{
	if (request_mode == REQUEST_OFF || !connections_begin() || !enter())
		return;
	struct connection *c = connection_at(fd);
	struct request_book *book = request_book_mine();
	request_book_count(book, REQUESTS_ACCEPTED);
	if (c) {
		if (connection_kind(c) == CONNECTION_CLIENT) /* it was closed without our knowing */
			request_book_closed(book, c);
		atomic_store_explicit(&c->phase, PHASE_ANSWERED, memory_order_relaxed);
		atomic_store_explicit(&c->kind, CONNECTION_CLIENT, memory_order_release);
		connections_reach(fd);
	} else {
		request_book_count(book, REQUESTS_BEYOND);
	}
	leave();
}

void request_note_connect(int fd)
{
	struct connection *c = connection_at(fd);
	if (request_mode == REQUEST_TURN && c)
		atomic_store_explicit(&c->kind, CONNECTION_NONE, memory_order_relaxed);
}

/* In a child of vfork the table is its parent's, whose descriptors it does not close. */
void request_note_close(int fd)
{
	struct connection *c = connection_at(fd);
	if (!c || connection_kind(c) == CONNECTION_UNKNOWN || (!confined() && !process_is_self()) || !enter())
		return;
	if (connection_kind(c) == CONNECTION_CLIENT) {
		struct request_book *book = request_book_mine();
		if (current() == c) {
			settle(book, c, is_wanted(book, NULL));
			work_for(NULL);
		}
		request_book_closed(book, c);
	}
	atomic_store_explicit(&c->phase, PHASE_ANSWERED, memory_order_relaxed);
	atomic_store_explicit(&c->kind, CONNECTION_UNKNOWN, memory_order_relaxed);
	leave();
}

void requests_fork_child(void)
{
	turn.inside = 0;
	turn.marked = NULL;
	if (!atomic_load_explicit(&connections, memory_order_relaxed))
		return;
	connections_fork_child();
	request_books_fork_child();
}
