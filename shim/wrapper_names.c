/* wrapper_names.c: see wrapper_names.h. */
#define _GNU_SOURCE
#include "wrapper_names.h"

#include "pools/apart.h"
#include "pools/meta.h"

#include <elf.h>
#include <link.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

static const char names[][40] = {
	/* C */ "strdup",
	"strndup",
	"__strdup",
	"__strndup",
	"wcsdup",
	"asprintf",
	"vasprintf",
	"__asprintf",
	"__asprintf_chk",
	"__vasprintf_chk",
	"getline",
	"getdelim",
	"__getdelim",
	"reallocarray",
	/* C++, where a file brings its own */ "_Znwm",
	"_Znam",
	"_ZnwmSt11align_val_t",
	"_ZnamSt11align_val_t",
	"_ZnwmRKSt9nothrow_t",
	"_ZnamRKSt9nothrow_t",
	/* GNU programs */ "xmalloc",
	"xcalloc",
	"xrealloc",
	"xzalloc",
	"xstrdup",
	"xstrndup",
	"xmemdup",
	"xnmalloc",
	"xnrealloc",
	"x2realloc",
	"x2nrealloc",
	"xcharalloc",
	"xreallocarray",
	"xpalloc",
	/* GLib */ "g_malloc",
	"g_malloc0",
	"g_malloc_n",
	"g_malloc0_n",
	"g_realloc",
	"g_realloc_n",
	"g_try_malloc",
	"g_try_malloc0",
	"g_try_realloc",
	"g_slice_alloc",
	"g_slice_alloc0",
	"g_memdup",
	"g_memdup2",
	"g_strdup",
	"g_strndup",
	"g_strdup_printf",
	"g_strdup_vprintf",
	"g_strconcat",
	/* redis */ "zmalloc",
	"zcalloc",
	"zrealloc",
	"zstrdup",
	"ztrymalloc",
	"ztrycalloc",
	"ztryrealloc",
	"zmalloc_usable",
	"zcalloc_usable",
	"zrealloc_usable",
	"ztrymalloc_usable",
	"zcalloc_num",
	/* Python */ "PyMem_Malloc",
	"PyMem_Calloc",
	"PyMem_Realloc",
	"PyMem_RawMalloc",
	"PyMem_RawCalloc",
	"PyMem_RawRealloc",
	"PyObject_Malloc",
	"PyObject_Calloc",
	"PyObject_Realloc",
	"_PyObject_New",
	"_PyObject_NewVar",
	"_PyObject_GC_New",
	"_PyObject_GC_NewVar",
	"_PyMem_Strdup",
	"_PyMem_RawStrdup",
	/* SQLite */ "sqlite3_malloc",
	"sqlite3_malloc64",
	"sqlite3_realloc",
	"sqlite3_realloc64",
	"sqlite3_mprintf",
	"sqlite3_vmprintf",
	"sqlite3Malloc",
	"sqlite3MallocZero",
	"sqlite3Realloc",
	"sqlite3DbMallocRaw",
	"sqlite3DbMallocRawNN",
	"sqlite3DbMallocZero",
	"sqlite3DbStrDup",
	"sqlite3DbStrNDup",
	"sqlite3DbRealloc",
	/* Lua */ "luaM_malloc_",
	"luaM_realloc_",
	"luaM_saferealloc_",
	"luaM_growaux_",
	"luaM_shrinkvector_",
	/* Perl */ "Perl_safesysmalloc",
	"Perl_safesyscalloc",
	"Perl_safesysrealloc",
	"Perl_savepv",
	"Perl_savepvn",
	/* libxml2 */ "xmlMemMalloc",
	"xmlMemRealloc",
	"xmlMallocLoc",
	"xmlMemStrdup",
	"xmlStrdup",
	"xmlStrndup",
	"xmlCharStrdup",
	"xmlCharStrndup",
	/* OpenSSL */ "CRYPTO_malloc",
	"CRYPTO_zalloc",
	"CRYPTO_realloc",
	"CRYPTO_strdup",
	"CRYPTO_strndup",
	"CRYPTO_memdup",
	"CRYPTO_clear_realloc",
	/* PostgreSQL, nginx, APR */ "palloc",
	"palloc0",
	"pstrdup",
	"repalloc",
	"MemoryContextAlloc",
	"MemoryContextAllocZero",
	"pg_malloc",
	"pg_malloc0",
	"pg_strdup",
	"ngx_alloc",
	"ngx_calloc",
	"apr_palloc",
};
enum { NAMES = sizeof(names) / sizeof(*names) };

