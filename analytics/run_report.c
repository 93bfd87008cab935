/* run_report.c: where the report of a run goes, and where it went; see run_report.h.
 *
 * The library expands the % names; the command knows the pid and the host, and looks for the rest with a wildcard. A
 * report counts only when it names the pid and is no older than the run: a file left over from an earlier run under the
 * same name must not be shown as this one's.
 */
#include "analytics/run_report.h"

#include "analytics/memory.h"
#include "analytics/render.h"
#include "shim/options.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATTERN_EXPANDED_MAX = 2 * PATH_MAX };

char *run_report_pattern(const char *pattern)
{
	char folder[PATH_MAX];
	if (!pattern)
		pattern = SLUICE_REPORT_DEFAULT;
	/* A comma would end the option, and a % in the folder's name would be expanded: then it stays relative. */
	if (pattern[0] == '/' || strcmp(pattern, "off") == 0 || !getcwd(folder, sizeof(folder)) || strpbrk(folder, ",%"))
		return memory_text(pattern);
	return memory_format("%s/%s", strcmp(folder, "/") == 0 ? "" : folder, pattern);
}

static void append(char *to, const char *text, bool literal)
{
	size_t used = strlen(to);
	for (; *text && used + 2 < PATTERN_EXPANDED_MAX; text++) {
		if (literal && strchr("*?[\\", *text))
			to[used++] = '\\';
		to[used++] = *text;
	}
	to[used] = 0;
}

/* The pattern as a wildcard: what is known filled in, "*" for the rest. Any process when `pid` is 0. */
static void expand(char *to, const char *pattern, pid_t pid)
{
	char text[HOST_NAME_MAX + 2];
	to[0] = 0;
	for (const char *c = pattern; *c; c++) {
		char kind = c[0] == '%' ? c[1] : 0;
		text[0] = c[0];
		text[1] = 0;
		if (kind == 'p')
			snprintf(text, sizeof(text), "%ld", (long)pid);
		if (kind == 'h' && gethostname(text, sizeof(text) - 1) != 0)
			kind = 'e';
		if (kind == 'e' || kind == 't' || (kind == 'p' && !pid))
			append(to, "*", false);
		else
			append(to, text, true);
		if (kind && !strchr("peht", kind)) { /* as it stands, both characters: they never begin another name */
			append(to, (char[]){kind, 0}, true);
			c++;
		} else if (kind) {
			c++;
		}
	}
}

/* Loads one candidate; keeps it when it is of this run and later than `r`. */
static bool consider(struct report *r, const char *path, pid_t pid, uint64_t start_unix_ns, char *message)
{
	struct report candidate;
	char why[REPORT_MESSAGE_MAX];
	if (report_load(&candidate, path, why) != REPORT_GOOD) {
		strcpy(message, why);
		return false;
	}
	const struct report_run *run = &candidate.run, *best = &r->run;
	bool ours = run->pid == (uint64_t)pid && run->start_unix_ns + run->duration_ns >= start_unix_ns;
	if (!ours || (r->document && run->start_unix_ns + run->duration_ns < best->start_unix_ns + best->duration_ns)) {
		report_close(&candidate);
		return false;
	}
	if (r->document)
		report_close(r);
	*r = candidate;
	return true;
}

static char *find(struct report *r, const char *pattern, pid_t pid, uint64_t start_unix_ns, char *message)
{
	char wildcard[PATTERN_EXPANDED_MAX];
	char *found = NULL;
	glob_t files;
	expand(wildcard, pattern, pid);
	if (glob(wildcard, 0, NULL, &files) != 0)
		return NULL;
	for (size_t i = 0; i < files.gl_pathc; i++)
		if (consider(r, files.gl_pathv[i], pid, start_unix_ns, message)) {
			free(found);
			found = memory_text(files.gl_pathv[i]);
		}
	globfree(&files);
	return found;
}

char *run_report_find(struct report *r, const char *pattern, pid_t pid, uint64_t start_unix_ns, char *message)
{
	const char *slash = strrchr(pattern, '/');
	message[0] = 0;
	memset(r, 0, sizeof(*r));
	char *found = find(r, pattern, pid, start_unix_ns, message);
	if (!found) { /* where the library writes when the folder refuses */
		char *instead = memory_format("/tmp/%s", slash ? slash + 1 : pattern);
		found = find(r, instead, pid, start_unix_ns, message);
		free(instead);
	}
	return found;
}

size_t run_report_others(const char *pattern, const char *found, uint64_t start_unix_ns)
{
	char wildcard[PATTERN_EXPANDED_MAX];
	const char *dot = strrchr(pattern, '.'), *slash = strrchr(pattern, '/');
	size_t before = dot && (!slash || dot > slash) ? (size_t)(dot - pattern) : strlen(pattern), others = 0;
	/* without %p the library puts the pid before the extension: out.json, out.1234.json */
	char *theirs = strstr(pattern, "%p") ? memory_text(pattern)
	                                     : memory_format("%.*s.%%p%s", (int)before, pattern, pattern + before);
	glob_t files;
	struct stat file;
	expand(wildcard, theirs, 0);
	free(theirs);
	if (glob(wildcard, 0, NULL, &files) != 0)
		return 0;
	for (size_t i = 0; i < files.gl_pathc; i++)
		others += strcmp(files.gl_pathv[i], found) != 0 && stat(files.gl_pathv[i], &file) == 0 &&
		          (uint64_t)file.st_mtim.tv_sec * 1000000000 + (uint64_t)file.st_mtim.tv_nsec >= start_unix_ns;
	globfree(&files);
	return others;
}
