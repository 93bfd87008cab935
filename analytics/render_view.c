/* render_view.c: a ledger cut back to what can be read of it; see render_view.h. */
#include "analytics/render_view.h"

#include <string.h>

/* How many records of `size` bytes may be read at offset `at`: at most `count`, none when the offset is nonsense. */
static uint32_t clamp(const struct ledger_header *l, uint64_t at, uint32_t count, size_t size, uint32_t max)
{
	if (at < sizeof(*l) || at > l->total_bytes || at % _Alignof(uint64_t))
		return 0;
	uint64_t room = (l->total_bytes - at) / size;
	count = count < max ? count : max;
	return room < count ? (uint32_t)room : count;
}

bool render_view_open(struct render_view *v, const struct ledger_header *l)
{
	if (memcmp(l->magic, LEDGER_MAGIC, sizeof(l->magic)) != 0 || l->version != LEDGER_VERSION ||
	    l->header_bytes != sizeof(*l) || l->total_bytes < sizeof(*l))
		return false;
	v->l = l;
	v->classes_count = clamp(l, l->classes_at, l->classes_count, sizeof(*v->classes), LEDGER_CLASSES_MAX);
	v->mappings_count = clamp(l, l->mappings_at, l->mappings_count, sizeof(*v->mappings), LEDGER_MAPPINGS_MAX);
	v->threads_count = clamp(l, l->threads_at, l->threads_count, sizeof(*v->threads), LEDGER_THREADS_MAX);
	v->strings_bytes = clamp(l, l->strings_at, l->strings_used, 1, LEDGER_STRINGS_BYTES);
	v->sites_count = clamp(l, l->sites_at, l->sites_count, sizeof(*v->sites), LEDGER_SITES_MAX + 1);
	v->classes = v->classes_count ? ledger_classes(l) : NULL;
	v->mappings = v->mappings_count ? ledger_mappings(l) : NULL;
	v->threads = v->threads_count ? ledger_threads(l) : NULL;
	v->strings = v->strings_bytes ? ledger_strings(l) : NULL;
	v->sites = v->sites_count ? ledger_sites(l) : NULL;
	v->frames_count = clamp(l, l->frames_at, l->frames_count, sizeof(*v->frames), LEDGER_FRAMES_MAX);
	v->stacks_count = clamp(l, l->stacks_at, l->stacks_count, sizeof(*v->stacks), LEDGER_STACKS_MAX);
	v->stack_ids_count = clamp(l, l->stack_ids_at, l->stack_ids_count, sizeof(*v->stack_ids), LEDGER_STACK_IDS_MAX);
	v->frames = v->frames_count ? ledger_frames(l) : NULL;
	v->stacks = v->stacks_count ? ledger_stacks(l) : NULL;
	v->stack_ids = v->stack_ids_count ? ledger_stack_ids(l) : NULL;
	return true;
}

size_t render_string_length(const struct render_view *v, uint32_t at)
{
	return at < v->strings_bytes ? strnlen(v->strings + at, v->strings_bytes - at) : 0;
}

void render_string(struct json_out *out, const struct render_view *v, struct ledger_string s)
{
	size_t length = render_string_length(v, s.at);
	json_out_string_n(out, length ? v->strings + s.at : "", length);
}