struct span {
	uint64_t start, limit; /* addresses of the file */
};

struct spans {
	uint32_t count;
	struct span at[NAMES]; /* kept: no more than there are */
};

static APART struct spans *_Atomic found[LEDGER_MAPPINGS_MAX];
static APART uint32_t hashes[NAMES];

struct table {
	const uint32_t *buckets, *chain;
	const uintptr_t *bloom;
	uint32_t buckets_count, first, words, shift;
	const ElfW(Sym) * symbols;
	const char *strings;
};

static uint32_t hash_of(const char *name)
{
	uint32_t hash = 5381; /* D. J. Bernstein's, as the format says */
	for (; *name; name++)
		hash = hash * 33 + (uint8_t)*name;
	return hash;
}

static bool open_table(const struct module_places *places, struct table *t)
{
	if (!places->symbols || !places->gnu_hash || !places->strings)
		return false;
	const uint32_t *head = (const uint32_t *)places->gnu_hash;
	*t = (struct table){.buckets_count = head[0], .first = head[1], .words = head[2], .shift = head[3]};
	t->bloom = (const uintptr_t *)(head + 4);
	t->buckets = (const uint32_t *)(t->bloom + t->words);
	t->chain = t->buckets + t->buckets_count;
	t->symbols = (const void *)places->symbols;
	t->strings = (const char *)places->strings;
	return t->buckets_count && t->words;
}

static const ElfW(Sym) * find(const struct table *t, const char *name, uint32_t hash)
{
	enum { BITS = 8 * sizeof(uintptr_t) };
	uintptr_t word = t->bloom[hash / BITS % t->words];
	if (!(word >> hash % BITS & word >> (hash >> t->shift) % BITS & 1))
		return NULL;
	uint32_t i = t->buckets[hash % t->buckets_count];
	if (i < t->first)
		return NULL;
	for (;; i++) {
		uint32_t is = t->chain[i - t->first];
		if ((is | 1) == (hash | 1) && strcmp(t->strings + t->symbols[i].st_name, name) == 0)
			return &t->symbols[i];
		if (is & 1)
			return NULL;
	}
}

void wrapper_names_read(uint32_t mapping, const struct module *module)
{
	struct spans spans = {.count = 0};
	struct table t;
	if (mapping >= LEDGER_MAPPINGS_MAX || found[mapping] || !open_table(&module->places, &t))
		return;
	for (unsigned i = 0; i < NAMES; i++) {
		if (!hashes[i])
			hashes[i] = hash_of(names[i]);
		const ElfW(Sym) *symbol = find(&t, names[i], hashes[i]);
		if (symbol && symbol->st_shndx != SHN_UNDEF && symbol->st_size && (symbol->st_info & 15) == STT_FUNC)
			spans.at[spans.count++] = (struct span){symbol->st_value, symbol->st_value + symbol->st_size};
	}
	size_t bytes = offsetof(struct spans, at) + spans.count * sizeof(*spans.at);
	struct spans *kept = spans.count ? meta_take(bytes) : NULL;
	if (!kept)
		return;
	memcpy(kept, &spans, bytes);
	atomic_store_explicit(&found[mapping], kept, memory_order_release);
}

bool wrapper_names_hold(uint32_t mapping, uint64_t offset)
{
	const struct spans *spans =
		mapping < LEDGER_MAPPINGS_MAX ? atomic_load_explicit(&found[mapping], memory_order_acquire) : NULL;
	for (uint32_t i = 0; spans && i < spans->count; i++)
		if (offset > spans->at[i].start && offset <= spans->at[i].limit) /* a return address is behind its call */
			return true;
	return false;
}
