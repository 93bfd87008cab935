/* report.c: names, temporary files, and who may write. See report.h.
 *
 * The report is written to a new file beside its place and renamed over it, so a reader sees all of it or nothing. When
 * that folder refuses, /tmp is tried, and the program's standard error told. Signals that writing could raise (file
 * size limit) are held back and taken away, because the program never asked for this write.
 */
#define _GNU_SOURCE
#include "report.h"

#include "analytics/render.h"
#include "conf.h"
#include "confined.h"
#include "facts.h"
#include "identity.h"
#include "pools/apart.h"
#include "pools/lock.h"
#include "process.h"
#include "publish.h"
#include "site.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { PATH_BYTES = 2048, BUFFER_BYTES = 64 << 10 };

static APART char folder[CONF_PATH_MAX]; /* current one at the start, with a slash; empty when unknown */
static char program[64];
static uint64_t run_pid; /* of the program `sluice run` started; 0 without it */
enum { NOT_WRITTEN, WRITING, WRITTEN };
static _Atomic int stage;
static _Atomic pid_t writer;
static struct lock writing;

static void append(char *path, const char *text)
{
	strncat(path, text, PATH_BYTES - 1 - strlen(path));
}

static void append_number(char *path, uint64_t number)
{
	char digits[24];
	int at = sizeof(digits) - 1;
	digits[at] = 0;
	do
		digits[--at] = (char)('0' + number % 10);
	while (number /= 10);
	append(path, digits + at);
}

bool report_is_off(void)
{
	return strcmp(conf.report, "off") == 0;
}

void report_begin(const char *pid)
{
	if (report_is_off())
		return;
	if (getcwd(folder, sizeof(folder) - 1) && folder[0] == '/')
		strcat(folder, "/");
	else
		folder[0] = 0;
	const struct ledger_header *l = ledger();
	const char *exe = l ? ledger_strings(l) + l->run.exe.at : "";
	const char *name = strrchr(exe, '/') ? strrchr(exe, '/') + 1 : exe;
	strncpy(program, name[0] ? name : "unknown", sizeof(program) - 1);
	run_pid = pid ? strtoull(pid, NULL, 10) : 0;
}

/* Is this the process whose report the user asked for, rather than one of its children? */
static bool is_main(const struct ledger_header *l)
{
	return run_pid ? l->run.pid == run_pid : !process_is_forked();
}

static void append_item(char *path, char item, const struct ledger_header *l)
{
	struct utsname host;
	switch (item) {
	case 'p':
		append_number(path, l->run.pid);
		break;
	case 'e':
		append(path, program);
		break;
	case 'h':
		append(path, uname(&host) == 0 ? host.nodename : "unknown");
		break;
	case 't':
		append_number(path, l->run.start_unix_ns / 1000000000u);
		break;
	default:
		append(path, (char[]){'%', item, 0});
	}
}

static void expand(char *path, const char *name, const struct ledger_header *l)
{
	for (; *name; name++) {
		if (name[0] == '%' && name[1])
			append_item(path, *++name, l);
		else
			append(path, (char[]){*name, 0});
	}
}

/* out.json becomes out.1234.json: a child must not overwrite its parent's report. */
static void insert_pid(char *path, uint64_t pid)
{
	char tail[CONF_PATH_MAX] = "";
	char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
	if (dot && (!slash || dot > slash)) {
		strncpy(tail, dot, sizeof(tail) - 1);
		*dot = 0;
	}
	append(path, ".");
	append_number(path, pid);
	append(path, tail);
}

static void report_path(char *path, const struct ledger_header *l)
{
	path[0] = 0;
	if (conf.report[0] != '/')
		append(path, folder);
	expand(path, conf.report, l);
	if (!is_main(l) && !strstr(conf.report, "%p"))
		insert_pid(path, l->run.pid);
}

/* Opens a new file; when descriptors are used up, the hard limit may still allow one. */
static int open_new(const char *path)
{
	int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int fd = open(path, flags, 0600);
	if (fd < 0 && errno == EEXIST && unlink(path) == 0) /* left by a process that died writing it */
		fd = open(path, flags, 0600);
	struct rlimit limit;
	if (fd < 0 && (errno == EMFILE || errno == EBADF) && getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
	    limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
		if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
			fd = open(path, flags, 0600);
			setrlimit(RLIMIT_NOFILE, &limit);
		}
	}
	return fd;
}

static const struct ledger_facts *facts; /* beside the ledger that is being written; NULL: no memory */

static int render_to(int fd, const struct ledger_header *l)
{
	static APART char buffer[BUFFER_BYTES];
	struct json_out out;
	json_out_open(&out, buffer, sizeof(buffer), json_out_to_fd, &fd);
	return render_report(l, facts, &out);
}

