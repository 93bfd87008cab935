/* site_callers.c: see site_callers.h.
 *
 * Sampled stacks are sorted by their frames from the site's own outwards, so those that share their way lie side by side. A
 * group goes outwards together as long as nobody leaves it, and is one line; where it parts, the groups are its lines below.
 * Stacks by which reallocs made the site's blocks grow are a tree of their own, from the leaf on.
 */
#include "analytics/site_callers.h"

#include "analytics/human_units.h"
#include "analytics/memory.h"
#include "analytics/message.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
	LINES_MAX = 40,
	NAMES_MAX = 4,    /* of one line */
	INDENT_MAX = 12,  /* levels */
	SHARE_MIN = 1000, /* a group of less than a thousandth of the site is not shown */
};

struct caller_share caller_share_of(const struct report_site *site, uint64_t weight)
{
	const struct report_sampled *s = &site->sampled;
	double p = s->of.weight ? (double)weight / (double)s->of.weight : 0;
	return (struct caller_share){.share = p,
	                             .within = interval_of_share(p, fmax(1, s->effective)),
	                             .space = (uint64_t)(p * (double)site->tally.alloc_space + .5)};
}

struct tree {
	const struct report *r;
	struct names *names;
	const struct terminal *t;
	struct report_site site; /* a copy: its stack is the one that names are asked of */
	size_t *order;           /* numbers of sampled stacks */
	size_t count;
	unsigned lines, left_out;
};

static const struct report_sampled_stack *sampled_at(const struct tree *tree, size_t i)
{
	return &tree->site.sampled.stacks[tree->order[i]];
}

static const struct report_stack *stack_at(const struct tree *tree, size_t i)
{
	return &tree->r->stacks[sampled_at(tree, i)->stack];
}

static int compare(const void *left, const void *right, void *context)
{
	const struct tree *tree = context;
	const struct report_sampled_stack *stacks = tree->site.sampled.stacks;
	const struct report_stack *of_a = &tree->r->stacks[stacks[*(const size_t *)left].stack];
	const struct report_stack *of_b = &tree->r->stacks[stacks[*(const size_t *)right].stack];
	for (size_t i = 0; i < of_a->count && i < of_b->count; i++)
		if (of_a->frames[i] != of_b->frames[i])
			return of_a->frames[i] < of_b->frames[i] ? -1 : 1;
	return (of_a->count > of_b->count) - (of_a->count < of_b->count);
}

static uint64_t weight_of(const struct tree *tree, size_t from, size_t to)
{
	uint64_t weight = 0;
	for (size_t i = from; i < to; i++)
		weight += sampled_at(tree, i)->weight;
	return weight;
}

/* The group from `from` on that has the same frame at `depth`, or ends before. */
static size_t group_end(const struct tree *tree, size_t from, size_t to, size_t depth)
{
	const struct report_stack *first = stack_at(tree, from);
	size_t end = from + 1;
	while (end < to && depth < first->count && depth < stack_at(tree, end)->count &&
	       stack_at(tree, end)->frames[depth] == first->frames[depth])
		end++;
	return end;
}

/* Where the group parts first, from `depth` on, or its first stack ends. */
static size_t parts_at(const struct tree *tree, size_t from, size_t to, size_t depth)
{
	while (depth < stack_at(tree, from)->count && group_end(tree, from, to, depth) == to)
		depth++;
	return depth;
}

/* The functions at depths `from` up to `to`, innermost first. */
static void show_names(struct tree *tree, size_t stack, size_t from, size_t to)
{
	size_t shown = 0;
	tree->site.stack = sampled_at(tree, stack)->stack;
	for (size_t depth = from; depth < to && shown < NAMES_MAX; depth++) {
		struct name_chain chain = names_at(tree->names, &tree->site, depth);
		char *text = message_safe(names_text(&chain.names[chain.count - 1]));
		fprintf(tree->t->stream, "%s%s", shown++ ? " < " : "", text);
		free(text);
	}
	fprintf(tree->t->stream, "%s\n", to - from > NAMES_MAX ? " < ..." : "");
}

static void show_line(struct tree *tree, uint64_t weight, unsigned level)
{
	struct caller_share of = caller_share_of(&tree->site, weight);
	char range[32];
	snprintf(range, sizeof(range), "(%.0f-%.0f)", 100 * of.within.least, 100 * of.within.most);
	fprintf(tree->t->stream, "  %*sabout %.0f %% %s, %s  ", level < INDENT_MAX ? 2 * (int)level : 2 * INDENT_MAX, "",
	        100 * of.share, range, human_bytes(of.space).text);
	tree->lines++;
}

