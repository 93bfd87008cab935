/* report_view.c: a report on the screen; see report_view.h.
 *
 * Sizes have three digits and a unit, counts are exact. "Bytes" is what the program asked for, "live" what the blocks
 * alive can hold; analytics/README.md defines every number. On a terminal the last column, the name, gives way to the
 * width; piped, nothing is cut and there are no colours.
 */
#include "analytics/report_view.h"

#include "analytics/human_units.h"
#include "analytics/memory.h"
#include "analytics/message.h"
#include "analytics/render.h"
#include "analytics/site_view.h"
#include "analytics/table.h"
#include "analytics/tally_view.h"

#include <stdlib.h>
#include <string.h>

enum {
	SUMMARY_TOP = 5, /* sites of each order, where there is no terminal to fill */
	SUMMARY_TOP_MAX = 10,
	SUMMARY_OTHER_LINES = 13 /* head, titles, where the report is, the next prompt */
};

/* --- the head ----------------------------------------------------------------------------------------------------- */

/* The command line, cut to what fits a line. */
static char *command_line(const struct report *r, const struct terminal *t)
{
	char *text = memory_text(r->run.argc ? "" : r->run.exe);
	size_t room = t->columns > 40 ? t->columns - 10 : 200;
	for (size_t i = 0; i < r->run.argc && strlen(text) <= room; i++) {
		char *longer = memory_format("%s%s%s", text, i ? " " : "", r->run.argv[i]);
		free(text);
		text = longer;
	}
	if (strlen(text) > room)
		strcpy(text + room - 3, "...");
	return message_safe(text);
}

static void head_run(const struct report *r, const struct terminal *t)
{
	char *command = command_line(r, t);
	char *end = message_safe(memory_text(r->run.end));
	view_margin(t, MARGIN_RUN, "program");
	fprintf(t->stream, "%s%s%s\n", terminal_bold(t), command, terminal_plain(t));
	view_margin(t, MARGIN_RUN, "run");
	fprintf(t->stream, "pid %llu, %s%s, %s\n", (unsigned long long)r->run.pid, end,
	        r->run.forked ? ", counted from its fork on" : "", human_duration(r->run.duration_ns).text);
	free(command);
	free(end);
}

static void head_memory(const struct ledger_memory *m, const struct terminal *t)
{
	const struct ledger_tally *tally = &m->tally;
	view_allocated(t, MARGIN_RUN, tally);
	fputc('\n', t->stream);
	view_live(t, MARGIN_RUN, tally);
	if (tally->inherited_objects)
		fprintf(t->stream, "; %s inherited by the fork", human_count(tally->inherited_objects).text);
	fputc('\n', t->stream);
	view_margin(t, MARGIN_RUN, "peak");
	fprintf(t->stream, "%s of blocks", human_bytes(m->peak_allocated).text);
	if (m->peak_slack)
		fprintf(t->stream, " (perhaps %s more)", human_bytes(m->peak_slack).text);
	fprintf(t->stream, ", %s resident\n", human_bytes(m->peak_resident).text);
}

/* The equation, term by term; those of nothing are left out. */
static void head_resident(const struct ledger_resident *r, const struct terminal *t)
{
	const struct {
		const char *name;
		uint64_t bytes;
	} parts[] = {
		{"blocks", r->blocks},     {"slack", r->slack},     {"free slabs", r->retained},      {"tables", r->metadata},
		{"fallback", r->fallback}, {"program", r->program}, {"unattributed", r->unattributed}};
	const char *between = " =";
	if (!r->resident)
		return;
	view_margin(t, MARGIN_RUN, "resident");
	fputs(human_bytes(r->resident).text, t->stream);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (!parts[i].bytes)
			continue;
		fprintf(t->stream, "%s %s %s", between, human_bytes(parts[i].bytes).text, parts[i].name);
		between = " +";
	}
	fputc('\n', t->stream);
}

