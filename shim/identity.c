/* identity.c: see identity.h. A table of chains, by hash, under one lock: this variant is for counting, not for speed. */
#define _GNU_SOURCE
#include "identity.h"

#ifdef SLUICE_IDENTITY

#include "context.h"
#include "mapping.h"
#include "pools/lock.h"
#include "pools/os.h"
#include "unwind.h"
#include "wrapper_names.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEPTH = CONTEXT_LEVELS_MAX + 1, SLOTS = 1 << 20 };

struct chain {
	uint64_t count;
	int64_t told;
	uintptr_t pcs[DEPTH];
};

static struct chain *table;
static struct lock lock;
static uint32_t used;

/* The callers of the chain that the site tells; -1: it is the site of other callers. */
static int64_t told_by(uintptr_t pc, uintptr_t frame, const struct unwound *seen)
{
	uintptr_t context = context_of(pc, frame), is = seen->pcs[0];
	if (context & SITE_RETIRED || pc != seen->pcs[0])
		return 0;
	for (uint32_t i = 1; i < seen->count && is != context; i++)
		is = context_extend(is, seen->pcs[i]);
	int64_t told = 0;
	for (uintptr_t c = seen->pcs[0]; c != context && told + 1 < seen->count;)
		c = context_extend(c, seen->pcs[++told]);
	return is == context ? told : -1;
}

void identity_note(uintptr_t pc, uintptr_t frame)
{
	static __thread char busy __attribute__((tls_model("initial-exec")));
	struct unwound seen;
	if (busy || !frame || !ledger())
		return;
	busy = 1;
	unwind(frame, DEPTH, &seen);
	struct chain c = {.told = told_by(pc, frame, &seen)};
	memcpy(c.pcs, seen.pcs, seen.count * sizeof(*c.pcs));
	uint64_t hash = (uint64_t)c.told;
	for (uint32_t i = 0; i < seen.count; i++)
		hash = (hash ^ c.pcs[i]) * UINT64_C(0x9E3779B97F4A7C15);
	lock_take(&lock);
	if (!table)
		table = os_map(SLOTS * sizeof(*table));
	for (uint32_t slot = (uint32_t)(hash >> 40); seen.count && table; slot++) {
		struct chain *at = &table[slot % SLOTS];
		if (!at->count && used < SLOTS / 2) {
			*at = c;
			used++;
		}
		if (!at->count || (at->told == c.told && memcmp(at->pcs, c.pcs, sizeof(c.pcs)) == 0)) {
			at->count++;
			break;
		}
	}
	lock_drop(&lock);
	busy = 0;
}

static char *put(char *to, uint64_t value, unsigned base)
{
	char digits[24];
	unsigned n = 0;
	do
		digits[n++] = "0123456789abcdef"[value % base];
	while (value /= base);
	while (n)
		*to++ = digits[--n];
	return to;
}

static void write_chain(int file, const struct chain *c)
{
	char line[256], *to = put(line, c->count, 10);
	*to++ = ' ';
	if (c->told < 0)
		*to++ = '-';
	to = put(to, (uint64_t)(c->told < 0 ? -c->told : c->told), 10);
	for (unsigned i = 0; i < DEPTH && c->pcs[i]; i++) {
		uint32_t mapping = mapping_of(c->pcs[i]);
		*to++ = ' ';
		to = put(to, c->pcs[i], 16);
		if (mapping != LEDGER_NONE && wrapper_names_hold(mapping, c->pcs[i] - ledger_mappings(ledger())[mapping].bias))
			*to++ = '*';
	}
	*to++ = '\n';
	if (write(file, line, (size_t)(to - line)) < 0)
		return;
}

void identity_write(void)
{
	const char *prefix = getenv("SLUICE_IDENTITY");
	char path[512];
	size_t length = prefix ? strlen(prefix) : 0;
	if (!length || length > sizeof(path) - 32 || !table)
		return;
	memcpy(path, prefix, length);
	path[length] = '.';
	*put(path + length + 1, (uint64_t)getpid(), 10) = 0;
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (file < 0)
		return;
	for (uint32_t i = 0; i < SLOTS; i++)
		if (table[i].count)
			write_chain(file, &table[i]);
	close(file);
}

#else
void identity_note(uintptr_t pc, uintptr_t frame)
{
	(void)pc, (void)frame;
}

void identity_write(void) {}
#endif
