/* cmd_report.c: `sluice report FILE`: a report as a table, or its rows as JSON. */
#include "analytics/command.h"
#include "analytics/message.h"
#include "analytics/report_view.h"
#include "analytics/request_view.h"
#include "analytics/rows_json.h"
#include "analytics/site_view.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FLAG_BY, FLAG_SORT, FLAG_TOP, FLAG_JSON, FLAG_SITE, FLAG_STACKS, FLAG_REQUESTS, FLAG_SYMBOLS };

const struct flag cmd_report_flags[] = {
	{"by", "WHAT", "a row per site (default), module, class or thread", 0},
	{"sort", "WHAT",
     "bytes (default), count, live, live-count, frees, reallocs, cross-thread, peak, slack, resident, average, name; size for classes",
     0},
	{"top", "N", "rows to show; 0: all; default 20 sites, or all of the others", 'n'},
	{"json", NULL, "the rows as JSON, for scripts", 0},
	{"site", "ID", "one site in full: its counts, sizes, memory, lives and stack", 0},
	{"stacks", NULL, "the sites of the table in full", 0},
	{"requests", NULL, "what requests allocate: a server's turns on the connections it accepted", 0},
	{"symbols", "DIR", "look for the programs' files here first; may be repeated", 0},
	{0},
};

enum { TOP_SITES = 20, SYMBOLS_MAX = 64 };

struct request_words {
	const char *file;
	int by, sort; /* -1: not said */
	unsigned long top, site;
	bool top_said, json, site_said, stacks, requests;
	const char *symbols[SYMBOLS_MAX]; /* folders */
	size_t symbols_count;
};

static bool add_symbols(struct request_words *w, const char *folder)
{
	bool good =
		*folder && !strchr(folder, ':') && w->symbols_count < SYMBOLS_MAX; /* elfutils parts folders by colons */
	if (good)
		w->symbols[w->symbols_count++] = folder;
	else
		message("report: --symbols takes up to %d folders without a colon in their names, not '%s'", SYMBOLS_MAX,
		        folder);
	return good;
}

/* Whether the words go together. */
static bool words_agree(const struct request_words *w)
{
	if (!w->file)
		message("report: which file? usage: sluice report FILE");
	else if ((w->site_said || w->stacks) && w->by >= 0 && w->by != ROWS_BY_SITE)
		message("report: only a site has a stack, not a %s", rows_by_names[w->by]);
	else if (w->requests && (w->site_said || w->stacks || w->json || w->by >= 0 || w->sort >= 0))
		message("report: --requests is a view of its own; the JSON of it is in the file, under \"requests\"");
	else
		return true;
	return false;
}

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
		case FLAG_JSON:
			w->json = true;
			break;
		case FLAG_SITE:
			w->site_said = flags_count(&f, "site", f.value, &w->site);
			break;
		case FLAG_STACKS:
			w->stacks = true;
			break;
		case FLAG_REQUESTS:
			w->requests = true;
			break;
		case FLAG_SYMBOLS:
			if (!add_symbols(w, f.value))
				return false;
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
	return words_agree(w);
}

static const struct report_site *find_site(const struct report *r, uint64_t id)
{
	for (size_t i = 0; i < r->sites_count; i++)
		if (r->sites[i].id == id)
			return &r->sites[i];
	return NULL;
}

static void show_text(const struct request_words *w, const struct report *r, struct names *s, enum rows_by by,
                      enum rows_sort sort)
{
	struct terminal terminal = terminal_of(stdout);
	if (w->site_said) {
		view_site(r, s, find_site(r, w->site), &terminal);
		return;
	}
	if (w->requests) {
		view_requests(r, s, w->top, &terminal);
		return;
	}
	view_head(r, &terminal);
	putchar('\n');
	view_rows(r, s, by, sort, w->top, &terminal);
	if (w->stacks)
		view_stacks(r, s, sort, w->top, &terminal);
}

/* Shows what was asked for. Returns the command's status. */
static int show(const struct request_words *w, const struct report *r, enum rows_by by, enum rows_sort sort)
{
	int error = 0;
	if (w->site_said && !find_site(r, w->site)) {
		message("%s: no site has the id %lu", w->file, w->site);
		return EXIT_WRONG;
	}
	struct rows_wish wish = {by, sort, w->top, w->stacks || w->site_said, w->site_said, w->site};
	struct names *s = names_open(r, w->symbols, w->symbols_count);
	if (w->json)
		error = rows_json(r, s, &wish, STDOUT_FILENO);
	else
		show_text(w, r, s, by, sort);
	names_close(s);
	if (error)
		message("standard output: %s", strerror(error));
	return error ? EXIT_WRONG : command_end(EXIT_OK);
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
	if (w.site_said)
		w.top = 0;
	if (report_load(&r, w.file, why) != REPORT_GOOD) {
		message("%s", why);
		return EXIT_WRONG;
	}
	int status = show(&w, &r, by, sort);
	report_close(&r);
	return status;
}
