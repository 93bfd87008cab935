/* sample_table.c: see sample_table.h.
 *
 * One record for each site, which has no stack, and one for each stack of a site. The index is as frame.c's, but all is under
 * the lock; only the report reads without: a record is complete before the count says so, and its sums may be torn by no
 * more than the sample that is under way.
 */
#include "sample_table.h"

#include "frame.h"
#include "pools/apart.h"
#include "pools/lock.h"
#include "pools/meta.h"
#include "sample.h"
#include "site.h"

#include <stdatomic.h>

enum { RECORDS_MAX = 1 << 15, CHUNK = 204 /* 8 KiB */, SLOTS_FIRST = 1 << 10, SLOTS = 2 * RECORDS_MAX };

struct record {
	uint32_t hash, stack; /* LEDGER_NONE: the site's own */
	uint64_t count;       /* draws, or samples */
	uint64_t weight;      /* bytes they stand for */
	uint64_t squares;     /* of a stack: of the weights, in units; of a site: the variance */
	uint16_t site;
	bool by_realloc;
};

struct frames {
	uint32_t ids[UNWIND_FRAMES_MAX], count, hash;
	bool truncated, by_realloc;
};

static APART struct record *chunks[RECORDS_MAX / CHUNK + 1];
static APART uint16_t index_table[SLOTS]; /* record + 1. As much of it is used as is needed */
static uint32_t index_slots = SLOTS_FIRST, stacks_count, ids_count;
static _Atomic uint32_t records_count;
static _Atomic uint64_t dropped;
static struct lock lock;

void sample_table_drop(void)
{
	atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
}

static struct record *record_at(uint32_t number)
{
	return &chunks[number / CHUNK][number % CHUNK];
}