/* 0, or an errno value. */
static int write_file(const char *path, const struct ledger_header *l)
{
	static APART char temporary[PATH_BYTES];
	struct stat there;
	/* /dev/stderr, /dev/null: only where that is what the user named, since anybody may have put a link in a folder. */
	if (strncmp(conf.report, "/dev/", 5) == 0 && stat(path, &there) == 0 && !S_ISREG(there.st_mode)) {
		int direct = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		if (direct < 0)
			return errno;
		int failed = S_ISDIR(there.st_mode) ? EISDIR : render_to(direct, l);
		close(direct);
		return failed;
	}
	temporary[0] = 0;
	append(temporary, path);
	append(temporary, ".");
	append_number(temporary, l->run.pid);
	append(temporary, ".tmp");
	int fd = open_new(temporary);
	if (fd < 0)
		return errno;
	int failed = render_to(fd, l);
	if (close(fd) != 0 && !failed)
		failed = errno;
	if (!failed && rename(temporary, path) != 0)
		failed = errno;
	if (failed)
		unlink(temporary);
	return failed;
}

/* strerror may allocate and follows the locale; these are what writing a file can meet. */
static const char *reason(int error)
{
	switch (error) {
	case EACCES:
	case EPERM:
		return "permission denied";
	case ENOENT:
		return "no such folder";
	case ENOTDIR:
		return "not a folder";
	case EISDIR:
		return "it is a folder";
	case EROFS:
		return "read-only file system";
	case ENOSPC:
	case EDQUOT:
		return "no space left";
	case EFBIG:
		return "the file size limit (ulimit -f) is too small";
	case EMFILE:
	case ENFILE:
		return "no file descriptor left";
	case ENAMETOOLONG:
		return "the name is too long";
	default:
		return "the file cannot be written";
	}
}

static void write_somewhere(const struct ledger_header *l)
{
	static APART char path[PATH_BYTES], instead[PATH_BYTES], line[2 * PATH_BYTES + 128];
	report_path(path, l);
	int failed = write_file(path, l);
	if (!failed) {
		if (conf.verbose)
			process_say("report in ", path);
		return;
	}
	const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	instead[0] = line[0] = 0;
	append(instead, "/tmp/");
	append(instead, name);
	strcat(line, path);
	strcat(line, ": ");
	strcat(line, reason(failed));
	if (strcmp(instead, path) != 0 && write_file(instead, l) == 0) {
		strcat(line, "; it is in ");
		strcat(line, instead);
	} else {
		strcat(line, "; set SLUICE_CONF=report:PATH, or report:off");
	}
	process_say("no report at ", line);
}

static void write_shielded(const struct ledger_header *l)
{
	sigset_t held, before;
	struct timespec at_once = {0, 0};
	sigemptyset(&held);
	sigaddset(&held, SIGXFSZ);
	sigaddset(&held, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &held, &before);
	write_somewhere(l);
	while (sigtimedwait(&held, NULL, &at_once) > 0)
		;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Children that allocate little are not worth a file each. */
static bool wanted(const struct ledger_header *l)
{
	return is_main(l) || l->memory.tally.alloc_objects >= (uint64_t)conf.report_min;
}

void report_write(enum ledger_end end)
{
	if (process_is_inert() || report_is_off() || !ledger())
		return;
	if (confined()) { /* not even asking for our pid is sure to be allowed */
		process_say("no report: ", "the program has confined itself with seccomp");
		return;
	}
	if (!process_is_self())
		return;
	int saved = errno, cancelled_before;
	pid_t me = (pid_t)syscall(SYS_gettid);
	int expected = NOT_WRITTEN;
	if (!atomic_compare_exchange_strong(&stage, &expected, WRITING)) {
		if (expected == WRITING && atomic_load(&writer) != me) { /* else a signal handler interrupted our own writing */
			lock_take(&writing);
			lock_drop(&writing);
		}
		errno = saved;
		return;
	}
	atomic_store(&writer, me);
	lock_take(&writing);
	identity_write();
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelled_before); /* open and write are cancellation points */
	const struct ledger_header *l = publish(end);
	if (l && wanted(l)) {
		facts = facts_make(l);
		write_shielded(l);
	}
	atomic_store(&stage, WRITTEN);
	lock_drop(&writing);
	pthread_setcancelstate(cancelled_before, NULL);
	errno = saved;
}

void report_again(void)
{
	if (!confined() && process_is_self())
		atomic_store(&stage, NOT_WRITTEN);
}

void report_fork_child(void)
{
	atomic_store(&stage, NOT_WRITTEN);
	atomic_store(&writer, 0);
	lock_reset(&writing);
}
