/* cmd_report.c: `sluice report FILE`: a report as a table, or its rows as JSON. */
#include "analytics/command.h"
#include "analytics/message.h"
#include "analytics/report_site.h"
#include "analytics/report_view.h"
#include "analytics/rows_json.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FLAG_BY, FLAG_SORT, FLAG_TOP, FLAG_JSON, FLAG_SITE };

const struct flag cmd_report_flags[] = {
	{"by", "WHAT", "a row per site (default), module, class or thread", 0},
	{"sort", "WHAT",
     "bytes (default), count, live, live-count, frees, reallocs, cross-thread, peak, slack, resident, average, name; size for classes",
     0},
	{"top", "N", "rows to show; 0: all; default 20 sites, or all of the others", 'n'},
	{"json", NULL, "the rows as JSON, for scripts", 0},
	{"site", "ID", "all that is known of one site, by the id that the rows of --json and the report have", 0},
	{0},
};

enum { TOP_SITES = 20 };

struct request_words {
	const char *file;
	int by, sort; /* -1: not said */
	unsigned long top, site;
	bool top_said, json, site_said;
};

/* Returns false, having said why, when the words make no sense. */
static bool read_words(struct request_words *w, char **words)
{
	struct flags f;
	flags_open(&f, "report", cmd_report_flags, words);
	for (int flag; (flag = flags_next(&f)) != FLAGS_END;) {
		switch (flag) {
		case FLAG_BY:
			w->by = flags_choice(&f, "by", f.value, rows_by_names, ROWS_BYS);
			break;
		case FLAG_SORT:
			w->sort = flags_choice(&f, "sort", f.value, rows_sort_names, ROWS_SORTS);
			break;
		case FLAG_TOP:
			w->top_said = flags_count(&f, "top", f.value, &w->top);
			break;
		case FLAG_SITE:
			w->site_said = flags_count(&f, "site", f.value, &w->site);
			break;
		case FLAG_JSON:
			w->json = true;
			break;
		case FLAGS_WORD:
			if (w->file) {
				message("report: one file at a time, not also '%s'", f.value);
				return false;
			}
			w->file = f.value;
			break;
		default:
			return false;
		}
		if ((flag == FLAG_BY && w->by < 0) || (flag == FLAG_SORT && w->sort < 0) ||
		    (flag == FLAG_TOP && !w->top_said) || (flag == FLAG_SITE && !w->site_said))
			return false;
	}
	if (!w->file)
		message("report: which file? usage: sluice report FILE");
	return w->file;
}

int cmd_report(char **words)
{
	struct request_words w = {.by = -1, .sort = -1};
	char why[REPORT_MESSAGE_MAX];
	struct report r;
	if (!read_words(&w, words))
		return EXIT_USAGE;
	enum rows_by by = w.by < 0 ? ROWS_BY_SITE : (enum rows_by)w.by;
	enum rows_sort sort = w.sort >= 0 ? (enum rows_sort)w.sort : by == ROWS_BY_CLASS ? ROWS_SORT_SIZE : ROWS_SORT_BYTES;
	if (!rows_can_sort(by, sort)) {
		message("report: a %s has nothing to sort by %s", rows_by_names[by], rows_sort_names[sort]);
		return EXIT_USAGE;
	}
	if (!w.top_said)
		w.top = by == ROWS_BY_SITE && !w.json ? TOP_SITES : 0;
	if (report_load(&r, w.file, why) != REPORT_GOOD) {
		message("%s", why);
		return EXIT_WRONG;
	}
	struct names *s = names_open(&r);
	struct terminal terminal = terminal_of(stdout);
	int error = 0;
	const struct report_site *site = w.site_said ? site_by_id(&r, w.site) : NULL;
	if (w.site_said && !site) {
		message("report: %s has no site %lu", w.file, w.site);
		error = -1;
	} else if (site) {
		view_site(&r, s, site, &terminal);
	} else if (w.json) {
		error = rows_json(&r, s, by, sort, w.top, STDOUT_FILENO);
	} else {
		view_head(&r, &terminal);
		putchar('\n');
		view_rows(&r, s, by, sort, w.top, &terminal);
	}
	names_close(s);
	report_close(&r);
	if (error > 0)
		message("standard output: %s", strerror(error));
	return error ? EXIT_WRONG : command_end(EXIT_OK);
}
