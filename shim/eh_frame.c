/* eh_frame.c: a reader of .eh_frame. See eh_frame.h. tests/unit/unwind.c holds it against libunwind, frame by frame. */
#define _GNU_SOURCE
#include "eh_frame.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#pragma weak _dl_find_object

enum { EH_RA = 16, STATES_MAX = 4, INSTRUCTIONS_MAX = 4096, EXPRESSION_DEPTH = 8 };

/* --- reading what the file says ----------------------------------------------------------------------------------- */

struct bytes {
	const uint8_t *at, *end;
};

static uint64_t read_uint(struct bytes *b, unsigned bytes)
{
	uint64_t value = 0;
	if ((size_t)(b->end - b->at) < bytes) {
		b->at = b->end;
		return 0;
	}
	memcpy(&value, b->at, bytes);
	b->at += bytes;
	return value;
}

static uint64_t read_uleb(struct bytes *b)
{
	uint64_t value = 0;
	for (unsigned shift = 0; b->at < b->end; shift += 7) {
		uint8_t byte = *b->at++;
		value |= shift < 64 ? (uint64_t)(byte & 127) << shift : 0;
		if (!(byte & 128))
			break;
	}
	return value;
}

static int64_t read_sleb(struct bytes *b)
{
	uint64_t value = 0;
	unsigned shift = 0;
	uint8_t byte = 0;
	while (b->at < b->end) {
		byte = *b->at++;
		value |= shift < 64 ? (uint64_t)(byte & 127) << shift : 0;
		shift += 7;
		if (!(byte & 128))
			break;
	}
	if (shift < 64 && byte & 64)
		value |= -(UINT64_C(1) << shift);
	return (int64_t)value;
}

enum { ENCODED_PCREL = 0x10, ENCODED_DATAREL = 0x30, ENCODED_BYTES4 = 0x03, ENCODED_SIGNED4 = 0x0b };

/* A pointer; 0 when its encoding is none that linkers write for code. */
static uintptr_t read_encoded(struct bytes *b, uint8_t encoding)
{
	uintptr_t here = (uintptr_t)b->at;
	uint64_t value;
	switch (encoding & 0x0f) {
	case 0x00: /* an address */
	case 0x04:
	case 0x0c:
		value = read_uint(b, 8);
		break;
	case ENCODED_BYTES4:
		value = read_uint(b, 4);
		break;
	case ENCODED_SIGNED4:
		value = (uint64_t)(int64_t)(int32_t)read_uint(b, 4);
		break;
	default:
		b->at = b->end;
		return 0;
	}
	return (encoding & 0x70) == ENCODED_PCREL ? here + value : value;
}

struct description {
	struct bytes common, own; /* instructions */
	uint64_t code_align;
	int64_t data_align;
	uintptr_t start; /* of the code it is about */
	bool is_signal;
};

/* A record of .eh_frame: what follows its length. */
static struct bytes record(const uint8_t *at)
{
	uint32_t length;
	memcpy(&length, at, sizeof(length));
	if (length == 0 || length == UINT32_MAX) /* the end, or 64 bits, which nobody writes */
		return (struct bytes){at, at};
	return (struct bytes){at + sizeof(length), at + sizeof(length) + length};
}

static bool read_common(const uint8_t *at, struct description *d, uint8_t *encoding, bool *augmented)
{
	struct bytes b = record(at);
	read_uint(&b, 4); /* 0: a common one */
	uint8_t version = (uint8_t)read_uint(&b, 1);
	const char *letters = (const char *)b.at;
	b.at += strnlen(letters, (size_t)(b.end - b.at)) + 1;
	if (b.at >= b.end || (version != 1 && version != 3))
		return false;
	d->code_align = read_uleb(&b);
	d->data_align = read_sleb(&b);
	if ((version == 1 ? read_uint(&b, 1) : read_uleb(&b)) != EH_RA)
		return false;
	*encoding = 0;
	*augmented = *letters == 'z';
	if (*augmented) {
		uint64_t length = read_uleb(&b);
		struct bytes data = b;
		if (length > (uint64_t)(b.end - b.at))
			return false;
		b.at += length;
		for (letters++; *letters; letters++)
			if (*letters == 'R')
				*encoding = (uint8_t)read_uint(&data, 1);
			else if (*letters == 'L')
				read_uint(&data, 1);
			else if (*letters == 'P')
				read_encoded(&data, (uint8_t)read_uint(&data, 1));
			else if (*letters == 'S')
				d->is_signal = true;
	} else if (*letters) {
		return false;
	}
	d->common = b;
	return true;
}

