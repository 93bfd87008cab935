/* pressure.c: see pressure.h.
 *
 * Memory is short when, since the last look, the group was throttled at memory.high, reclaimed at memory.max or ran out
 * (`high`, `max`, `oom` of memory.events), or when for a tenth of the last ten seconds some task of it waited for memory
 * ("some avg10" of memory.pressure). A tenth is what systemd tells services to trim their heaps at
 * (DefaultMemoryPressureThresholdSec, 200 ms of 2 s); a machine that only reclaims its page cache stays far below. Where the
 * group has no memory.pressure, the machine's (/proc/pressure/memory) is looked at.
 *
 * What goes: all that lies ready in the thread's caches, its empty slabs and spares, slabs of sleeping threads that are free
 * as a whole, all dirty granules, and the fallback's. Other threads notice at their own next look at the clock. That costs
 * page faults afterwards, so each time that memory is found short again the next look is twice as far away, up to 64
 * periods; one look that finds all well, and it is one period again.
 *
 * One thread looks at a time. The first look comes a period after the first refill, so a short process makes none. Where
 * there are no such files, it is found out once.
 */
#include "pressure.h"

#include "conf.h"
#include "confined.h"
#include "fallback.h"
#include "pools/os.h"
#include "pools/range.h"
#include "ready.h"
#include "route.h"

#include <string.h>

enum {
	STALL_MOST = 1000,   /* hundredths of a per cent */
	PERIOD_MS_MIN = 100, /* with decay:0 */
	TIRED_MAX = 6,
	PATH_ROOM = 1024,
	TEXT_MAX = 8192 /* /proc/self/cgroup has a line for each v1 hierarchy */
};

enum files { FILES_UNKNOWN, FILES_FOUND, FILES_NONE };

static _Atomic uint64_t due_at; /* ms; 0: not set yet */
static _Atomic bool looking, stopped;
static _Atomic int files;             /* enum files */
static _Atomic uint64_t trims, calls; /* a call is for all threads, and goes on counting over a fork */

/* Whoever is `looking` has these. */
static char events_path[PATH_ROOM], stall_path[PATH_ROOM], text[TEXT_MAX];
static uint64_t events_seen;
static bool events_known;
static unsigned tired; /* times in a row that memory was short */
static const char *simulated;

/* --- the files ---------------------------------------------------------------------------------------------------- */

static bool parse_number(const char **at, uint64_t *number)
{
	const char *begin = *at;
	*number = 0;
	for (; **at >= '0' && **at <= '9'; ++*at)
		if (__builtin_mul_overflow(*number, 10, number) ||
		    __builtin_add_overflow(*number, (uint64_t)(**at - '0'), number))
			return false;
	return *at != begin;
}

/* A bit for each of the three keys that count; 0: another one. */
static unsigned key_bit(const char *key, size_t bytes)
{
	static const char *const counted[] = {"high", "max", "oom"};
	for (unsigned i = 0; i < 3; i++)
		if (strlen(counted[i]) == bytes && memcmp(key, counted[i], bytes) == 0)
			return 1u << i;
	return 0;
}

bool pressure_parse_events(const char *at, uint64_t *sum)
{
	unsigned seen = 0;
	*sum = 0;
	while (*at) {
		uint64_t number;
		size_t key = strcspn(at, " \n");
		const char *value = at + key + 1;
		if (key == 0 || at[key] != ' ' || !parse_number(&value, &number) || *value != '\n')
			return false;
		if (key_bit(at, key) && __builtin_add_overflow(*sum, number, sum))
			return false;
		seen |= key_bit(at, key);
		at = value + 1;
	}
	return seen == 7; /* of a cut text too little would be known, and the next whole one look like a rise */
}

bool pressure_parse_stall(const char *at, uint32_t *hundredths)
{
	static const char begin[] = "some avg10=";
	uint64_t whole, part;
	if (strncmp(at, begin, sizeof(begin) - 1) != 0)
		return false;
	at += sizeof(begin) - 1;
	if (!parse_number(&at, &whole) || whole > 100 || *at++ != '.')
		return false;
	const char *digits = at;
	if (!parse_number(&at, &part) || at - digits != 2 || *at != ' ')
		return false;
	*hundredths = (uint32_t)(whole * 100 + part);
	return true;
}

bool pressure_parse_group(const char *at, char *path, size_t room)
{
	while (*at) {
		size_t line = strcspn(at, "\n");
		if (at[line] == 0) /* cut: the path may go on */
			return false;
		if (strncmp(at, "0::/", 4) == 0) {
			if (line - 3 >= room)
				return false;
			memcpy(path, at + 3, line - 3);
			path[line - 3] = 0;
			return true;
		}
		at += line + 1;
	}
	return false;
}

static bool join(char *path, const char *a, const char *b, const char *c)
{
	if (strlen(a) + strlen(b) + strlen(c) >= PATH_ROOM)
		return false;
	strcat(strcat(strcpy(path, a), b), c);
	return true;
}

