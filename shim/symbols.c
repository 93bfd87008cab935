/* symbols.c: every module's dynamic symbols are read once, and each is looked up among the module's frames: a heap-sorted
 * list of frame numbers by mapping and offset, so the cost is (symbols + frames) x log(frames), and no memory is needed but
 * that list. A site has the name of the frame that its key ends in.
 *
 * Other threads may unload modules and retire sites meanwhile: a frame's mapping and offset stay; and what
 * was read of a module counts only if it is still there afterwards. A signal handler that interrupted us may come here too,
 * and return when its exec has failed: then the list has another order, but still numbers of frames in it, and what was
 * being read is not trusted.
 */
#include "symbols.h"

#include "frame.h"
#include "mapping.h"
#include "module.h"
#include "pools/apart.h"
#include "site.h"

#include <stdatomic.h>

enum { NAME_BYTES = 4096 }; /* longer ones, of which C++ has some, are left out */

static APART uint32_t order[LEDGER_FRAMES_MAX];
static _Atomic uint32_t fills; /* begun so far */

/* A mapping and its frames in `order`. */
struct search {
	struct ledger_header *l;
	uint32_t mapping, from, to;
};

static struct ledger_frame *frame_at(const struct ledger_header *l, uint32_t i)
{
	return &ledger_frames(l)[order[i]];
}

static bool is_before(const struct ledger_frame *a, const struct ledger_frame *b)
{
	return a->mapping != b->mapping ? a->mapping < b->mapping : a->offset < b->offset;
}

static void sift(const struct ledger_header *l, uint32_t root, uint32_t count)
{
	for (uint32_t child; (child = 2 * root + 1) < count; root = child) {
		if (child + 1 < count && is_before(frame_at(l, child), frame_at(l, child + 1)))
			child++;
		if (!is_before(frame_at(l, root), frame_at(l, child)))
			return;
		uint32_t swapped = order[root];
		order[root] = order[child];
		order[child] = swapped;
	}
}

static void sort(const struct ledger_header *l, uint32_t count)
{
	for (uint32_t i = count / 2; i-- > 0;)
		sift(l, i, count);
	for (uint32_t end = count; end-- > 1;) {
		uint32_t swapped = order[0];
		order[0] = order[end];
		order[end] = swapped;
		sift(l, 0, end);
	}
}

static struct ledger_string name_of(const struct search *search, uint32_t name)
{
	static APART char text[NAME_BYTES];
	size_t length = module_string(mapping_places(search->mapping), name, text, sizeof(text));
	return length ? ledger_string(text, length) : (struct ledger_string){0};
}

static void name_frames(void *context, uint64_t start, uint64_t bytes, uint32_t name)
{
	const struct search *search = context;
	uint32_t low = search->from, high = search->to;
	while (low < high) { /* first frame above start: a return address is behind its call */
		uint32_t middle = (low + high) / 2;
		if (frame_at(search->l, middle)->offset <= start)
			low = middle + 1;
		else
			high = middle;
	}
	struct ledger_string at = {0};
	for (; low < search->to && frame_at(search->l, low)->offset - start <= bytes; low++) {
		struct ledger_frame *frame = frame_at(search->l, low);
		if (frame->mapping != search->mapping || frame->symbol.at)
			continue;
		if (!at.at && !(at = name_of(search, name)).at)
			return;
		frame->symbol = at;
		frame->symbol_offset = frame->offset - start;
	}
}

static void name_mapping(struct search *search)
{
	const struct ledger_mapping *map = &ledger_mappings(search->l)[search->mapping];
	const struct module_places *places = mapping_places(search->mapping);
	uint32_t before = search->l->strings_used, fill = atomic_load(&fills);
	if (!module_is_loaded(map, places)) /* another library may be where this one was */
		return;
	module_symbols(map, places, name_frames, search);
	if (module_is_loaded(map, places) && atomic_load(&fills) == fill)
		return;
	for (uint32_t i = search->from; i < search->to; i++)
		if (frame_at(search->l, i)->symbol.at >= before)
			frame_at(search->l, i)->symbol.at = 0;
}

static void name_site(struct ledger_header *l, struct ledger_site *site)
{
	uint32_t count;
	const uint32_t *frames = site->stack < l->stacks_count ? stack_frames(site->stack, &count) : NULL;
	if (!frames || !site->key_frames || site->key_frames > count)
		return;
	const struct ledger_frame *frame = &ledger_frames(l)[frames[site->key_frames - 1]];
	site->symbol = frame->symbol;
	site->symbol_offset = frame->symbol_offset;
}

void symbols_fill(struct ledger_header *l)
{
	uint32_t count = 0, frames = l->frames_count;
	atomic_fetch_add(&fills, 1);
	for (uint32_t i = 0; i < frames; i++)
		if (ledger_frames(l)[i].mapping < l->mappings_count)
			order[count++] = i;
	sort(l, count);
	struct search search = {.l = l};
	for (; search.from < count; search.from = search.to) {
		search.mapping = frame_at(l, search.from)->mapping;
		for (search.to = search.from + 1; search.to < count; search.to++)
			if (frame_at(l, search.to)->mapping != search.mapping)
				break;
		name_mapping(&search);
	}
	for (uint32_t i = 1; i < l->sites_count; i++)
		name_site(l, &ledger_sites(l)[i]);
}
