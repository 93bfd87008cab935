/* run_victim.c: see run_victim.h. Plain fork, exec, poll and waitpid; no threads, since Criterion runs each test in a
 * process of its own. The child of a run becomes the leader of a process group, so that the watchdog ends everything
 * the victim started and nothing else. Output is read to its end, which also waits for the victim's children that
 * kept our pipes: their reports are there when the checks run.
 */
#define _GNU_SOURCE
#include "run_victim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ARGS_MAX = 64, CAPTURE_MAX = 64 << 20, SOAK_FACTOR = 50 };

struct capture {
	int fd;
	char *text;
	size_t used, room;
};

__attribute__((noreturn)) static void broken(const char *what)
{
	fprintf(stderr, "run_victim: %s: %s\n", what, strerror(errno));
	abort();
}

static const char *absolute(const char *path)
{
	char *all = realpath(path, NULL);
	if (!all) {
		fprintf(stderr, "run_victim: %s: %s (is it built, and is this the repository's root?)\n", path,
		        strerror(errno));
		abort();
	}
	return all;
}

const char *victim_build(const char *relative)
{
	const char *build = getenv("SLUICE_BUILD");
	char path[VICTIM_PATH_MAX];
	snprintf(path, sizeof(path), "%s/%s", build && *build ? build : "build", relative);
	return absolute(path);
}

const char *victim_sluice(void)
{
	static const char *path;
	if (!path) {
		path = victim_build("libsluice.so");
	}
	return path;
}

int victim_runs(int usual)
{
	const char *text = getenv("SLUICE_RUNS"), *soak = getenv("SLUICE_SOAK");
	int runs = text ? atoi(text) : 0;
	return runs > 0 ? runs : soak && *soak ? usual * SOAK_FACTOR : usual;
}

bool victim_has(const char *program)
{
	const char *path = getenv("PATH");
	char one[VICTIM_PATH_MAX];
	while (path && *path) {
		size_t n = strcspn(path, ":");
		snprintf(one, sizeof(one), "%.*s/%s", (int)n, path, program);
		if (access(one, X_OK) == 0) {
			return true;
		}
		path += n + (path[n] == ':');
	}
	return false;
}

/* ---- the child's side ---- */

static void child_environment(const struct victim *v)
{
	char conf[VICTIM_PATH_MAX];
	const char *report = v->report ? v->report : "%e.%p.%t.json";
	snprintf(conf, sizeof(conf), "%s%s%s%s", *report ? "report:" : "", report,
	         *report && v->conf && *v->conf ? "," : "", v->conf ? v->conf : "");
	unsetenv("SLUICE_RUN_PID");
	if (v->preload) {
		setenv("LD_PRELOAD", v->preload, 1);
		setenv("SLUICE_CONF", conf, 1);
	} else {
		unsetenv("LD_PRELOAD");
		unsetenv("SLUICE_CONF");
	}
	for (const char *const *e = v->env; e && *e; e++) {
		if (strchr(*e, '=')) {
			putenv((char *)*e);
		} else {
			unsetenv(*e);
		}
	}
}

__attribute__((noreturn)) static void child_become(const struct victim *v, const char *program, const char *dir,
                                                   const int out[2], const int err[2])
{
	const char *argv[ARGS_MAX + 2] = {program};
	for (int i = 0; v->args && v->args[i] && i < ARGS_MAX; i++) {
		argv[i + 1] = v->args[i];
	}
	int null = open("/dev/null", O_RDONLY);
	if (setpgid(0, 0) || chdir(dir) || null < 0 || dup2(null, 0) < 0 || dup2(out[1], 1) < 0 || dup2(err[1], 2) < 0) {
		_exit(126);
	}
	for (int fd = 3; fd < 256; fd++) { /* Criterion's own descriptors are none of the victim's business */
		close(fd);
	}
	signal(SIGPIPE, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	child_environment(v);
	if (v->installed) {
		execvp(program, (char *const *)argv);
	} else {
		execv(program, (char *const *)argv);
	}
	dprintf(2, "run_victim: exec %s: %s\n", program, strerror(errno));
	_exit(127);
}

/* ---- the parent's side ---- */

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void capture_some(struct capture *c)
{
	if (c->used + 65536 >= c->room) {
		c->room = c->room * 2 + 131072;
		c->text = realloc(c->text, c->room);
		if (!c->text) {
			broken("realloc");
		}
	}
	ssize_t n = read(c->fd, c->text + c->used, 65536);
	if (n > 0 && c->used < CAPTURE_MAX) {
		c->used += (size_t)n;
	} else if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) {
		close(c->fd);
		c->fd = -1;
	}
	c->text[c->used] = '\0';
}

