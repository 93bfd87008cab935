/* test_environment.c: processes that live under limits, filters and other preloads, or that must be left alone. Whatever the
 * surroundings, the program's output and status are its own; a report that cannot be written is one line on the standard
 * error, and no more.
 */
#include "tests/run_victim.h"

#include <criterion/criterion.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool exits_with(const struct outcome *o, int status)
{
	return !o->hung && WIFEXITED(o->status) && WEXITSTATUS(o->status) == status;
}

/* Nothing, or one line that names us. */
static bool at_most_our_line(const char *err)
{
	const char *newline = strchr(err, '\n');
	return err[0] == '\0' || (strncmp(err, "sluice", 6) == 0 && newline && newline[1] == '\0');
}

static bool passes_in(const char *name, const char *arg, const char *preload, const char *conf)
{
	const char *const args[] = {arg, NULL};
	return victim_passes(&(struct victim){.name = name, .args = args, .preload = preload, .conf = conf});
}

Test(environment, closed_descriptors)
{
	struct victim v = {.name = "closed", .preload = victim_sluice()};
	struct outcome o = victim_run(&v);
	cr_expect(exits_with(&o, 21) && !o.checked && o.reports == 1);
	victim_explain(&v, &o);
	victim_forget(&o);
}

/* No descriptor can be had at the end: no report, at most our line, and the program's own status. */
static void no_report_but_status(const char *how)
{
	const char *const args[] = {how, NULL};
	struct victim v = {.name = "closed", .args = args, .preload = victim_sluice()};
	struct outcome o = victim_run(&v);
	bool ok = exits_with(&o, 21) && o.out[0] == '\0' && at_most_our_line(o.err) && o.reports == 0;
	if (!ok) {
		victim_explain(&v, &o);
	}
	cr_expect(ok, "%s", how);
	victim_forget(&o);
}

Test(environment, no_descriptor_left)
{
	no_report_but_status("all");
}

Test(environment, no_descriptors_allowed)
{
	no_report_but_status("limit");
}

Test(environment, no_file_may_grow)
{
	no_report_but_status("fsize");
}

Test(environment, address_space_limited)
{
	cr_assert(passes_in("rlimit_as", NULL, NULL, NULL));
	cr_assert(passes_in("rlimit_as", NULL, victim_sluice(), ""));
	cr_assert(passes_in("rlimit_as", NULL, victim_sluice(), "range:0"));
}

Test(environment, address_space_limited_later)
{
	cr_assert(passes_in("rlimit_as", "later", NULL, NULL));
	cr_assert(passes_in("rlimit_as", "later", victim_sluice(), ""));
	cr_assert(passes_in("rlimit_as", "later", victim_sluice(), "range:0"));
}

/* Anything but mmap, munmap, madvise, futex, write and the ends kills the process; so there is no report to write. */
Test(environment, seccomp_that_kills)
{
	const char *const kill[] = {"kill", NULL};
	const char *const confs[] = {"", "range:0", "decay:0", NULL};
	for (const char *const *c = confs; *c; c++) {
		struct victim v = {.name = "seccomp", .args = kill, .preload = victim_sluice(), .report = "off", .conf = *c};
		cr_assert(victim_passes(&v));
	}
}

/* The filter answers EPERM: the report cannot be written, and that is all. */
Test(environment, seccomp_that_refuses)
{
	const char *const args[] = {"errno", NULL};
	struct victim v = {.name = "seccomp", .args = args, .preload = victim_sluice()};
	struct outcome o = victim_run(&v);
	bool ok = exits_with(&o, 0) && strcmp(o.out, "ok\n") == 0 && at_most_our_line(o.err) && o.reports == 0;
	if (!ok) {
		victim_explain(&v, &o);
	}
	cr_assert(ok);
	victim_forget(&o);
}

/* The filter was there first: the program runs to its end, and there is a good report that says what is resident. */
static void passes_behind(const char *name, const char *arg, const char *preload)
{
	const char *path = victim_build(name);
	const char *const args[] = {preload, path, arg, NULL};
	struct victim v = {.name = "behind", .args = args};
	struct outcome o = victim_run(&v);
	cr_assert(victim_is_ok(&v, &o), "%s %s", name, arg);
	cr_expect_eq(o.reports, preload[0] != 0);
	char *text = preload[0] ? victim_read(&o, victim_only_report(&o)) : NULL;
	const char *resident = text ? strstr(text, "\"resident_by\":{\"blocks\":") : NULL;
	cr_expect(!preload[0] || (resident && resident[sizeof("\"resident_by\":{\"blocks\":") - 1] > '0'));
	free(text);
	victim_forget(&o);
}

Test(environment, behind_a_filter_that_was_there_first)
{
	passes_behind("tests/victims/mixed", NULL, "");
	passes_behind("tests/victims/mixed", NULL, victim_sluice());
}

Test(environment, another_preload_beside_us)
{
	char both[2 * VICTIM_PATH_MAX + 2];
	const char *wrap = victim_build("tests/victims/libwrap.so");
	const char *const victims[] = {"mixed", "realloc_keep", "key_destructors", "early",
	                               "late",  "fork_child",   "new_delete"};
	for (size_t i = 0; i < sizeof(victims) / sizeof(victims[0]); i++) {
		cr_assert(passes_in(victims[i], NULL, wrap, NULL), "the wrapper alone");
		snprintf(both, sizeof(both), "%s %s", wrap, victim_sluice());
		cr_assert(passes_in(victims[i], NULL, both, NULL), "%s: the wrapper first", victims[i]);
		snprintf(both, sizeof(both), "%s:%s", victim_sluice(), wrap);
		cr_assert(passes_in(victims[i], NULL, both, NULL), "%s: we first", victims[i]);
	}
}

