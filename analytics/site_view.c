/* site_view.c: one site in full; see site_view.h.
 *
 * The stack is the one that was seen when the site was met first. Its first frames, marked by a star, are the site's
 * identity and the same for every allocation of it; those further out are one example of how it came there, and the sample says
 * which others there are (site_callers.h).
 */
#include "analytics/site_view.h"

#include "analytics/human_units.h"
#include "analytics/memory.h"
#include "analytics/message.h"
#include "analytics/render.h"
#include "analytics/site_callers.h"
#include "analytics/site_facts.h"
#include "analytics/table.h"
#include "analytics/tally_view.h"

#include <stdlib.h>

static void show_name(struct names *s, const struct report_site *site, const struct terminal *t)
{
	char *name = message_safe(names_site(s, site));
	view_margin(t, MARGIN_SITE, "site");
	fprintf(t->stream, "%llu, %s%s%s\n", (unsigned long long)site->id, terminal_bold(t), name, terminal_plain(t));
	free(name);
}

static void show_counts(const struct report_site *site, const struct terminal *t)
{
	const struct ledger_tally *tally = &site->tally;
	view_allocated(t, MARGIN_SITE, tally);
	if (tally->alloc_objects)
		fprintf(t->stream, ", %s each", human_bytes(tally->alloc_space / tally->alloc_objects).text);
	if (site->realloc_objects)
		fprintf(t->stream, "; %s of them by realloc", human_count(site->realloc_objects).text);
	fputc('\n', t->stream);
	view_live(t, MARGIN_SITE, tally);
	if (site->cross_thread_free_objects)
		fprintf(t->stream, ", %s by other threads", human_count(site->cross_thread_free_objects).text);
	fputc('\n', t->stream);
}

static void show_routes(const struct report_site *site, const struct terminal *t)
{
	const char *between = "of blocks:";
	for (unsigned i = 0; i < LEDGER_ROUTES; i++) {
		if (!site->route_objects[i])
			continue;
		if (between[0] != ',')
			view_margin(t, MARGIN_SITE, "routes");
		fprintf(t->stream, "%s %s %s", between, render_route_name(i),
		        human_share(site->route_objects[i], site->tally.alloc_objects).text);
		between = ",";
	}
	if (between[0] == ',')
		fputc('\n', t->stream);
}

/* --- the stack ---------------------------------------------------------------------------------------------------- */

/* A cell of formatted text; takes the text. */
static void cell(struct table *table, char *text)
{
	table_cell(table, text);
	free(text);
}

static void add_function(struct table *table, const struct name *n, size_t depth, bool key)
{
	unsigned long long offset = n->offset;
	cell(table, memory_format("%zu%s", depth, key ? "*" : " "));
	if (n->inlined)
		table_cell(table, "inlined");
	else
		cell(table, n->module ? memory_format("%s+0x%llx", n->module, offset) : memory_format("0x%llx", offset));
	if (n->file && n->line)
		cell(table, memory_format("%s:%u", n->file, n->line));
	else
		table_cell(table, n->file ? n->file : "-");
	table_cell(table, n->function ? n->function : "?");
}

static void show_stack(const struct report *r, struct names *s, const struct report_site *site,
                       const struct terminal *t)
{
	static const struct table_column columns[] = {
		{"frame", true}, {"code", false}, {"source", false}, {"function", false}};
	struct table table;
	bool stacked = site->stack < r->stacks_count;
	table_open(&table, columns, sizeof(columns) / sizeof(columns[0]));
	for (size_t depth = 0; depth < names_depth(s, site); depth++) {
		struct name_chain chain = names_at(s, site, depth);
		for (size_t i = 0; i < chain.count; i++)
			add_function(&table, &chain.names[i], depth, depth < site->key_frames);
	}
	table_print(&table, t, 2);
	table_close(&table);
	fprintf(t->stream, "%s  * makes the site%s%s%s\n", terminal_dim(t),
	        stacked ? "; the rest is as it was first seen" : "; no stack is in the report",
	        stacked && r->stacks[site->stack].truncated ? ", and goes on" : "", terminal_plain(t));
}

void view_site(const struct report *r, struct names *s, const struct report_site *site, const struct terminal *t)
{
	show_name(s, site, t);
	show_counts(site, t);
	show_routes(site, t);
	view_facts(site, t);
	if (site->other)
		return;
	show_stack(r, s, site, t);
	view_callers(r, s, site, t);
}