static bool find_in(const char *mount, const char *group)
{
	return join(events_path, mount, group, "/memory.events") && join(stall_path, mount, group, "/memory.pressure") &&
	       (os_read(events_path, text, TEXT_MAX) || os_read(stall_path, text, TEXT_MAX));
}

/* The hierarchy is mounted at one of two places. In a container it may begin with the process's own group, though the path
 * is from the machine's root; and only the machine's root has no memory.events. */
static enum files find(void)
{
	static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
	static char group[PATH_ROOM];
	if (simulated)
		return find_in(simulated, "") ? FILES_FOUND : FILES_NONE;
	os_read("/proc/self/cgroup", text, TEXT_MAX);
	bool found = false;
	if (pressure_parse_group(text, group, PATH_ROOM))
		for (unsigned i = 0; i < 4 && !found; i++)
			found = find_in(mounts[i / 2], i % 2 ? "" : group);
	if (found && os_read(stall_path, text, TEXT_MAX))
		return FILES_FOUND;
	strcpy(stall_path, "/proc/pressure/memory");
	return found || os_read(stall_path, text, TEXT_MAX) ? FILES_FOUND : FILES_NONE;
}

static bool events_rose(void)
{
	uint64_t sum;
	if (!os_read(events_path, text, TEXT_MAX) || !pressure_parse_events(text, &sum))
		return false;
	bool rose = events_known && sum > events_seen;
	events_seen = sum;
	events_known = true;
	return rose;
}

static bool is_stalled(void)
{
	uint32_t hundredths;
	return os_read(stall_path, text, TEXT_MAX) && pressure_parse_stall(text, &hundredths) && hundredths >= STALL_MOST;
}

static bool is_short(void)
{
	if (atomic_load_explicit(&files, memory_order_relaxed) == FILES_UNKNOWN)
		atomic_store_explicit(&files, find(), memory_order_relaxed);
	bool rose = events_rose(); /* both, so that the counters are those of now */
	return is_stalled() || rose;
}

/* --- giving back -------------------------------------------------------------------------------------------------- */

static void give_own(struct thread *thread)
{
	heap_send(&thread->heap);
	ready_settle(thread);
	heap_shed(&thread->heap);
}

static void give_all(struct thread *thread)
{
	atomic_fetch_add_explicit(&trims, 1, memory_order_relaxed);
	thread->calls_heard = atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed) + 1;
	give_own(thread);
	heap_tend_all(&thread->heap);
	range_trim();
	fallback_trim();
}

/* Another thread has called since this one was here. */
static void hear(struct thread *thread)
{
	uint64_t now = atomic_load_explicit(&calls, memory_order_relaxed);
	if (thread->calls_heard == now)
		return;
	thread->calls_heard = now;
	give_own(thread);
}

static bool may_look(void)
{
	return conf.pressure && !confined() && !atomic_load_explicit(&stopped, memory_order_relaxed) &&
	       atomic_load_explicit(&files, memory_order_relaxed) != FILES_NONE;
}

void pressure_look(struct thread *thread, uint64_t now)
{
	uint64_t due = atomic_load_explicit(&due_at, memory_order_relaxed);
	int64_t decay = route_limits.decay_ms;
	hear(thread);
	if (now < due || decay < 0 || !may_look())
		return;
	if (atomic_exchange_explicit(&looking, true, memory_order_acquire))
		return;
	due = atomic_load_explicit(&due_at, memory_order_relaxed); /* somebody may have looked just now */
	bool is_time = due && now >= due, in_need = is_time && is_short();
	if (is_time)
		tired = in_need ? tired + (tired < TIRED_MAX) : 0;
	if (is_time || !due)
		atomic_store_explicit(&due_at, now + ((uint64_t)(decay > PERIOD_MS_MIN ? decay : PERIOD_MS_MIN) << tired),
		                      memory_order_relaxed);
	atomic_store_explicit(&looking, false, memory_order_release);
	if (in_need)
		give_all(thread);
}

uint64_t pressure_trims(void)
{
	return atomic_load_explicit(&trims, memory_order_relaxed);
}

void pressure_stop(void)
{
	atomic_store_explicit(&stopped, true, memory_order_relaxed);
}

void pressure_fork_child(void)
{
	atomic_store_explicit(&files, FILES_UNKNOWN, memory_order_relaxed);
	events_known = false;
	tired = 0;
	atomic_store_explicit(&looking, false, memory_order_relaxed);
	atomic_store_explicit(&due_at, 0, memory_order_relaxed);
	atomic_store_explicit(&trims, 0, memory_order_relaxed);
}

void pressure_simulate(const char *folder)
{
	simulated = folder;
	atomic_store_explicit(&files, FILES_UNKNOWN, memory_order_relaxed);
}