/* The stacks of everything in the group, for the person who finds the hang in a log. */
static void show_stacks(pid_t group)
{
	char command[512];
	fflush(NULL);
	if (!victim_has("gdb")) {
		return;
	}
	snprintf(
		command, sizeof(command),
		"for p in $(pgrep -g %d); do echo \"== stacks of $p ($(cat /proc/$p/comm))\"; timeout 60 gdb -p $p -batch -nx "
		"-ex 'thread apply all bt 24' 2>&1 | grep -v '^\\[New\\|^warning' | head -300; done >&2",
		(int)group);
	if (system(command)) {
		fprintf(stderr, "run_victim: no stacks\n");
	}
}

/* Reads both pipes to their end and waits; false when the watchdog had to end it. */
static bool watch(pid_t pid, struct capture *out, struct capture *err, int limit_s, int *status)
{
	int64_t deadline = now_ms() + (int64_t)limit_s * 1000;
	bool ended = false;
	while (out->fd >= 0 || err->fd >= 0 || !ended) {
		struct pollfd fds[2] = {{.fd = out->fd, .events = POLLIN}, {.fd = err->fd, .events = POLLIN}};
		int step = out->fd >= 0 || err->fd >= 0 ? 100 : 2;
		if (poll(fds, 2, step) > 0) {
			if (fds[0].revents) {
				capture_some(out);
			}
			if (fds[1].revents) {
				capture_some(err);
			}
		}
		ended = ended || waitpid(pid, status, WNOHANG) == pid;
		if (now_ms() > deadline) {
			show_stacks(pid);
			kill(-pid, SIGKILL);
			if (!ended) {
				waitpid(pid, status, 0);
			}
			return false;
		}
	}
	return true;
}

static char *text_or_empty(struct capture *c)
{
	if (c->fd >= 0) {
		close(c->fd);
	}
	return c->text ? c->text : strdup("");
}

static void start_and_watch(const struct victim *v, struct outcome *o)
{
	char program[VICTIM_PATH_MAX];
	if (v->installed) {
		snprintf(program, sizeof(program), "%s", v->name);
	} else if (strchr(v->name, '/')) {
		snprintf(program, sizeof(program), "%s", absolute(v->name));
	} else {
		char relative[NAME_MAX + 32];
		snprintf(relative, sizeof(relative), "tests/victims/%s", v->name);
		snprintf(program, sizeof(program), "%s", victim_build(relative));
	}
	int out[2], err[2];
	if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) {
		broken("pipe");
	}
	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0) {
		broken("fork");
	}
	if (pid == 0) {
		child_become(v, program, o->dir, out, err);
	}
	setpgid(pid, pid); /* both sides do it, so that neither can be late */
	close(out[1]);
	close(err[1]);
	struct capture from_out = {.fd = out[0]}, from_err = {.fd = err[0]};
	o->hung = !watch(pid, &from_out, &from_err, v->watchdog_s ? v->watchdog_s : VICTIM_WATCHDOG_S, &o->status);
	o->out = text_or_empty(&from_out);
	o->err = text_or_empty(&from_err);
}

/* ---- reports ---- */

static bool is_report(const char *name)
{
	size_t n = strlen(name);
	return n > 5 && strcmp(name + n - 5, ".json") == 0;
}

/* Calls scripts/check-report once with all reports of the folder; its words when it objects, else NULL. */
static char *check_reports(const char *dir)
{
	static const char *script;
	if (!script) {
		const char *chosen = getenv("SLUICE_CHECK_REPORT");
		script = absolute(chosen && *chosen ? chosen : "scripts/check-report");
	}
	char command[3 * VICTIM_PATH_MAX];
	snprintf(command, sizeof(command), "find '%s' -maxdepth 1 -name '*.json' -print0 | xargs -0 -r '%s' 2>&1", dir,
	         script);
	FILE *f = popen(command, "r");
	if (!f) {
		broken("popen");
	}
	size_t room = 65536, used = 0, n;
	char *said = calloc(1, room);
	while (said && used + 1 < room && (n = fread(said + used, 1, room - 1 - used, f)) > 0) {
		used += n;
	}
	if (pclose(f) == 0) {
		free(said);
		return NULL;
	}
	return said;
}

static int count_reports(const char *dir)
{
	DIR *d = opendir(dir);
	int reports = 0;
	for (struct dirent *e; d && (e = readdir(d));) {
		reports += is_report(e->d_name);
	}
	if (d) {
		closedir(d);
	}
	return reports;
}

const char *victim_only_report(const struct outcome *o)
{
	static char path[VICTIM_PATH_MAX + NAME_MAX + 2];
	DIR *d = opendir(o->dir);
	int reports = 0;
	for (struct dirent *e; d && (e = readdir(d));) {
		if (is_report(e->d_name)) {
			snprintf(path, sizeof(path), "%s/%s", o->dir, e->d_name);
			reports++;
		}
	}
	if (d) {
		closedir(d);
	}
	return reports == 1 ? path : NULL;
}