static int compare_groups(const void *left, const void *right)
{
	const uint64_t *a = left, *b = right; /* weight, begin, end */
	return a[0] != b[0] ? (a[0] < b[0] ? 1 : -1) : (a[1] > b[1]) - (a[1] < b[1]);
}

/* The groups among stacks `from` up to `to`, which are the same up to `depth`, the heaviest first. */
static void show_groups(struct tree *tree, size_t from, size_t to, size_t depth, unsigned level)
{
	uint64_t(*groups)[3] = memory_room(to - from, sizeof(groups[0]));
	size_t count = 0;
	for (size_t i = from; i < to; i = groups[count++][2]) {
		groups[count][1] = i;
		groups[count][2] = group_end(tree, i, to, depth);
		groups[count][0] = weight_of(tree, i, groups[count][2]);
	}
	qsort(groups, count, sizeof(groups[0]), compare_groups);
	for (size_t g = 0; g < count; g++) {
		size_t begin = groups[g][1], end = groups[g][2], next = parts_at(tree, begin, end, depth);
		if (depth >= stack_at(tree, begin)->count && level)
			continue; /* ends where its caller is: the line above says so */
		if (tree->lines == LINES_MAX || groups[g][0] < tree->site.sampled.of.weight / SHARE_MIN) {
			tree->left_out++;
			continue;
		}
		show_line(tree, groups[g][0], level);
		if (next == depth)
			fputs("(no caller beyond)\n", tree->t->stream);
		else
			show_names(tree, begin, depth, next);
		if (end - begin > 1)
			show_groups(tree, begin, end, next, level + 1);
	}
	free(groups);
}

/* Those of the site's sampled stacks that are of reallocs, or are not, from `depth` on. */
static void show_tree(struct tree *tree, bool by_realloc, size_t depth, const char *what)
{
	const struct report_sampled *s = &tree->site.sampled;
	tree->count = 0;
	for (size_t i = 0; i < s->stacks_count; i++)
		if (s->stacks[i].by_realloc == by_realloc && s->stacks[i].stack < tree->r->stacks_count)
			tree->order[tree->count++] = i;
	if (!tree->count)
		return;
	qsort_r(tree->order, tree->count, sizeof(tree->order[0]), compare, tree);
	fprintf(tree->t->stream, "  %s%s%s\n", terminal_dim(tree->t), what, terminal_plain(tree->t));
	show_groups(tree, 0, tree->count, depth, 0);
}

static void show_head(const struct report_site *site, const struct terminal *t)
{
	const struct report_sampled *s = &site->sampled;
	uint64_t exact = site->tally.alloc_space;
	fprintf(t->stream,
	        "%scallers%s     exact: %s asked for here; sampled: %s stacks, worth %.0f equal ones, for %s of it\n",
	        terminal_dim(t), terminal_plain(t), human_bytes(exact).text, human_count(s->of.samples).text, s->effective,
	        human_share(s->of.weight < exact ? s->of.weight : exact, exact).text);
}

/* What the sample is off where that is known. */
static void show_error(const struct ledger_sampling *s, const struct terminal *t)
{
	if (!s->sites)
		return;
	fprintf(
		t->stream,
		"  %sthe sample's own error: of %s sites' bytes it is %s off, and %s of their 95 %% intervals hold the exact ones%s\n",
		terminal_dim(t), human_count(s->sites).text, human_share(s->off_space, s->exact_space).text,
		human_count(s->held).text, terminal_plain(t));
}

void view_callers(const struct report *r, struct names *s, const struct report_site *site, const struct terminal *t)
{
	if (!r->quality.stacks.period)
		return;
	if (!site->sampled.stacks_count) {
		fprintf(t->stream, "%scallers%s     no stack of it was sampled: the one above is all that is known\n",
		        terminal_dim(t), terminal_plain(t));
		return;
	}
	struct tree tree = {.r = r, .names = s, .t = t, .site = *site};
	tree.order = memory_room(site->sampled.stacks_count, sizeof(tree.order[0]));
	show_head(site, t);
	show_tree(&tree, false, site->key_frames, "who called beyond the frames that make the site, by samples:");
	show_tree(&tree, true, 0, "who made its blocks grow by realloc, by samples:");
	if (tree.left_out)
		fprintf(t->stream, "  %sand %u more groups%s\n", terminal_dim(t), tree.left_out, terminal_plain(t));
	show_error(&r->quality.stacks, t);
	free(tree.order);
}