static bool read_description(const uint8_t *at, uintptr_t pc, struct description *d)
{
	struct bytes b = record(at);
	uint8_t encoding;
	bool augmented;
	const uint8_t *here = b.at;
	uint32_t back = (uint32_t)read_uint(&b, 4);
	if (back == 0 || !read_common(here - back, d, &encoding, &augmented))
		return false;
	d->start = read_encoded(&b, encoding);
	uintptr_t length = read_encoded(&b, encoding & 0x0f);
	if (pc - d->start >= length)
		return false;
	if (augmented) {
		uint64_t skip = read_uleb(&b);
		if (skip > (uint64_t)(b.end - b.at))
			return false;
		b.at += skip;
	}
	d->own = b;
	return true;
}

/* The linker's sorted table: pairs of (start of code, its record), relative to the table's header. */
static const uint8_t *find_record(uintptr_t pc)
{
	struct dl_find_object found;
	if (!_dl_find_object || _dl_find_object((void *)pc, &found) != 0 || !found.dlfo_eh_frame)
		return NULL;
	const uint8_t *header = found.dlfo_eh_frame;
	struct bytes b = {header + 4, header + 4 + 16};
	if (header[0] != 1 || header[2] != ENCODED_BYTES4 || header[3] != (ENCODED_DATAREL | ENCODED_SIGNED4))
		return NULL;
	read_encoded(&b, header[1]);
	uint32_t count = (uint32_t)read_uint(&b, 4), low = 0;
	int64_t wanted = (int64_t)(pc - (uintptr_t)header);
	const uint8_t *table = b.at;
	int32_t pair[2] = {0, 0};
	for (uint32_t high = count; low < high;) { /* the first that begins behind pc */
		uint32_t middle = low + (high - low) / 2;
		memcpy(pair, table + (size_t)middle * sizeof(pair), sizeof(pair));
		if (pair[0] <= wanted)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return NULL;
	memcpy(pair, table + (size_t)(low - 1) * sizeof(pair), sizeof(pair));
	return header + pair[1];
}

/* --- what it means ------------------------------------------------------------------------------------------------ */

static void set_place(struct eh_rules *rules, uint64_t reg, struct eh_place place)
{
	if (reg == EH_BP)
		rules->bp = place;
	else if (reg == EH_RA)
		rules->ra = place;
}

static void restore_place(struct eh_rules *rules, const struct eh_rules *first, uint64_t reg)
{
	set_place(rules, reg, reg == EH_BP ? first->bp : first->ra);
}

static const uint8_t *skip_block(struct bytes *b)
{
	const uint8_t *block = b->at;
	uint64_t length = read_uleb(b);
	if (length > (uint64_t)(b->end - b->at))
		length = (uint64_t)(b->end - b->at);
	b->at += length;
	return block;
}

struct machine {
	struct eh_rules now, first, kept[STATES_MAX];
	unsigned depth;
	uintptr_t at;
};

/* The rare ones, which have no operand in their opcode; false: one that we do not know. */
static bool run_long(struct machine *m, struct bytes *b, uint8_t op, const struct description *d)
{
	struct eh_rules *now = &m->now;
	uint64_t reg;
	switch (op) {
	case 0x00: /* nop */
		return true;
	case 0x02: /* advance_loc1, 2, 4 */
	case 0x03:
	case 0x04:
		m->at += read_uint(b, 1u << (op - 2)) * d->code_align;
		return true;
	case 0x05: /* offset_extended */
	case 0x11: /* offset_extended_sf */
		reg = read_uleb(b);
		set_place(
			now, reg,
			(struct eh_place){EH_AT_CFA, (op == 0x05 ? (int64_t)read_uleb(b) : read_sleb(b)) * d->data_align, NULL});
		return true;
	case 0x06: /* restore_extended */
		restore_place(now, &m->first, read_uleb(b));
		return true;
	case 0x07: /* undefined */
		set_place(now, read_uleb(b), (struct eh_place){.how = EH_UNKNOWN});
		return true;
	case 0x08: /* same_value */
		set_place(now, read_uleb(b), (struct eh_place){.how = EH_SAME});
		return true;
	case 0x0a: /* remember_state */
		if (m->depth == STATES_MAX)
			return false;
		m->kept[m->depth++] = *now;
		return true;
	case 0x0b: /* restore_state */
		if (m->depth == 0)
			return false;
		*now = m->kept[--m->depth];
		return true;
	case 0x0c: /* def_cfa, def_cfa_sf */
	case 0x12:
		now->cfa_register = (int)read_uleb(b);
		now->cfa_offset = op == 0x0c ? (int64_t)read_uleb(b) : read_sleb(b) * d->data_align;
		return true;
	case 0x0d: /* def_cfa_register */
		now->cfa_register = (int)read_uleb(b);
		return true;
	case 0x0e: /* def_cfa_offset, def_cfa_offset_sf */
		now->cfa_offset = (int64_t)read_uleb(b);
		return true;
	case 0x13:
		now->cfa_offset = read_sleb(b) * d->data_align;
		return true;
	case 0x0f: /* def_cfa_expression */
		now->cfa_register = -1;
		now->cfa_block = skip_block(b);
		return true;
	case 0x10: /* expression */
		reg = read_uleb(b);
		set_place(now, reg, (struct eh_place){EH_EXPRESSION, 0, skip_block(b)});
		return true;
	case 0x2e: /* GNU_args_size */
		read_uleb(b);
		return true;
	default:
		return false;
	}
}

/* Runs up to the place `pc`. */
static bool run(struct machine *m, struct bytes b, uintptr_t pc, const struct description *d)
{
	for (int n = 0; b.at < b.end && n < INSTRUCTIONS_MAX; n++) {
		uint8_t op = *b.at++;
		unsigned low = op & 63;
		switch (op >> 6) {
		case 1: /* advance_loc */
			m->at += low * d->code_align;
			break;
		case 2: /* offset */
			set_place(&m->now, low, (struct eh_place){EH_AT_CFA, (int64_t)read_uleb(&b) * d->data_align, NULL});
			break;
		case 3: /* restore */
			restore_place(&m->now, &m->first, low);
			break;
		default:
			if (!run_long(m, &b, op, d))
				return false;
		}
		if (m->at > pc)
			break;
	}
	return true;
}

bool eh_frame_rules(uintptr_t pc, struct eh_rules *rules)
{
	struct machine m;
	struct description d = {.is_signal = false};
	const uint8_t *at = find_record(pc);
	if (!at || !read_description(at, pc, &d))
		return false;
	m.now = (struct eh_rules){.cfa_register = EH_SP, .ra = {.how = EH_UNKNOWN}, .is_signal = d.is_signal};
	m.depth = 0;
	m.at = d.start;
	if (!run(&m, d.common, UINTPTR_MAX, &d))
		return false;
	m.first = m.now;
	if (!run(&m, d.own, pc, &d))
		return false;
	*rules = m.now;
	return true;
}

bool eh_frame_evaluate(const uint8_t *block, const struct eh_registers *in,
                       bool (*load)(uintptr_t sp, uintptr_t slot, uintptr_t *value), uintptr_t *result)
{
	uintptr_t stack[EXPRESSION_DEPTH] = {*result}, value;
	unsigned depth = 1;
	struct bytes head = {block, block + 10}, b;
	uint64_t length = read_uleb(&head);
	for (b = (struct bytes){head.at, head.at + length}; b.at < b.end;) {
		uint8_t op = *b.at++;
		uintptr_t *one = &stack[depth - 1], *two = depth > 1 ? &stack[depth - 2] : NULL;
		if (op == 0x06) { /* deref */
			if (!load(in->sp, *one, one))
				return false;
			continue;
		}
		if (op == 0x23) { /* plus_uconst */
			*one += read_uleb(&b);
			continue;
		}
		if (op == 0x1a || op == 0x22 || op == 0x24 || op == 0x2a) { /* and, plus, shl, ge */
			if (!two)
				return false;
			*two = op == 0x1a   ? *two & *one
			       : op == 0x22 ? *two + *one
			       : op == 0x24 ? *two << (*one & 63)
			                    : *two >= *one;
			depth--;
			continue;
		}
		if (op >= 0x30 && op < 0x50) /* lit */
			value = op - 0x30u;
		else if (op == 0x70 + EH_BP)
			value = in->bp + (uintptr_t)read_sleb(&b);
		else if (op == 0x70 + EH_SP)
			value = in->sp + (uintptr_t)read_sleb(&b);
		else if (op == 0x70 + EH_RA)
			value = in->pc + (uintptr_t)read_sleb(&b);
		else
			return false;
		if (depth == EXPRESSION_DEPTH)
			return false;
		stack[depth++] = value;
	}
	*result = stack[depth - 1];
	return true;
}
