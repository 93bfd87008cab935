/* process.c: start, fork, and the two ways to speak. See process.h.
 *
 * Fork: every lock is taken before and dropped after, in the order in which they nest (the fallback's start, heaps, sites,
 * caches, fallback's table, range, tables, jemalloc's own), so the child's memory is consistent. glibc's stdio list lock is registered last, so that it is taken first: a thread that holds it may
 * be waiting for an allocator's lock, and the other way round fork would deadlock.
 */
#define _GNU_SOURCE
#include "process.h"

#include "analytics/ledger.h"
#include "budget.h"
#include "conf.h"
#include "confined.h"
#include "context.h"
#include "fallback.h"
#include "fallback_start.h"
#include "inert.h"
#include "lifetime.h"
#include "module.h"
#include "pools/classes.h"
#include "pools/huge.h"
#include "pools/meta.h"
#include "pools/range.h"
#include "pressure.h"
#include "publish.h"
#include "ready.h"
#include "report.h"
#include "request.h"
#include "route.h"
#include "sample.h"
#include "site.h"
#include "thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum state { FRESH, STARTING, ACTIVE, INERT };

static _Atomic int state;
static void *_Atomic starter; /* the starting thread, by the address of its thread_self */
static const char *inert_because;
static bool conf_read, forked;
static pid_t self_pid;
static dev_t stderr_device;
static ino_t stderr_inode;
static bool stderr_known;

extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));
extern void _IO_list_resetlock(void) __attribute__((weak));
extern int __cxa_atexit(void (*run)(void *), void *argument, void *dso);
extern int __cxa_at_quick_exit(void (*run)(void *), void *dso);

static void register_fork_handlers(void);

static void complain(const char *line)
{
	process_say(line, "");
}

static void configure(void)
{
	conf_parse(secure_getenv(SLUICE_CONF_ENV), complain);
	sites_limit((uint32_t)conf.sites_max);
	contexts_enable(conf.callers);
	budget_init((uint64_t)conf.budget);
	route_limits = (struct route_limits){.own = conf.own,
	                                     .owned_max = (uint32_t)conf.owned_max,
	                                     .site_max = (uint64_t)conf.site_max,
	                                     .decay_ms = conf.decay};
	lifetime_on = conf.lifetimes;
	sample_begin(report_is_off() ? 0 : (uint64_t)conf.stack_period);
	requests_configure((enum request_mode)conf.request, (uint64_t)conf.request_every);
	conf_read = environ != NULL;
}

static void remember_stderr(void)
{
	struct stat now;
	int saved = errno;
	stderr_known = fstat(STDERR_FILENO, &now) == 0;
	stderr_device = now.st_dev;
	stderr_inode = now.st_ino;
	errno = saved;
}

static void set_up(void)
{
	remember_stderr();
	self_pid = getpid();
	inert_because = inert_reason();
	if (inert_because) {
		inert_init();
		atomic_store_explicit(&state, INERT, memory_order_release);
		return;
	}
	configure();
	classes_init();
	sites_init();
	if (range_init((size_t)conf.range)) {
		range_limit(conf.pool_max ? (size_t)conf.pool_max : SIZE_MAX);
		range_decay_set(conf.decay);
		huge_allow(conf.thp);
	}
	ready_init();
	threads_init();
	fallback_start_init();
	atomic_store_explicit(&state, ACTIVE, memory_order_release);
}

bool process_start(void)
{
	int now = atomic_load_explicit(&state, memory_order_acquire);
	if (now == FRESH && atomic_compare_exchange_strong(&state, &now, STARTING)) {
		atomic_store(&starter, (void *)&thread_self);
		set_up();
		if (atomic_load(&state) == ACTIVE)
			register_fork_handlers();
	}
	while ((now = atomic_load_explicit(&state, memory_order_acquire)) == STARTING) {
		if (atomic_load(&starter) == (void *)&thread_self)
			return false;
		sched_yield();
	}
	return now == ACTIVE;
}

bool process_is_inert(void)
{
	return atomic_load_explicit(&state, memory_order_relaxed) == INERT;
}

bool process_is_self(void)
{
	return self_pid == (pid_t)syscall(SYS_getpid);
}

bool process_is_forked(void)
{
	return forked;
}

