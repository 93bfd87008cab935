/* The rule that tells requests, and what is added up for each: against calls that the test makes in the order it wants, with
 * numbers for descriptors. Allocations are sites' of known sizes.
 */
#include "shim/request.h"
#include "shim/allocate.h"
#include "shim/facts.h"
#include "shim/publish.h"
#include "shim/request_book.h"
#include "shim/site.h"
#include "tests/acting.h"
#include "tests/forked.h"
#include "tests/sites.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { A = 700, B, C }; /* connections, far above any descriptor of the test's own */

static __attribute__((constructor(101))) void begin(void)
{
	acting_begin("decay:-1,range:256M,lifetimes:off,request_every:1");
}

static void reads(int fd)
{
	request_note_read(request_on(fd));
}

static void writes(int fd)
{
	request_note_write(request_on(fd));
}

static void accepts(int fd)
{
	request_note_accept(fd);
	cr_assert_not_null(request_on(fd));
}

static void ask_and_answer(int fd)
{
	reads(fd);
	writes(fd);
}

static const struct ledger_requests *now(void)
{
	const struct ledger_facts *facts = facts_make(publish(END_LIVE));
	cr_assert_not_null(facts);
	return ledger_requests(facts);
}

static const struct ledger_request_site *site_now(unsigned site)
{
	return &now()->sites[site_of(pc_of(site))];
}

/* The accounted requests' bytes, the largest first, are these; 0 ends them. */
static void are(const uint64_t *spaces)
{
	const struct ledger_requests *r = now();
	uint64_t sum = 0, count = 0;
	for (; spaces[count]; count++) {
		cr_expect_eq(r->top[count].space, spaces[count], "number %lu has %lu, not %lu", (unsigned long)count,
		             (unsigned long)r->top[count].space, (unsigned long)spaces[count]);
		sum += spaces[count];
	}
	cr_expect_eq(r->top_count, count, "%lu have allocated", (unsigned long)r->top_count);
	cr_expect_eq(r->space, sum);
}
#define ARE(...) are((const uint64_t[]){__VA_ARGS__, 0})

Test(request, what_is_read_after_an_answer_begins_one)
{
	take(0, 16, 1);
	accepts(A);
	reads(A);
	reads(A);
	writes(A);
	writes(A);
	reads(A);
	writes(A);
	request_note_close(A);
	const struct ledger_requests *r = now();
	cr_expect_eq(r->count, 2);
	cr_expect_eq(r->reads, 3);
	cr_expect_eq(r->writes, 3);
	cr_expect_eq(r->accepted, 1);
	cr_expect_eq(r->connections, 1);
	cr_expect_eq(r->connection_requests_hist[request_bucket(2)], 1);
	cr_expect_eq(r->accounted, 2);
	cr_expect_eq(r->untimed, 0);
	cr_expect_eq(r->boundary, BOUNDARY_TURN);
}

Test(request, a_greeting_is_no_answer)
{
	accepts(A);
	writes(A);
	ask_and_answer(A);
	cr_expect_eq(now()->count, 1);
}

Test(request, nothing_is_watched_before_an_accept)
{
	cr_expect_null(request_on(0));
	cr_expect_null(connections);
	cr_expect_eq(now()->boundary, BOUNDARY_NONE);
}

Test(request, off_is_off)
{
	requests_configure(REQUEST_OFF, 0);
	request_note_accept(A);
	cr_expect_null(connections);
	cr_expect_null(request_on(A));
}

Test(request, descriptors_beyond_the_table_are_counted)
{
	request_note_accept(CONNECTIONS_MAX);
	cr_expect_null(request_on(CONNECTIONS_MAX));
	cr_expect_null(request_on(-1));
	cr_expect_eq(now()->beyond, 1);
}

Test(request, interleaved_requests_have_their_own)
{
	take(0, 16, 1);
	accepts(A);
	accepts(B);
	reads(A);
	take(1, 100, 3);
	reads(B);
	take(2, 1000, 5);
	reads(A);
	take(1, 100, 4);
	writes(B);
	writes(A);
	ARE(5000, 700);
	cr_expect_eq(now()->objects, 12);
	cr_expect_eq(now()->top[0].parts_count, 1);
	cr_expect_eq(now()->top[0].parts[0].site, site_of(pc_of(2)));
	cr_expect_eq(now()->top[0].parts[0].objects, 5);
	cr_expect_eq(site_now(1)->space, 700);
	cr_expect_eq(site_now(2)->space, 5000);
}