static uint64_t sum_to_most(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

static uint64_t product_to_most(uint64_t a, uint64_t b)
{
	uint64_t product;
	return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/* --- under the lock ----------------------------------------------------------------------------------------------- */

static bool same_frames(uint32_t stack, const struct frames *as)
{
	uint32_t count;
	const uint32_t *frames = stack_frames(stack, &count);
	if (count != as->count)
		return false;
	for (uint32_t i = 0; i < count; i++)
		if (frames[i] != as->ids[i])
			return false;
	return true;
}

/* Of a stack, or of the site itself (NULL). */
static bool is_record(const struct record *r, uint16_t site, const struct frames *of)
{
	if (r->site != site || (r->stack == LEDGER_NONE) != !of)
		return false;
	return !of || (r->hash == of->hash && r->by_realloc == of->by_realloc && same_frames(r->stack, of));
}

static uint32_t hash_of(uint16_t site, const struct frames *of)
{
	return of ? of->hash : site * UINT32_C(2654435761);
}

static uint16_t *probe(uint16_t site, const struct frames *of)
{
	uint32_t mask = index_slots - 1, slot = hash_of(site, of) & mask;
	while (index_table[slot] && !is_record(record_at(index_table[slot] - 1), site, of))
		slot = (slot + 1) & mask;
	return &index_table[slot];
}

static void index_grow(void)
{
	for (uint32_t i = 0; i < index_slots; i++)
		index_table[i] = 0;
	index_slots *= 2;
	for (uint32_t i = 0; i < records_count; i++) {
		uint32_t slot = record_at(i)->hash & (index_slots - 1);
		while (index_table[slot])
			slot = (slot + 1) & (index_slots - 1);
		index_table[slot] = (uint16_t)(i + 1);
	}
}

/* The stack's number, the site's own where it is that; LEDGER_NONE: no room. */
static uint32_t stack_for(uint16_t site, const struct frames *of)
{
	uint32_t own = ledger_sites(ledger())[site].stack;
	if (own != LEDGER_NONE && same_frames(own, of))
		return own;
	if (stacks_count >= LEDGER_SAMPLED_STACKS_MAX || ids_count + of->count > LEDGER_SAMPLED_IDS_MAX ||
	    !sites_try_lock())
		return LEDGER_NONE;
	uint32_t stack = stack_add_locked(of->ids, of->count, of->truncated);
	sites_unlock();
	if (stack != LEDGER_NONE) {
		stacks_count++;
		ids_count += of->count;
	}
	return stack;
}

static struct record *add(uint16_t site, const struct frames *of)
{
	uint32_t number = records_count;
	struct record **chunk = &chunks[number / CHUNK];
	if (number == RECORDS_MAX || (!*chunk && !(*chunk = meta_take(CHUNK * sizeof(**chunk)))))
		return NULL;
	uint32_t stack = of ? stack_for(site, of) : LEDGER_NONE;
	if (of && stack == LEDGER_NONE)
		return NULL;
	if (2 * number >= index_slots && index_slots < SLOTS)
		index_grow();
	*record_at(number) =
		(struct record){.hash = hash_of(site, of), .stack = stack, .site = site, .by_realloc = of && of->by_realloc};
	*probe(site, of) = (uint16_t)(number + 1);
	atomic_store_explicit(&records_count, number + 1, memory_order_release);
	return record_at(number);
}

static bool tell(uint16_t site, const struct frames *of, uint64_t weight, uint64_t squares)
{
	if (!lock_try(&lock)) {
		sample_table_drop();
		return false;
	}
	uint16_t number = *probe(site, of);
	struct record *r = number ? record_at(number - 1) : add(site, of);
	if (r) {
		r->count++;
		r->weight = sum_to_most(r->weight, weight);
		r->squares = sum_to_most(r->squares, squares);
	} else {
		sample_table_drop();
	}
	lock_drop(&lock);
	return r;
}

/* --- for sample.c ------------------------------------------------------------------------------------------------- */

/* Poisson sampling: the variance of a sum of weights w = bytes / p is estimated by the sum of w^2 (1 - p). */
bool sample_table_drawn(uint16_t site, uint64_t bytes, uint64_t weight)
{
	return ledger() && tell(site, NULL, weight, product_to_most(weight, weight - bytes));
}

/* A lock that is held ends a stack early; better none than half of one. */
static bool frames_of(const struct unwound *seen, struct frames *to)
{
	uint64_t hash = 0;
	to->count = seen->count;
	to->truncated = !seen->whole;
	for (uint32_t i = 0; i < seen->count; i++) {
		to->ids[i] = frame_try(seen->pcs[i]);
		if (to->ids[i] == LEDGER_NONE)
			return false;
		hash = (hash ^ to->ids[i]) * UINT64_C(0x9E3779B97F4A7C15);
		hash ^= hash >> 29;
	}
	to->hash = (uint32_t)(hash >> 16);
	return true;
}

/* The stack begins as every allocation of the site does. */
static bool is_of(uint16_t site, const struct frames *of)
{
	const struct ledger_site *is = &ledger_sites(ledger())[site];
	uint32_t count;
	if (is->stack == LEDGER_NONE || is->key_frames > of->count)
		return false;
	const uint32_t *frames = stack_frames(is->stack, &count);
	for (uint32_t i = 0; i < is->key_frames && i < count; i++)
		if (frames[i] != of->ids[i])
			return false;
	return true;
}

void sample_table_add(uint16_t site, uint64_t weight, const struct unwound *seen, bool by_realloc)
{
	struct frames frames = {.by_realloc = by_realloc};
	uint64_t units = weight / LEDGER_WEIGHT_UNIT;
	if (!seen->count)
		return;
	if (!frames_of(seen, &frames))
		sample_table_drop();
	else if (by_realloc || is_of(site, &frames))
		tell(site, &frames, weight, product_to_most(units, units));
}

void sample_table_fork_child(void)
{
	lock_reset(&lock);
	if (!records_count)
		return;
	for (uint32_t i = 0; i < index_slots; i++)
		index_table[i] = 0;
	records_count = 0;
	stacks_count = ids_count = 0;
	dropped = 0;
}

/* --- for the report ----------------------------------------------------------------------------------------------- */

uint32_t sample_table_records(void)
{
	return atomic_load_explicit(&records_count, memory_order_acquire);
}

static struct ledger_sampled *sampled_of(struct ledger_facts *facts, uint16_t site)
{
	uint64_t number = site < facts->sites_count ? facts->sites[site].sampled : 0;
	return number ? &ledger_sampled(facts)[number - 1] : NULL;
}

/* The site's, new if need be; NULL: it has come up since the sites were counted. */
static struct ledger_sampled *sampled_for(struct ledger_facts *facts, uint16_t site)
{
	if (site >= facts->sites_count)
		return NULL;
	struct ledger_sampled *s = sampled_of(facts, site);
	if (s)
		return s;
	s = &ledger_sampled(facts)[facts->sampled_count];
	facts->sites[site].sampled = ++facts->sampled_count;
	s->spread = product_to_most(sample_period, sample_period); /* one draw more, for what might have been drawn */
	return s;
}

static void add_draws(struct ledger_facts *facts, uint16_t site, uint64_t draws, uint64_t weight, uint64_t spread)
{
	struct ledger_sampled *s = sampled_for(facts, site);
	if (!s)
		return;
	s->draws += draws;
	s->space = sum_to_most(s->space, weight);
	s->spread = sum_to_most(s->spread, spread);
}

static void add_unseen(void *context, uint16_t site, uint64_t bytes, uint64_t weight)
{
	add_draws(context, site, 1, weight, product_to_most(weight, weight - bytes));
}

static void fill_stack(struct ledger_facts *facts, struct ledger_sampled *site, const struct record *r)
{
	ledger_sampled_stacks(facts)[site->first + site->count++] = (struct ledger_sampled_stack){
		.stack = r->stack, .samples = r->count, .weight = r->weight, .by_realloc = r->by_realloc};
	site->samples += r->count;
	site->weight = sum_to_most(site->weight, r->weight);
	site->squares = sum_to_most(site->squares, r->squares);
}

/* Sums over the sites; what is off, over those whose bytes are enough that chance should have evened out. */
static void fill_sums(struct ledger_facts *facts, const struct ledger_header *l)
{
	static const uint64_t z = 196; /* of the normal distribution at 95 %, in hundredths */
	struct ledger_sampling *all = &facts->sampling;
	for (uint32_t i = 0; i < facts->sites_count; i++) {
		uint64_t exact = ledger_sites(l)[i].tally.alloc_space;
		if (!exact) /* as far as it was counted: a running thread has only now come there */
			facts->sites[i].sampled = 0;
		const struct ledger_sampled *s = sampled_of(facts, (uint16_t)i);
		uint64_t estimated = s ? s->space : 0;
		all->draws += s ? s->draws : 0;
		all->samples += s ? s->samples : 0;
		if (exact / LEDGER_ERROR_DRAWS < all->period)
			continue;
		uint64_t off = exact > estimated ? exact - estimated : estimated - exact;
		all->sites++;
		all->exact_space += exact;
		all->estimated_space += estimated;
		all->off_space += off;
		all->held += s && off <= ledger_sampled_error(s) * z / 100;
	}
}

static void fill_stacks(struct ledger_facts *facts, uint32_t records)
{
	for (uint32_t i = 0; i < records; i++) {
		struct ledger_sampled *of = record_at(i)->stack == LEDGER_NONE ? NULL : sampled_for(facts, record_at(i)->site);
		if (of)
			of->count++;
	}
	for (uint64_t i = 0; i < facts->sampled_count; i++) {
		struct ledger_sampled *of = &ledger_sampled(facts)[i];
		of->first = facts->sampled_stacks_count;
		facts->sampled_stacks_count += of->count;
		of->count = 0;
	}
	for (uint32_t i = 0; i < records; i++) {
		struct ledger_sampled *of = record_at(i)->stack == LEDGER_NONE ? NULL : sampled_of(facts, record_at(i)->site);
		if (of)
			fill_stack(facts, of, record_at(i));
	}
}

void sample_table_fill(struct ledger_facts *facts, const struct ledger_header *l, uint32_t records)
{
	facts->sampling.period = sample_period;
	facts->sampling.dropped = atomic_load_explicit(&dropped, memory_order_relaxed);
	if (!sample_period)
		return;
	fill_stacks(facts, records);
	/* Running threads tell a draw before its stacks; so they are read in the other order, and stand for no less. */
	atomic_thread_fence(memory_order_acquire);
	for (uint32_t i = 0; i < records; i++)
		if (record_at(i)->stack == LEDGER_NONE)
			add_draws(facts, record_at(i)->site, record_at(i)->count, record_at(i)->weight, record_at(i)->squares);
	sample_unseen(add_unseen, facts);
	fill_sums(facts, l);
}
