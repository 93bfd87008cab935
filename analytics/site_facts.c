/* site_facts.c: see site_facts.h. */
#include "analytics/site_facts.h"

#include "analytics/human_units.h"
#include "analytics/interval.h"
#include "analytics/tally_view.h"

#include <stdio.h>

enum { BAR = 30 };

struct short_share site_short_share(const struct ledger_life *life)
{
	double of = (double)life->short_weight + (double)life->long_weight, squares = (double)life->judged_squares;
	if (of <= 0 || squares <= 0)
		return (struct short_share){.samples = 0};
	double n = of * of / squares, p = (double)life->short_weight / of;
	struct interval within = interval_of_share(p, n);
	return (struct short_share){.share = p, .least = within.least, .most = within.most, .samples = n};
}

static void bars(const uint64_t *buckets, unsigned count, unsigned shift, struct human unit(uint64_t), const char *what,
                 const struct terminal *t)
{
	uint64_t whole = 0, most = 0;
	for (unsigned i = 0; i < count; i++) {
		whole += buckets[i];
		most = buckets[i] > most ? buckets[i] : most;
	}
	for (unsigned i = 0; i < count; i++) {
		if (!buckets[i])
			continue;
		view_margin(t, MARGIN_SITE, what);
		what = "";
		int length = (int)((double)buckets[i] / (double)most * BAR + .5);
		fprintf(t->stream, "%10s  %7s  %.*s\n", unit(UINT64_C(1) << (i + shift)).text,
		        human_share(buckets[i], whole).text, length ? length : 1, "##############################");
	}
}

static void view_reallocs(const struct report_site *s, const struct terminal *t)
{
	const struct ledger_fact *f = &s->fact;
	if (!s->realloc_objects)
		return;
	view_margin(t, MARGIN_SITE, "reallocs");
	fprintf(t->stream, "%s", human_count(s->realloc_objects).text);
	if (s->has_fact) {
		fprintf(t->stream, ", %s in place; ",
		        human_share(s->realloc_objects - f->realloc_moved_objects, s->realloc_objects).text);
		fprintf(t->stream, "%s grown, ", human_bytes(f->realloc_grown_space).text);
		fprintf(t->stream, "%s shrunk, ", human_bytes(f->realloc_shrunk_space).text);
		fprintf(t->stream, "%s copied", human_bytes(f->realloc_copied_space).text);
	}
	fputc('\n', t->stream);
}

static void view_space(const struct ledger_fact *f, const struct terminal *t)
{
	view_margin(t, MARGIN_SITE, "peak");
	fprintf(t->stream, "%s", human_bytes(f->max_space).text);
	if (f->max_slack)
		fprintf(t->stream, " (perhaps %s more)", human_bytes(f->max_slack).text);
	fputc('\n', t->stream);
	view_margin(t, MARGIN_SITE, "slack");
	fprintf(t->stream, "%s of slabs beyond the live blocks; ", human_bytes(f->slack_space).text);
	fprintf(t->stream, "explains %s resident\n", human_bytes(f->resident_space).text);
	bars(f->size_hist_log2, LEDGER_SIZES, 0, human_bytes, "sizes to", t);
}

static void view_short(const struct ledger_life *life, const struct terminal *t)
{
	struct short_share share = site_short_share(life);
	if (share.samples <= 0)
		return;
	view_margin(t, MARGIN_SITE, "short-lived");
	fprintf(t->stream, "%.0f %% (%.0f to %.0f %%), worth %.0f samples: freed before 64 KiB more were asked for\n",
	        100 * share.share, 100 * share.least, 100 * share.most, share.samples);
}

static void view_lives(const struct report_site *s, const struct terminal *t)
{
	const struct ledger_life *life = &s->life;
	if (!life->ns.count && !life->censored)
		return;
	view_margin(t, MARGIN_SITE, "lifetimes");
	fprintf(t->stream, "%s samples ended, ", human_count(life->ns.count).text);
	fprintf(t->stream, "%s were alive at the end; ", human_count(life->censored).text);
	fprintf(t->stream, "they stand for %s of the allocations\n",
	        human_share(life->ns.weight + life->censored_weight, s->tally.alloc_objects).text);
	view_short(life, t);
	if (!life->ns.weight)
		return;
	view_margin(t, MARGIN_SITE, "");
	fprintf(t->stream, "%s to ", human_duration(life->ns.min).text);
	fprintf(t->stream, "%s, ", human_duration(life->ns.max).text);
	fprintf(t->stream, "%s in the mean\n", human_duration(life->ns.sum / life->ns.weight).text);
	bars(life->ns.hist, LEDGER_LIVES, LEDGER_LIFE_SHIFT_NS, human_duration, "time from", t);
	bars(life->space.hist, LEDGER_LIVES, LEDGER_LIFE_SHIFT_SPACE, human_bytes, "bytes from", t);
}

void view_facts(const struct report_site *site, const struct terminal *t)
{
	view_reallocs(site, t);
	if (site->has_fact)
		view_space(&site->fact, t);
	view_lives(site, t);
}