Test(request, in_whatever_order_they_are_answered)
{
	take(0, 16, 1);
	for (int fd = A; fd <= C; fd++)
		accepts(fd);
	reads(A);
	take(1, 100, 1);
	reads(B);
	take(2, 1000, 1);
	reads(C);
	take(3, 10000, 1);
	writes(C);
	writes(B);
	writes(A);
	ARE(10000, 1000, 100);
}

Test(request, work_between_two_answers_is_the_seconds)
{
	take(0, 16, 1);
	accepts(A);
	accepts(B);
	reads(A);
	reads(B);
	writes(B);
	take(1, 300, 2);
	writes(A);
	take(1, 50, 1); /* and what comes after is still for the one that was answered last */
	request_note_wait();
	take(1, 5000, 1);
	ARE(650);
}

Test(request, what_follows_a_wait_is_for_the_one_it_goes_on_with)
{
	take(0, 16, 1);
	accepts(A);
	accepts(B);
	reads(A);
	take(1, 100, 1);
	request_note_wait();
	take(1, 1000, 1); /* before the answer */
	writes(A);
	request_note_wait();
	take(1, 20000, 1); /* nobody's: the next begins with its read */
	reads(B);
	take(1, 7, 1);
	request_note_wait();
	take(1, 300, 1);
	reads(B); /* the rest of it */
	writes(B);
	ARE(1100, 307);
}

Test(request, what_follows_a_wait_is_nobodys_if_another_begins)
{
	take(0, 16, 1);
	accepts(A);
	accepts(B);
	reads(A);
	take(1, 100, 1);
	request_note_wait();
	take(1, 1000, 1);
	reads(B);
	take(1, 30, 1);
	writes(B);
	writes(A);
	ARE(100, 30);
}

Test(request, a_wait_that_never_ends_is_not_watched_for_ever)
{
	take(0, 16, 1);
	accepts(A);
	accepts(B);
	reads(A);
	for (int i = 0; i < 2 * REQUEST_PATIENCE; i++) {
		request_note_wait();
		take(1, 10, 1);
		ask_and_answer(B);
	}
	struct request_book *book = request_book_mine();
	cr_expect_not(request_book_awaits(book));
	request_note_wait();
	uint64_t marked = book->now_ns;
	request_note_wait();
	cr_expect_eq(book->now_ns, marked);
	cr_expect_eq(now()->count, 2 * REQUEST_PATIENCE + 1);
}

Test(request, what_stays_and_what_goes_later)
{
	accepts(A);
	take(0, 16, 1);
	reads(A);
	take(1, 64, 10);
	give(4);
	writes(A);
	reads(A);
	for (int i = 4; i < 9; i++)
		release(blocks[i]);
	take(2, 64, 3);
	give(3);
	writes(A);
	cr_expect_eq(site_now(1)->escaped, 6);
	cr_expect_eq(site_now(1)->escaping, 1);
	cr_expect_eq(site_now(1)->freed, 5);
	cr_expect_eq(site_now(2)->escaped, 0);
	cr_expect_eq(now()->escaped_objects, 6);
	cr_expect_eq(now()->escaped_space, 6 * 64);
	cr_expect_eq(now()->freed_objects, 5);
}

Test(request, what_a_request_frees_in_a_later_turn_of_the_thread_has_not_escaped)
{
	take(0, 16, 1);
	accepts(A);
	accepts(B);
	reads(A);
	take(1, 64, 10);
	reads(B);
	writes(B);
	reads(A);
	give(10);
	writes(A);
	cr_expect_eq(now()->escaped_objects, 0);
	cr_expect_eq(now()->freed_objects, 0);
}

Test(request, behind_the_pools_counts_too)
{
	take(0, 16, 1);
	accepts(A);
	reads(A);
	take(1, 6 << 20, 1);
	writes(A);
	ARE(6 << 20);
	give(1);
}