static void head_routes(const struct report *r, const struct terminal *t)
{
	const struct ledger_tally *all = &r->memory.tally;
	for (int bytes = 0; bytes <= 1; bytes++) {
		const char *between = bytes ? "of bytes: " : "of blocks:";
		view_margin(t, MARGIN_RUN, bytes ? "" : "routes");
		for (unsigned i = 0; i < LEDGER_ROUTES; i++) {
			const struct ledger_tally *route = &r->routes[i];
			uint64_t part = bytes ? route->alloc_space : route->alloc_objects;
			uint64_t whole = bytes ? all->alloc_space : all->alloc_objects;
			if (!route->alloc_objects)
				continue;
			fprintf(t->stream, "%s %s %s", between, render_route_name(i), human_share(part, whole).text);
			between = ",";
		}
		fputs(between[0] == ',' ? "\n" : "none\n", t->stream);
	}
	const char *between = "because of";
	for (unsigned i = 0; i < LEDGER_REASONS; i++) {
		if (!r->reasons[i])
			continue;
		if (between[0] != ',')
			view_margin(t, MARGIN_RUN, "fallback");
		fprintf(t->stream, "%s %s (%s %s)", between, render_reason_name(i), human_count(r->reasons[i]).text,
		        view_blocks(r->reasons[i]));
		between = ",";
	}
	if (between[0] == ',')
		fputc('\n', t->stream);
}

/* Said only when there is something to say: exact is the rule. */
static void head_quality(const struct report_quality *q, const struct terminal *t)
{
	if (q->untracked_frees) {
		view_margin(t, MARGIN_RUN, "counts");
		fprintf(t->stream, "incomplete: %s frees could not be recorded\n", human_count(q->untracked_frees).text);
	}
	if (q->live_threads) {
		view_margin(t, MARGIN_RUN, "counts");
		fprintf(t->stream, "%s other threads were alive; their last few counts may be missing\n",
		        human_count(q->live_threads).text);
	}
	if (q->dropped_sites) {
		view_margin(t, MARGIN_RUN, "counts");
		fprintf(t->stream, "%s blocks are on \"other\": the table of sites was full\n",
		        human_count(q->dropped_sites).text);
	}
}