static void fork_prepare(void)
{
	fallback_start_fork_prepare();
	heap_fork_prepare();
	sites_fork_prepare();
	caches_fork_prepare();
	fallback_fork_prepare();
	range_fork_prepare();
	meta_fork_prepare();
	fallback_jemalloc_fork_prepare();
}

static void fork_parent(void)
{
	fallback_jemalloc_fork_parent();
	meta_fork_parent();
	range_fork_parent();
	fallback_fork_parent();
	caches_fork_parent();
	sites_fork_parent();
	heap_fork_parent();
	fallback_start_fork_parent();
}

static void fork_child(void)
{
	int saved = errno;
	fallback_jemalloc_fork_child();
	meta_fork_child();
	range_fork_child();
	fallback_fork_child();
	sites_fork_child();
	threads_fork_child();
	fallback_start_fork_child();
	pressure_fork_child();
	self_pid = (pid_t)syscall(SYS_getpid);
	forked = true;
	requests_fork_child();
	publish_fork_child();
	report_fork_child();
	errno = saved;
}

/* As early as can be: prepare handlers run last registered first, and one that was registered before ours would run, and
 * might allocate, while we hold our locks. */
static void register_fork_handlers(void)
{
	static _Atomic bool registered;
	if (atomic_exchange(&registered, true))
		return;
	pthread_atfork(fork_prepare, fork_parent, fork_child);
	if (_IO_list_lock && _IO_list_unlock && _IO_list_resetlock)
		pthread_atfork(_IO_list_lock, _IO_list_unlock, _IO_list_resetlock);
}

static void at_exit(void *unused)
{
	(void)unused;
	report_write(END_EXIT);
}

static __attribute__((constructor)) void begin(int argc, char **argv, char **envp)
{
	int saved = errno;
	(void)envp;
	if (!process_start()) {
		if (inert_because && secure_getenv(SLUICE_RUN_ENV))
			process_say("not acting here: ", inert_because);
		errno = saved;
		return;
	}
	if (!conf_read) { /* the first allocation came before there was an environment */
		configure();
		if (range.bytes) {
			range_limit(conf.pool_max ? (size_t)conf.pool_max : SIZE_MAX);
			range_decay_set(conf.decay);
			huge_allow(conf.thp);
		}
	}
	publish_begin(argc, argv);
	report_begin(secure_getenv(SLUICE_RUN_ENV));
	register_fork_handlers();
	fallback_read_environment();
	/* Without a library's handle, so that it runs at the very end and not among our own destructors: handlers run last
	 * in, first out, and ours comes before even the dynamic linker's, which calls the destructors of all libraries. */
	__cxa_atexit(at_exit, NULL, NULL);
	__cxa_at_quick_exit(at_exit, NULL);
	errno = saved;
}

static _Atomic bool is_confined;

void confined_note(void)
{
	atomic_store_explicit(&is_confined, true, memory_order_relaxed);
}

bool confined(void)
{
	return atomic_load_explicit(&is_confined, memory_order_relaxed);
}

static void write_all(const char *text)
{
	size_t bytes = strlen(text);
	while (bytes) {
		ssize_t n = write(STDERR_FILENO, text, bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		text += n;
		bytes -= (size_t)n;
	}
}

void process_say(const char *text, const char *more)
{
	int saved = errno;
	struct stat now;
	char line[CONF_PATH_MAX + 256] = "sluice: ";
	/* A daemon may have reused descriptor 2 for a file of its own. */
	bool same =
		confined() || (fstat(STDERR_FILENO, &now) == 0 && now.st_dev == stderr_device && now.st_ino == stderr_inode);
	if (stderr_known && same) {
		strncat(line, text, sizeof(line) - strlen(line) - 2);
		strncat(line, more, sizeof(line) - strlen(line) - 2);
		strcat(line, "\n");
		write_all(line);
	}
	errno = saved;
}

void process_die(const char *what, uintptr_t address)
{
	char text[2 + 16 + 1] = "";
	if (address) {
		strcpy(text, "0x");
		int digits = 0;
		for (uintptr_t rest = address; rest; rest >>= 4)
			digits++;
		for (int i = 0; i < digits; i++)
			text[2 + i] = "0123456789abcdef"[address >> 4 * (digits - 1 - i) & 15];
		text[2 + digits] = 0;
	}
	char line[256] = "";
	strncat(line, what, 200);
	if (address)
		strcat(line, " at ");
	process_say(line, text);
	abort();
}