Test(request, a_number_that_comes_again_is_another_connection)
{
	take(0, 16, 1);
	for (int i = 0; i < 3; i++) {
		accepts(A);
		for (int n = 0; n <= i; n++)
			ask_and_answer(A);
		if (i != 1) /* once it goes unseen */
			request_note_close(A);
	}
	accepts(B);
	request_note_close(B);
	cr_expect_null(request_on(A));
	const struct ledger_requests *r = now();
	cr_expect_eq(r->count, 6);
	cr_expect_eq(r->connections, 3);
	cr_expect_eq(r->connection_requests_hist[1], 1);
	cr_expect_eq(r->connection_requests_hist[2], 2);
	cr_expect_eq(r->silent, 1);
	cr_expect_eq(r->accounted, 6);
}

Test(request, an_open_question_is_not_accounted_and_a_closed_one_is)
{
	take(0, 16, 1);
	accepts(A);
	reads(A);
	take(1, 64, 1);
	cr_expect_eq(now()->count, 1);
	cr_expect_eq(now()->accounted, 0);
	request_note_close(A);
	cr_expect_eq(now()->accounted, 1);
	cr_expect_eq(now()->untimed, 1);
	ARE(64);
}

Test(request, one_in_so_many)
{
	take(0, 16, 1);
	requests_configure(REQUEST_AUTO, 10);
	accepts(A);
	for (int i = 0; i < 1000; i++) {
		reads(A);
		take(1, 64, 1);
		give(1);
		writes(A);
	}
	cr_expect_eq(now()->count, 1000);
	cr_expect_eq(now()->accounted, 100);
	cr_expect_eq(now()->weight, 1 + 99 * 10);
	cr_expect_eq(now()->space, 991 * 64);
	cr_expect_eq(now()->objects_hist[1], 991);
}

Test(request, more_at_once_than_there_are_accounts)
{
	take(0, 16, 1);
	for (int fd = A; fd < A + 2 * REQUEST_OPENS; fd++)
		accepts(fd);
	for (int fd = A; fd < A + 2 * REQUEST_OPENS; fd++) {
		reads(fd);
		take(1, 64, 1);
	}
	for (int fd = A; fd < A + 2 * REQUEST_OPENS; fd++)
		writes(fd);
	cr_expect_eq(now()->count, 2 * REQUEST_OPENS);
	cr_expect_eq(now()->accounted, REQUEST_OPENS);
	cr_expect_eq(now()->space, 64 * REQUEST_OPENS);
}

Test(request, of_more_tags_than_an_account_has_room_for)
{
	enum { TAGS = REQUEST_PAIRS + 100 };
	take(0, 16, 1);
	accepts(A);
	reads(A);
	for (unsigned site = 1; site <= TAGS; site++)
		take(site, 32, 2);
	writes(A);
	ARE(TAGS * 64);
	for (unsigned site = 1; site <= TAGS; site++)
		cr_assert_eq(now()->sites[site_of(pc_of(site))].objects, 2);
}

/* --- threads, children -------------------------------------------------------------------------------------------- */