/* The report has the arguments of the start, though the program wrote over them. */
Test(environment, wiped_environment_and_title)
{
	const char *const args[] = {"first-argument", "second argument", NULL};
	cr_assert(victim_passes(&(struct victim){.name = "wiped", .args = args}));
	struct victim v = {.name = "wiped", .args = args, .preload = victim_sluice()};
	struct outcome o = victim_run(&v);
	cr_assert(victim_is_ok(&v, &o));
	const char *path = victim_only_report(&o);
	cr_assert(path);
	char *text = victim_read(&o, path);
	cr_expect(text && strstr(text, "\"first-argument\",\"second argument\"]"), "%.400s", text);
	cr_expect(text && strstr(text, "/wiped\""), "%.400s", text);
	free(text);
	victim_forget(&o);
}

/* No report and no word: we are not in charge, and nobody asked. */
static void is_left_alone(struct victim v)
{
	struct outcome o = victim_run(&v);
	bool ok = victim_is_ok(&v, &o);
	cr_expect(ok && o.reports == 0, "%s: %d reports", v.name, o.reports);
	victim_forget(&o);
}

Test(environment, own_malloc_is_left_alone)
{
	is_left_alone((struct victim){.name = "own_malloc"});
	is_left_alone((struct victim){.name = "own_malloc", .preload = victim_sluice()});
}

Test(environment, static_binary_is_left_alone)
{
	is_left_alone((struct victim){.name = "static", .preload = victim_sluice()});
}

Test(environment, valgrind_is_left_alone)
{
	if (!victim_has("valgrind")) {
		cr_skip_test("valgrind is not installed");
	}
	const char *mixed = victim_build("tests/victims/mixed");
	const char *const args[] = {"-q", "--error-exitcode=9", "--leak-check=full", mixed, NULL};
	struct victim v = {.name = "valgrind", .installed = true, .args = args, .preload = victim_sluice()};
	struct outcome o = victim_run(&v);
	cr_assert(victim_is_ok(&v, &o));
	/* Its launcher is a program like any other and leaves a report; the process under memcheck must not. */
	char pattern[VICTIM_PATH_MAX + 16];
	glob_t found;
	snprintf(pattern, sizeof(pattern), "%s/mixed*", o.dir);
	cr_assert_eq(glob(pattern, 0, NULL, &found), GLOB_NOMATCH);
	snprintf(pattern, sizeof(pattern), "%s/memcheck*", o.dir);
	cr_assert_eq(glob(pattern, 0, NULL, &found), GLOB_NOMATCH);
	victim_forget(&o);
}

/* gcc links the sanitizer's runtime as a library, which must be the first preload; clang puts it into the program. */
static void asan_preload(char *preload, size_t room)
{
	char line[VICTIM_PATH_MAX] = "", command[VICTIM_PATH_MAX];
	snprintf(command, sizeof(command), "ldd '%s' | sed -n 's/.*=> \\(.*libasan[^ ]*\\).*/\\1/p'",
	         victim_build("tests/victims/asan"));
	FILE *f = popen(command, "r");
	if (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
	}
	if (f) {
		pclose(f);
	}
	snprintf(preload, room, "%s%s%s", line, line[0] ? " " : "", victim_sluice());
}

Test(environment, address_sanitizer_is_left_alone)
{
	char preload[2 * VICTIM_PATH_MAX];
	const char *const misuse[] = {"misuse", NULL};
	asan_preload(preload, sizeof(preload));
	is_left_alone((struct victim){.name = "asan"});
	is_left_alone((struct victim){.name = "asan", .preload = preload});
	struct victim v = {.name = "asan", .args = misuse, .preload = preload};
	struct outcome o = victim_run(&v);
	cr_assert(!exits_with(&o, 0) && strstr(o.err, "heap-use-after-free"), "the sanitizer found nothing");
	victim_forget(&o);
}

/* With vm.overcommit_memory at 2 the kernel counts what could be written, and a large reservation may be refused. The setting
 * is the whole machine's, so the test asks first.
 */
static bool set_overcommit(char mode, char *was)
{
	FILE *f = fopen("/proc/sys/vm/overcommit_memory", "r+");
	bool ok = f && (!was || fread(was, 1, 1, f) == 1);
	if (f) {
		rewind(f);
		ok = ok && fwrite(&mode, 1, 1, f) == 1;
		ok = fclose(f) == 0 && ok;
	}
	return ok;
}

Test(environment, no_overcommit)
{
	char was = '0';
	if (!getenv("SLUICE_OVERCOMMIT")) {
		cr_skip_test("changes the whole machine: set SLUICE_OVERCOMMIT=1 to allow it");
	}
	cr_assert(set_overcommit('2', &was));
	bool ok = passes_in("mixed", NULL, victim_sluice(), "") && passes_in("malloc_sizes", NULL, victim_sluice(), "") &&
	          passes_in("fork_child", NULL, victim_sluice(), "");
	cr_assert(set_overcommit(was, NULL));
	cr_assert(ok);
}
