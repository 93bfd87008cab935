/* tally_view.c: see tally_view.h. */
#include "analytics/tally_view.h"

#include "analytics/human_units.h"

void view_margin(const struct terminal *t, int margin, const char *word)
{
	fprintf(t->stream, "%s%-*s%s", terminal_dim(t), margin, word, terminal_plain(t));
}

const char *view_blocks(uint64_t count)
{
	return count == 1 ? "block" : "blocks";
}

void view_allocated(const struct terminal *t, int margin, const struct ledger_tally *tally)
{
	view_margin(t, margin, "allocated");
	fprintf(t->stream, "%s %s, %s asked for", human_count(tally->alloc_objects).text, view_blocks(tally->alloc_objects),
	        human_bytes(tally->alloc_space).text);
}

void view_live(const struct terminal *t, int margin, const struct ledger_tally *tally)
{
	view_margin(t, margin, "live");
	fprintf(t->stream, "%s %s, %s at the end; %s freed", human_count(tally->inuse_objects).text,
	        view_blocks(tally->inuse_objects), human_bytes(tally->inuse_space).text,
	        human_count(tally->free_objects).text);
}
