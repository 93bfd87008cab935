/* Memory pressure: what the kernel's files say, from files of the test's own; what is given back when memory is short, and
 * how often that happens. The clock is the test's own too, but for the last test. */
#define _GNU_SOURCE
#include "shim/pressure.h"
#include "pools/os.h"
#include "pools/range.h"
#include "pools/walk.h"
#include "shim/allocate.h"
#include "shim/conf.h"
#include "tests/acting.h"
#include "tests/dice.h"
#include "tests/sanitized.h"
#include "tests/sites.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A day: nothing goes back by itself, and what is due on the true clock is far away. */
enum { PERIOD = 86400000 };

static __attribute__((constructor(101))) void acting(void)
{
	acting_begin("decay:86400000,range:256M");
}

static char folder[] = "/tmp/sluice-pressure.XXXXXX";
static uint64_t now;

static const char *in_folder(const char *name)
{
	static char path[128];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void write_file(const char *name, const char *text, size_t bytes)
{
	int fd = open(in_folder(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, bytes), (ssize_t)bytes);
	close(fd);
}

static void write_events(unsigned high, unsigned max, unsigned oom)
{
	char text[256];
	int n =
		snprintf(text, sizeof(text), "low 3\nhigh %u\nmax %u\noom %u\noom_kill 9\noom_group_kill 0\n", high, max, oom);
	write_file("memory.events", text, (size_t)n);
}

static void write_stall(const char *percent)
{
	char text[256];
	int n = snprintf(
		text, sizeof(text),
		"some avg10=%s avg60=50.00 avg300=50.00 total=12345\nfull avg10=60.00 avg60=0.00 avg300=0.00 total=1\n",
		percent);
	write_file("memory.pressure", text, (size_t)n);
}

static void begin(void)
{
	now = os_now_ms() + 2 * PERIOD;
	cr_assert_not_null(mkdtemp(folder));
	write_events(10, 20, 30);
	write_stall("0.00");
	pressure_simulate(folder);
	cr_assert_not_null(thread_get());
	pressure_look(thread_self, now); /* sets when the first look is due */
	pressure_look(thread_self, now += PERIOD);
	cr_assert_eq(pressure_trims(), 0, "counters from before us");
}

static void end(void)
{
	unlink(in_folder("memory.events"));
	rmdir(in_folder("memory.events"));
	unlink(in_folder("memory.pressure"));
	rmdir(folder);
}

TestSuite(pressure, .init = begin, .fini = end);
TestSuite(pressure_text);

/* Some periods later, the thread refills. */
static void look_after(unsigned periods)
{
	now += (uint64_t)periods * PERIOD;
	pressure_look(thread_self, now);
}

/* --- text --------------------------------------------------------------------------------------------------------- */

static bool is_events(const char *text)
{
	uint64_t sum;
	return pressure_parse_events(text, &sum);
}

Test(pressure_text, events_as_the_kernel_writes_them)
{
	uint64_t sum;
	cr_assert(pressure_parse_events("low 1\nhigh 20\nmax 300\noom 4000\noom_kill 50000\n", &sum));
	cr_assert_eq(sum, 4320);
	cr_assert(pressure_parse_events("oom 1\nnew_key 7\nmax 0\nhigh 18446744073709551614\n", &sum));
	cr_assert_eq(sum, UINT64_MAX);
}

Test(pressure_text, other_events_are_none)
{
	const char *wrong[] = {"",
	                       "\n",
	                       "high 1\nmax 1\n",
	                       "high 1\noom 1\n",
	                       "max 1\noom 1\n",
	                       "low 1\noom_kill 1\n",
	                       "high 1\nmax 1\noom\n",
	                       "high 1\nmax 1\noom \n",
	                       "high 1\nmax 1\noom x\n",
	                       "high 1\nmax 1\noom -1\n",
	                       "high 1\nmax 1\noom 1 \n",
	                       "high 1\nmax 1\noom 1\n\n",
	                       "high 1\nmax 1\n oom 1\n",
	                       "high 1\nmax 1\noom 18446744073709551616\n",
	                       "high 1\nmax 1\noom 18446744073709551615\n",
	                       "highest 1\nmaximum 1\noomph 1\n",
	                       "high",
	                       "high "};
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_expect_not(is_events(wrong[i]), "%u: '%s'", i, wrong[i]);
}

/* Cut anywhere, a text is none, or its counters are those of the whole. */
Test(pressure_text, cut_events_do_not_count_less)
{
	const char *whole_text = "low 1\nhigh 20\nmax 300\noom 4000\noom_kill 50000\n";
	char text[64];
	for (size_t bytes = 0; bytes < strlen(whole_text); bytes++) {
		uint64_t sum;
		memcpy(text, whole_text, bytes);
		text[bytes] = 0;
		if (pressure_parse_events(text, &sum))
			cr_assert_eq(sum, 4320, "'%s'", text);
	}
}

Test(pressure_text, stalls)
{
	uint32_t stall;
	const char *wrong[] = {"",
	                       "some",
	                       "some avg10=",
	                       "some avg10=1",
	                       "some avg10=1.",
	                       "some avg10=1.0 ",
	                       "some avg10=1.00",
	                       "some avg10=1.000 ",
	                       "some avg10=-1.00 ",
	                       "some avg10=.00 ",
	                       "some avg10=101.00 ",
	                       "some avg10=18446744073709551617.00 ",
	                       "some avg60=1.00 ",
	                       "full avg10=1.00 ",
	                       "\nsome avg10=1.00 "};
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_expect_not(pressure_parse_stall(wrong[i], &stall), "'%s'", wrong[i]);
	cr_assert(pressure_parse_stall("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", &stall) && stall == 0);
	cr_assert(pressure_parse_stall("some avg10=9.07 ", &stall) && stall == 907);
	cr_assert(pressure_parse_stall("some avg10=100.00 avg60=", &stall) && stall == 10000);
}

Test(pressure_text, groups)
{
	char path[16];
	cr_assert(pressure_parse_group("0::/\n", path, sizeof(path)));
	cr_assert_str_eq(path, "/");
	cr_assert(pressure_parse_group("11:memory:/x\n10::/no\n1:name=systemd:/y\n0::/a b/c:d\n", path, sizeof(path)));
	cr_assert_str_eq(path, "/a b/c:d");
	cr_assert(pressure_parse_group("0::/345678901234\n", path, sizeof(path)));
	cr_assert_not(pressure_parse_group("0::/3456789012345\n", path, 14), "no room for its end");
	const char *wrong[] = {"", "\n", "0::\n", "0::a\n", "0::/cut", "1:memory:/x\n", "1:memory:/x\n0::/a"};
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_expect_not(pressure_parse_group(wrong[i], path, sizeof(path)), "'%s'", wrong[i]);
}

Test(pressure_text, noise)
{
	struct dice dice = dice_of(5);
	static const char letters[] = "0123456789 \n\n=.:/somehighmaxavgful\xff";
	for (int i = 0; i < 200000; i++) {
		char text[48], path[8];
		uint64_t sum;
		uint32_t stall;
		size_t bytes = dice_below(&dice, sizeof(text));
		for (size_t b = 0; b < bytes; b++)
			text[b] = letters[dice_below(&dice, sizeof(letters))];
		text[bytes] = 0;
		pressure_parse_events(text, &sum);
		pressure_parse_stall(text, &stall);
		if (pressure_parse_group(text, path, sizeof(path)))
			cr_assert_lt(strlen(path), sizeof(path));
	}
}

/* --- what goes ---------------------------------------------------------------------------------------------------- */

enum { HELD = 5000 };

/* Sites with blocks alive, ready, on slabs that are empty, and spare slabs; granules that are dirty. */
static void litter(void)
{
	static void *kept[HELD];
	for (unsigned site = 2; site < 20; site++) {
		take(site, 16 + 40 * site, HELD);
		memcpy(kept, blocks, sizeof(kept));
		for (unsigned i = 0; i < HELD; i++)
			if (i % 1000)
				release(kept[i]);
	}
	churn(30, 100000, 10);
	take(31, 40000, 30);
	give(30);
}

static bool is_resident(uint32_t granule)
{
	unsigned char pages[GRANULE_BYTES / OS_PAGE];
	bool known = mincore(range.base + ((size_t)granule << GRANULE_SHIFT), GRANULE_BYTES, pages) == 0;
	cr_assert(known || SANITIZED);
	unsigned char any = 0;
	for (size_t i = 0; known && i < sizeof(pages); i++)
		any |= pages[i] & 1;
	return any;
}

/* Nothing lies ready, no slab is empty, no free granule costs memory. */
static void check_bare(uint64_t alive)
{
	struct walk seen = walk_pools();
	cr_assert_null(seen.wrong, "%s", seen.wrong);
	cr_assert_eq(seen.cached, 0);
	cr_assert_eq(seen.used, alive);
	cr_assert_eq(range_usage().retained, 0);
	for (uint32_t i = 0; i < range_usage().granules; i++) {
		const struct slab *slab = &range.slabs[i];
		bool first = slab_state(slab) != SLAB_NONE && slab_state(slab) != SLAB_REST;
		cr_assert(!first || slab_used(slab), "an empty slab at %u", i);
		cr_assert(!range_is_free(i) || !is_resident(i), "granule %u", i);
	}
}

Test(pressure, all_that_is_free_goes_at_once)
{
	litter();
	struct walk before = walk_pools();
	cr_assert_gt(before.cached, 0);
	cr_assert_gt(range_usage().retained, 0);
	cr_assert_gt(thread_self->heap.spare_bytes, 0);
	write_events(11, 20, 30);
	look_after(1);
	cr_assert_eq(pressure_trims(), 1);
	check_bare(before.used - before.cached);
	cr_assert_eq(thread_self->ready_max + thread_self->ready_large_max, 0);
	litter(); /* and it goes on */
	whole();
}

Test(pressure, nothing_goes_while_all_is_well)
{
	litter();
	size_t retained = range_usage().retained;
	uint64_t cached = walk_pools().cached;
	for (int i = 0; i < 10; i++)
		look_after(1);
	cr_assert_eq(pressure_trims(), 0);
	cr_assert_eq(range_usage().retained, retained);
	cr_assert_eq(walk_pools().cached, cached);
}

struct other {
	pthread_barrier_t ready, called;
	uint64_t before, after;
};

static uint64_t own_cached(void)
{
	uint64_t cached = 0;
	for (uint32_t tag = 1; tag <= thread_self->heap.tags; tag++)
		cached += cache_cached(&thread_self->heap.caches[tag]);
	return cached;
}

static void *refill_later(void *argument)
{
	struct other *other = argument;
	void *held[300];
	for (int i = 0; i < 300; i++)
		held[i] = allocate(100, pc_of(50));
	for (int i = 0; i < 300; i++)
		release(held[i]);
	other->before = own_cached();
	pthread_barrier_wait(&other->ready);
	pthread_barrier_wait(&other->called);
	pressure_look(thread_self, now);
	other->after = own_cached();
	return NULL;
}

Test(pressure, other_threads_hear_of_it)
{
	struct other other;
	pthread_t thread;
	pthread_barrier_init(&other.ready, NULL, 2);
	pthread_barrier_init(&other.called, NULL, 2);
	cr_assert_eq(pthread_create(&thread, NULL, refill_later, &other), 0);
	pthread_barrier_wait(&other.ready);
	write_events(11, 20, 30);
	look_after(1);
	pthread_barrier_wait(&other.called);
	pthread_join(thread, NULL);
	cr_assert_gt(other.before, 0);
	cr_assert_eq(other.after, 0);
	cr_assert_eq(pressure_trims(), 1, "it was not for the other to look");
}

/* --- when --------------------------------------------------------------------------------------------------------- */

Test(pressure, each_of_three_counters_counts)
{
	write_events(11, 20, 30);
	look_after(1);
	cr_assert_eq(pressure_trims(), 1);
	look_after(2);
	cr_assert_eq(pressure_trims(), 1, "the same as before");
	write_events(11, 21, 30);
	look_after(1);
	cr_assert_eq(pressure_trims(), 2);
	look_after(2);
	write_events(11, 21, 31);
	look_after(1);
	cr_assert_eq(pressure_trims(), 3);
	look_after(2);
	write_events(1, 2, 3); /* somebody else's file */
	look_after(1);
	cr_assert_eq(pressure_trims(), 3);
}

Test(pressure, a_tenth_of_the_time_is_a_stall)
{
	write_stall("9.99");
	look_after(1);
	cr_assert_eq(pressure_trims(), 0);
	write_stall("10.00");
	look_after(1);
	cr_assert_eq(pressure_trims(), 1);
}

Test(pressure, once_in_a_period)
{
	write_stall("99.00");
	pressure_look(thread_self, now);
	pressure_look(thread_self, now + PERIOD - 1);
	cr_assert_eq(pressure_trims(), 0);
	look_after(1);
	cr_assert_eq(pressure_trims(), 1);
}

/* Of 1000 periods, at which one is each trim? */
Test(pressure, under_constant_pressure_it_backs_off)
{
	write_stall("99.00");
	uint64_t trims = 0;
	unsigned last = 0, gap = 1;
	for (unsigned i = 1; i <= 1000; i++) {
		look_after(1);
		if (pressure_trims() == trims)
			continue;
		trims++;
		cr_assert_eq(i - last, gap, "trim %lu after %u periods, not %u", trims, i - last, gap);
		last = i;
		gap = gap < 64 ? 2 * gap : 64;
	}
	cr_assert_eq(gap, 64);
	write_stall("0.00");
	look_after(64);
	write_stall("99.00");
	look_after(1);
	cr_assert_eq(pressure_trims(), trims + 1, "one good look, and it looks in each period again");
}

Test(pressure, off_is_off)
{
	conf.pressure = false;
	write_stall("99.00");
	look_after(1);
	cr_assert_eq(pressure_trims(), 0);
	conf.pressure = true;
	route_limits.decay_ms = -1;
	look_after(1);
	cr_assert_eq(pressure_trims(), 0, "decay:-1 is never");
	route_limits.decay_ms = PERIOD;
	look_after(1);
	cr_assert_eq(pressure_trims(), 1);
}

Test(pressure, no_file_is_opened_once_it_is_told_to_stop)
{
	write_stall("99.00");
	pressure_stop();
	look_after(1);
	cr_assert_eq(pressure_trims(), 0);
	pressure_fork_child();
	look_after(1), look_after(1), look_after(1);
	cr_assert_eq(pressure_trims(), 0, "nor in a child");
}

Test(pressure, a_child_begins_anew)
{
	write_events(11, 20, 30);
	look_after(1);
	cr_assert_eq(pressure_trims(), 1);
	pressure_fork_child();
	cr_assert_eq(pressure_trims(), 0);
	write_events(500, 20, 30); /* of the group it may be in now */
	look_after(1), look_after(1);
	cr_assert_eq(pressure_trims(), 0);
	write_events(501, 20, 30);
	look_after(1);
	cr_assert_eq(pressure_trims(), 1);
}

/* --- files -------------------------------------------------------------------------------------------------------- */

Test(pressure, that_there_are_none_is_found_out_once)
{
	unlink(in_folder("memory.events"));
	unlink(in_folder("memory.pressure"));
	pressure_simulate(folder);
	look_after(1);
	write_stall("99.00");
	look_after(1), look_after(1);
	cr_assert_eq(pressure_trims(), 0);
	pressure_fork_child();
	look_after(1), look_after(1);
	cr_assert_eq(pressure_trims(), 1, "but a child looks for itself");
}

Test(pressure, one_file_is_enough)
{
	unlink(in_folder("memory.pressure"));
	pressure_simulate(folder);
	write_events(11, 20, 30);
	look_after(1);
	cr_assert_eq(pressure_trims(), 1);
	unlink(in_folder("memory.events"));
	write_stall("99.00");
	pressure_simulate(folder);
	look_after(2);
	cr_assert_eq(pressure_trims(), 2);
}

static int lowest_descriptor(void)
{
	int fd = dup(0);
	close(fd);
	return fd;
}

/* What is not the kernel's neither stops nor misleads it, and errno stays. */
static void look_at_oddity(const char *what)
{
	int before = lowest_descriptor();
	errno = 4711;
	look_after(1);
	cr_assert_eq(errno, 4711, "%s", what);
	cr_assert_eq(lowest_descriptor(), before, "%s: a descriptor stays open", what);
	cr_assert_eq(pressure_trims(), 0, "%s", what);
}

Test(pressure, oddities_are_passed_over)
{
	static char huge[1 << 20];
	for (size_t i = 0; i < sizeof(huge); i += 8)
		memcpy(huge + i, "high 99\n", 8);
	write_file("memory.events", huge, sizeof(huge));
	write_file("memory.pressure", huge, sizeof(huge));
	look_at_oddity("huge");
	write_file("memory.events", "", 0);
	write_file("memory.pressure", "", 0);
	look_at_oddity("empty");
	write_file("memory.events", "\0high 99\nmax 99\noom 99\n", 23);
	look_at_oddity("a zero byte");
	unlink(in_folder("memory.events"));
	look_at_oddity("gone");
	cr_assert_eq(mkfifo(in_folder("memory.events"), 0600), 0);
	look_at_oddity("a pipe without a writer");
	int writer = open(in_folder("memory.events"), O_RDWR);
	look_at_oddity("a pipe that says nothing");
	close(writer);
	unlink(in_folder("memory.events"));
	cr_assert_eq(mkdir(in_folder("memory.events"), 0700), 0);
	look_at_oddity("a folder");
	rmdir(in_folder("memory.events"));
	write_events(11, 20, 30);
	look_after(1);
	cr_assert_eq(pressure_trims(), 1, "it still works");
}

/* By itself, at refills, by the true clock. */
Test(pressure, refills_look)
{
	route_limits.decay_ms = 1;
	pressure_fork_child(); /* forgets the test's clock */
	write_stall("99.00");
	while (pressure_trims() == 0) {
		take(2, 20000, 400); /* more than may lie ready */
		give(400);
	}
	whole();
}