char *victim_read(const struct outcome *o, const char *name)
{
	char path[VICTIM_PATH_MAX + NAME_MAX + 2];
	snprintf(path, sizeof(path), "%s%s%s", name[0] == '/' ? "" : o->dir, name[0] == '/' ? "" : "/", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct capture c = {.fd = fd};
	if (fd < 0) {
		return NULL;
	}
	while (c.fd >= 0) {
		capture_some(&c);
	}
	return text_or_empty(&c);
}

/* ---- the run ---- */

static struct outcome fresh_outcome(void)
{
	struct outcome o = {0};
	const char *tmp = getenv("TMPDIR");
	snprintf(o.dir, sizeof(o.dir), "%s/sluice-victim-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(o.dir)) {
		broken(o.dir);
	}
	return o;
}

static void look_at_reports(const struct victim *v, struct outcome *o)
{
	o->reports = count_reports(o->dir);
	if (o->reports && !v->unchecked) {
		o->checked = check_reports(o->dir);
	}
}

struct outcome victim_run(const struct victim *v)
{
	struct outcome o = fresh_outcome();
	start_and_watch(v, &o);
	look_at_reports(v, &o);
	return o;
}

void victim_forget(struct outcome *o)
{
	char command[2 * VICTIM_PATH_MAX + 64];
	snprintf(command, sizeof(command), "chmod -R u+rwX '%s' && rm -rf '%s'", o->dir, o->dir);
	if (!getenv("SLUICE_KEEP") && system(command)) {
		fprintf(stderr, "run_victim: %s stays behind\n", o->dir);
	}
	free(o->out);
	free(o->err);
	free(o->checked);
	memset(o, 0, sizeof(*o));
}

void victim_explain(const struct victim *v, const struct outcome *o)
{
	fprintf(stderr, "%s", v->name);
	for (const char *const *a = v->args; a && *a; a++) {
		fprintf(stderr, " %s", *a);
	}
	fprintf(stderr, " [%s%s%s]: ", v->preload ? v->preload : "no preload", v->conf ? ", " : "", v->conf ? v->conf : "");
	if (o->hung) {
		fprintf(stderr, "hung, ended by the watchdog");
	} else if (WIFSIGNALED(o->status)) {
		fprintf(stderr, "signal %d (%s)", WTERMSIG(o->status), strsignal(WTERMSIG(o->status)));
	} else {
		fprintf(stderr, "exit %d", WEXITSTATUS(o->status));
	}
	fprintf(stderr, ", %d reports%s%s\n  stdout: %.2000s\n  stderr: %.4000s\n", o->reports,
	        o->checked ? "\n  check-report: " : "", o->checked ? o->checked : "", o->out, o->err);
}

bool victim_is_ok(const struct victim *v, const struct outcome *o)
{
	bool ok = !o->hung && o->status == 0 && strcmp(o->out, "ok\n") == 0 && o->err[0] == '\0' && !o->checked;
	if (!ok) {
		victim_explain(v, o);
	}
	return ok;
}

bool victim_passes(const struct victim *v)
{
	struct outcome o = victim_run(v);
	bool ok = victim_is_ok(v, &o);
	victim_forget(&o);
	return ok;
}

bool victim_repeats(const struct victim *v, int runs)
{
	struct outcome o = fresh_outcome();
	bool ok = true;
	for (int i = 0; ok && i < runs; i++) {
		free(o.out);
		free(o.err);
		start_and_watch(v, &o);
		ok = victim_is_ok(v, &o);
		if (!ok) {
			fprintf(stderr, "  in run %d of %d\n", i + 1, runs);
		}
	}
	if (ok) {
		look_at_reports(v, &o);
		ok = victim_is_ok(v, &o);
		if (ok && v->preload && o.reports < runs) {
			fprintf(stderr, "%s: %d reports of %d runs\n", v->name, o.reports, runs);
			ok = false;
		}
	}
	victim_forget(&o);
	return ok;
}

bool victim_passes_sluice(const char *name, const char *const *confs)
{
	static const char *const only_default[] = {"", NULL};
	for (const char *const *c = confs ? confs : only_default; *c; c++) {
		struct victim v = {.name = name, .preload = victim_sluice(), .conf = *c};
		struct outcome o = victim_run(&v);
		bool ok = victim_is_ok(&v, &o);
		if (ok && o.reports == 0) {
			fprintf(stderr, "%s [%s]: no report\n", name, *c);
			ok = false;
		}
		victim_forget(&o);
		if (!ok) {
			return false;
		}
	}
	return true;
}

bool victim_passes_both(const char *name, const char *const *confs)
{
	return victim_passes(&(struct victim){.name = name}) && victim_passes_sluice(name, confs);
}