void view_head(const struct report *r, const struct terminal *t)
{
	head_run(r, t);
	head_memory(&r->memory, t);
	head_resident(&r->resident, t);
	head_routes(r, t);
	head_quality(&r->quality, t);
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

/* What a column shows. */
enum cell {
	CELL_BYTES,
	CELL_SHARE,
	CELL_COUNT,
	CELL_AVERAGE,
	CELL_LIVE,
	CELL_LIVE_COUNT,
	CELL_FREES,
	CELL_REALLOCS,
	CELL_CROSS,
	CELL_PEAK,
	CELL_SLACK,
	CELL_RESIDENT,
	CELL_ROUTE,
	CELL_SIZE,
	CELL_SLABS,
	CELL_UTIL,
	CELL_LASTED,
	CELL_TID,
	CELL_ID,
	CELL_NAME
};

static const struct table_column cell_columns[] = {
	[CELL_BYTES] = {"bytes", true},     [CELL_SHARE] = {"share", true},       [CELL_COUNT] = {"count", true},
	[CELL_AVERAGE] = {"average", true}, [CELL_LIVE] = {"live", true},         [CELL_LIVE_COUNT] = {"blocks", true},
	[CELL_FREES] = {"freed", true},     [CELL_REALLOCS] = {"reallocs", true}, [CELL_CROSS] = {"cross-thread", true},
	[CELL_SLACK] = {"slack", true},     [CELL_RESIDENT] = {"resident", true}, [CELL_PEAK] = {"peak", true},
	[CELL_ROUTE] = {"route", false},    [CELL_SIZE] = {"size", true},         [CELL_SLABS] = {"slabs", true},
	[CELL_UTIL] = {"used", true},       [CELL_LASTED] = {"lasted", true},     [CELL_TID] = {"tid", true},
	[CELL_ID] = {"id", true},           [CELL_NAME] = {"name", false},
};

/* The columns of each kind of rows, ended by CELL_NAME; classes have no name. */
static const enum cell cells_of[ROWS_BYS][10] = {
	[ROWS_BY_SITE] = {CELL_BYTES, CELL_SHARE, CELL_COUNT, CELL_AVERAGE, CELL_LIVE, CELL_LIVE_COUNT, CELL_ROUTE, CELL_ID,
                      CELL_NAME},
	[ROWS_BY_MODULE] = {CELL_BYTES, CELL_SHARE, CELL_COUNT, CELL_AVERAGE, CELL_LIVE, CELL_LIVE_COUNT, CELL_NAME},
	[ROWS_BY_CLASS] = {CELL_SIZE, CELL_BYTES, CELL_SHARE, CELL_COUNT, CELL_LIVE, CELL_LIVE_COUNT, CELL_SLABS, CELL_UTIL,
                       CELL_NAME},
	[ROWS_BY_THREAD] = {CELL_BYTES, CELL_SHARE, CELL_COUNT, CELL_AVERAGE, CELL_LASTED, CELL_TID, CELL_NAME},
};

struct view {
	const struct report *report;
	struct names *names;
	enum rows_by by;
	enum rows_sort sort;
	enum rows_sort share; /* what the shares are shares of */
	uint64_t whole;       /* the sum of that over all rows */
};

static struct human thread_lasted(const struct report *r, const struct report_thread *t)
{
	uint64_t end = t->end_unix_ns ? t->end_unix_ns : r->run.start_unix_ns + r->run.duration_ns;
	return human_duration(end > t->start_unix_ns ? end - t->start_unix_ns : 0);
}

static struct human cell_text(const struct view *v, const struct row *row, enum cell cell)
{
	const struct report *r = v->report;
	const struct ledger_tally *t = &row->tally;
	switch (cell) {
	case CELL_BYTES:
		return human_bytes(t->alloc_space);
	case CELL_SHARE:
		return human_share(rows_value(row, v->share, r), v->whole);
	case CELL_COUNT:
		return human_count(t->alloc_objects);
	case CELL_AVERAGE:
		return human_bytes(t->alloc_objects ? t->alloc_space / t->alloc_objects : 0);
	case CELL_LIVE:
		return human_bytes(t->inuse_space);
	case CELL_LIVE_COUNT:
		return human_count(t->inuse_objects);
	case CELL_FREES:
		return human_count(t->free_objects);
	case CELL_REALLOCS:
		return human_count(row->realloc_objects);
	case CELL_CROSS:
		return human_count(row->cross_thread_free_objects);
	case CELL_PEAK:
		return human_bytes(r->sites[row->index].fact.max_space);
	case CELL_SLACK:
		return human_bytes(r->sites[row->index].fact.slack_space);
	case CELL_RESIDENT:
		return human_bytes(r->sites[row->index].fact.resident_space);
	case CELL_SIZE:
		return human_count(r->classes[row->index].size);
	case CELL_SLABS:
		return human_count(r->classes[row->index].curslabs);
	case CELL_UTIL:
		return human_share(t->inuse_objects, r->classes[row->index].slots);
	case CELL_LASTED:
		return thread_lasted(r, &r->threads[row->index]);
	case CELL_TID:
		return human_count(r->threads[row->index].tid);
	default:
		return (struct human){.text = ""};
	}
}

/* Fills `cells` with the columns to show: the usual ones, and before the name what the rows are sorted by. */
static size_t choose_cells(const struct view *v, enum cell *cells)
{
	static const enum cell extra[ROWS_SORTS] = {
		/* 0: none, since bytes are always shown */
		[ROWS_SORT_FREES] = CELL_FREES, [ROWS_SORT_REALLOCS] = CELL_REALLOCS, [ROWS_SORT_CROSS_THREAD] = CELL_CROSS,
		[ROWS_SORT_PEAK] = CELL_PEAK,   [ROWS_SORT_SLACK] = CELL_SLACK,       [ROWS_SORT_RESIDENT] = CELL_RESIDENT};
	size_t count = 0;
	for (const enum cell *c = cells_of[v->by]; *c != CELL_NAME; c++) {
		if (*c == CELL_ROUTE && extra[v->sort])
			cells[count++] = extra[v->sort];
		cells[count++] = *c;
	}
	if (v->by != ROWS_BY_SITE && extra[v->sort])
		cells[count++] = extra[v->sort];
	if (v->by != ROWS_BY_CLASS)
		cells[count++] = CELL_NAME;
	return count;
}

static void add_row(const struct view *v, struct row *row, const enum cell *cells, size_t cells_count,
                    struct table *table)
{
	char number[24];
	for (size_t i = 0; i < cells_count; i++) {
		if (cells[i] == CELL_NAME) {
			table_cell(table, rows_name(row, v->by, v->report, v->names));
		} else if (cells[i] == CELL_ROUTE) {
			table_cell(table, row->route < 0 ? "-" : render_route_name((enum ledger_route)row->route));
		} else if (cells[i] == CELL_TID) {
			snprintf(number, sizeof(number), "%llu", (unsigned long long)v->report->threads[row->index].tid);
			table_cell(table, number);
		} else if (cells[i] == CELL_ID) {
			snprintf(number, sizeof(number), "%llu", (unsigned long long)v->report->sites[row->index].id);
			table_cell(table, number);
		} else {
			table_cell(table, cell_text(v, row, cells[i]).text);
		}
	}
}

static struct view view_of(const struct report *r, struct names *s, const struct rows *rows, enum rows_sort sort)
{
	struct view v = {.report = r, .names = s, .by = rows->by, .sort = sort, .share = sort};
	if (sort == ROWS_SORT_PEAK || sort == ROWS_SORT_SLACK || sort == ROWS_SORT_RESIDENT || sort == ROWS_SORT_AVERAGE ||
	    sort == ROWS_SORT_SIZE || sort == ROWS_SORT_NAME)
		v.share = ROWS_SORT_BYTES;
	for (size_t i = 0; i < rows->count; i++)
		v.whole += rows_value(&rows->rows[i], v.share, r);
	return v;
}

/* Prints the first `shown` rows, which are sorted already. `first` takes the place of the first column's title. */
static void print_rows(const struct view *v, struct rows *rows, size_t shown, const enum cell *cells,
                       size_t cells_count, const char *first, const struct terminal *t)
{
	struct table_column columns[TABLE_COLUMNS_MAX];
	struct table table;
	for (size_t i = 0; i < cells_count; i++) {
		columns[i] = cell_columns[cells[i]];
		if (cells[i] == CELL_NAME)
			columns[i].title = rows_by_names[v->by];
	}
	if (first)
		columns[0].title = first;
	table_open(&table, columns, cells_count);
	for (size_t i = 0; i < shown; i++)
		add_row(v, &rows->rows[i], cells, cells_count, &table);
	table_print(&table, t, 0);
	table_close(&table);
}

void view_rows(const struct report *r, struct names *s, enum rows_by by, enum rows_sort sort, size_t top,
               const struct terminal *t)
{
	enum cell cells[TABLE_COLUMNS_MAX];
	struct rows rows = rows_make(r, by);
	struct view v = view_of(r, s, &rows, sort);
	size_t cells_count = choose_cells(&v, cells), shown = top && top < rows.count ? top : rows.count;
	uint64_t rest = v.whole;
	rows_sort(&rows, sort, r, s);
	print_rows(&v, &rows, shown, cells, cells_count, NULL, t);
	for (size_t i = 0; i < shown; i++)
		rest -= rows_value(&rows.rows[i], v.share, r);
	if (shown < rows.count)
		fprintf(t->stream, "%sand %s more, with %s of the %s; --top 0 shows all%s\n", terminal_dim(t),
		        human_count(rows.count - shown).text, human_share(rest, v.whole).text, rows_sort_names[v.share],
		        terminal_plain(t));
	rows_free(&rows);
}

void view_stacks(const struct report *r, struct names *s, enum rows_sort sort, size_t top, const struct terminal *t)
{
	struct rows rows = rows_make(r, ROWS_BY_SITE);
	rows_sort(&rows, sort, r, s);
	for (size_t i = 0; i < rows.count && (!top || i < top); i++) {
		fputc('\n', t->stream);
		view_site(r, s, &r->sites[rows.rows[i].index], t);
	}
	rows_free(&rows);
}

void view_summary(const struct report *r, struct names *s, const struct terminal *t)
{
	static const struct {
		enum rows_sort sort;
		const char *title;
		enum cell cells[5];
	} tops[] = {
		{ROWS_SORT_BYTES, "by bytes", {CELL_BYTES, CELL_SHARE, CELL_COUNT, CELL_ROUTE, CELL_NAME}},
		{ROWS_SORT_COUNT, "by count", {CELL_COUNT, CELL_SHARE, CELL_BYTES, CELL_ROUTE, CELL_NAME}},
		{ROWS_SORT_LIVE, "by live at end", {CELL_LIVE, CELL_SHARE, CELL_LIVE_COUNT, CELL_ROUTE, CELL_NAME}},
	};
	struct rows rows = rows_make(r, ROWS_BY_SITE);
	size_t top = SUMMARY_TOP;
	if (t->rows)
		top = t->rows < SUMMARY_OTHER_LINES + 3 * 3 ? 3 : (t->rows - SUMMARY_OTHER_LINES) / 3;
	top = top < SUMMARY_TOP_MAX ? top : SUMMARY_TOP_MAX;
	view_head(r, t);
	for (size_t i = 0; i < sizeof(tops) / sizeof(tops[0]); i++) {
		struct view v = view_of(r, s, &rows, tops[i].sort);
		size_t shown = 0;
		rows_sort(&rows, tops[i].sort, r, s);
		while (shown < rows.count && shown < top && rows_value(&rows.rows[shown], v.share, r))
			shown++;
		if (shown)
			print_rows(&v, &rows, shown, tops[i].cells, 5, tops[i].title, t);
	}
	rows_free(&rows);
}