static void run(void *(*function)(void *))
{
	pthread_t thread;
	cr_assert_eq(pthread_create(&thread, NULL, function, NULL), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
}

static void *goes_on(void *unused)
{
	take(2, 1000, 1);
	writes(A);
	reads(A);
	take(2, 50, 1);
	writes(A);
	return unused;
}

Test(request, an_account_stays_with_the_thread_that_began_it)
{
	take(0, 16, 1);
	accepts(A);
	reads(A);
	take(1, 100, 1);
	run(goes_on);
	for (int i = 0; i < 2 * REQUEST_OPENS; i++) {
		accepts(B);
		ask_and_answer(B);
		request_note_close(B);
	}
	const struct ledger_requests *r = now();
	cr_expect_eq(r->count, 2 + 2 * REQUEST_OPENS);
	cr_expect_eq(r->lost, 1);
	cr_expect_eq(r->accounted, 1 + 2 * REQUEST_OPENS);
	cr_expect_eq(r->space, 50);
}

static void *allocates_nothing(void *unused)
{
	ask_and_answer(A);
	ask_and_answer(A);
	cr_expect_null(thread_if_any());
	return unused;
}

Test(request, a_thread_without_a_heap_has_allocated_nothing)
{
	take(0, 16, 1);
	accepts(A);
	run(allocates_nothing);
	cr_expect_eq(now()->count, 2);
	cr_expect_eq(now()->accounted, 2);
	cr_expect_eq(now()->untimed, 2);
	cr_expect_eq(now()->objects_hist[0], 2);
}

static int in_child(void)
{
	requests_fork_child();
	HOLDS(now()->count == 0 && now()->accounted == 0 && now()->top_count == 0 && now()->connections == 0);
	HOLDS(request_on(A) && request_on(B));
	writes(A); /* the answer to what its parent read */
	reads(B);
	take(2, 500, 1);
	writes(B);
	HOLDS(now()->count == 1 && now()->accounted == 1 && now()->space == 500 && now()->connections == 1);
	HOLDS(now()->escaped_objects == 1 && now()->accepted == 0);
	return 0;
}

Test(request, a_child_counts_anew)
{
	take(0, 16, 1);
	accepts(A);
	accepts(B);
	reads(A);
	take(1, 100, 1);
	ask_and_answer(B);
	cr_expect_eq(forked(in_child), 0);
	writes(A);
	cr_expect_eq(now()->count, 2);
	cr_expect_eq(now()->space, 100);
}

/* --- which descriptors -------------------------------------------------------------------------------------------- */

static bool is_client(int fd)
{
	struct connection *c = connection_at(fd);
	atomic_store(&c->kind, CONNECTION_UNKNOWN);
	errno = 4711;
	bool client = request_on(fd);
	cr_expect_eq(errno, 4711);
	cr_expect_eq(connection_kind(c), client ? CONNECTION_CLIENT : CONNECTION_NONE);
	return client;
}

static int accepted(int domain, struct sockaddr *at, socklen_t length, int *listener, int *client)
{
	*listener = socket(domain, SOCK_STREAM, 0);
	*client = socket(domain, SOCK_STREAM, 0);
	cr_assert_eq(bind(*listener, at, length), 0);
	cr_assert_eq(listen(*listener, 1), 0);
	cr_assert_eq(getsockname(*listener, at, &length), 0);
	cr_assert_eq(connect(*client, at, length), 0);
	return accept(*listener, NULL, NULL);
}

Test(request, a_stream_that_was_handed_to_us_is_a_clients)
{
	requests_configure(REQUEST_TURN, 1);
	int listener, client, pair[2];
	struct sockaddr_in inet = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = accepted(AF_INET, (struct sockaddr *)&inet, sizeof(inet), &listener, &client);
	cr_expect(is_client(fd));
	cr_expect_not(is_client(listener));
	atomic_store(&connection_at(client)->kind, CONNECTION_UNKNOWN);
	request_note_connect(client);
	cr_expect_null(request_on(client));
	struct sockaddr_un name = {.sun_family = AF_UNIX}; /* abstract: no file is left */
	snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "sluice-test-%d", (int)getpid());
	cr_expect(is_client(accepted(AF_UNIX, (struct sockaddr *)&name, sizeof(name), &listener, &client)));
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	cr_expect_not(is_client(pair[0]));
	cr_expect_not(is_client(socket(AF_INET, SOCK_DGRAM, 0)));
	cr_assert_eq(pipe(pair), 0);
	cr_expect_not(is_client(pair[0]));
	cr_expect_not(is_client(1000)); /* none */
}

Test(request, by_accept_alone_unless_asked)
{
	int pair[2];
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	accepts(A);
	cr_expect_null(request_on(pair[0]));
	cr_expect_eq(connection_kind(connection_at(pair[0])), CONNECTION_UNKNOWN);
}

Test(request, buckets)
{
	cr_expect_eq(request_bucket(0), 0);
	cr_expect_eq(request_bucket(1), 1);
	cr_expect_eq(request_bucket(2), 2);
	cr_expect_eq(request_bucket(3), 2);
	cr_expect_eq(request_bucket(4), 3);
	cr_expect_eq(request_bucket(UINT64_MAX), LEDGER_REQUEST_BUCKETS - 1);
}
