/* build: -Wl,--no-as-needed -lm */
/* lib_oracle.c: an independent count of who allocates what, to hold the report against. It is preloaded INSTEAD of
 * sluice, shares no code and no idea with it: every call takes one lock, looks its return address up in one hash table,
 * its block in another (both in memory of their own), and goes on to glibc by the __libc_ names, so that nothing needs
 * to be found first. Slow and simple.
 *
 * Semantics are those of analytics/README.md: realloc of a block is one allocation and one free on the block's birth site,
 * and one realloc there; realloc(p, 0) is a free; calls that fail count nothing; the requested size counts (of pvalloc
 * whole pages).
 *
 * What programs could notice must be as under sluice, or they would behave differently. So malloc_usable_size answers
 * from a list of sizes made under sluice (environment ORACLE_SIZES, numbers in ascending order; sqlite3 asks), and libm is
 * linked as libsluice.so links it. At exit, in its destructor, it writes JSON to ORACLE_OUT: a record for each site with
 * module, offset and the counts. Children of fork write nothing.
 *
 * When a table is full, or the list of sizes is wrong, it ends the program with status 99 rather than count wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

enum { SITES_MAX = 1 << 16, BLOCKS_MAX = 1 << 22, SIZES_MAX = 4096 };

struct site {
	uintptr_t pc;
	uint64_t alloc_objects, alloc_space, free_objects, realloc_objects;
};

struct block {
	uintptr_t address; /* 0: never used; 1: left */
	uint32_t site;
	size_t requested;
};

static struct site *sites;
static struct block *blocks;
static size_t blocks_used;
static size_t sizes[SIZES_MAX], sizes_count;
static atomic_flag lock = ATOMIC_FLAG_INIT;
static pid_t counted_pid;

__attribute__((noreturn)) static void give_up(const char *why)
{
	if (write(2, why, strlen(why)) < 0) {
		_exit(98);
	}
	_exit(99);
}

static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		give_up("oracle: no memory\n");
	}
	return p;
}

/* A page in the way of the program break makes glibc take all its memory by mmap, at high addresses as sluice does.
 * Otherwise the heap of a program that is not position-independent lies below 2^30, and python3's id() of an object fits
 * an int of 28 bytes where under sluice it needs one of 32: found as a difference of 4 bytes a block.
 */
static void stop_break(void)
{
	uintptr_t top = ((uintptr_t)sbrk(0) + 4095) / 4096 * 4096;
	if (mmap((void *)top, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED) {
		give_up("oracle: cannot stop the break\n");
	}
}

/* Reads the list of usable sizes, if there is one: text, one number a line. */
static void read_sizes(void)
{
	static char text[64 * 1024];
	const char *path = getenv("ORACLE_SIZES");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0) {
		return;
	}
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	for (char *at = text, *end; n > 0 && *at && sizes_count < SIZES_MAX; at = end + 1) {
		sizes[sizes_count++] = strtoull(at, &end, 10);
		if (*end != '\n') {
			give_up("oracle: ORACLE_SIZES is not a list of numbers\n");
		}
	}
}

static void take_lock(void)
{
	while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire)) {
		__builtin_ia32_pause();
	}
	if (!sites) {
		sites = map(SITES_MAX * sizeof(*sites));
		blocks = map(BLOCKS_MAX * sizeof(*blocks));
		counted_pid = getpid();
		read_sizes();
		stop_break();
	}
}

static void drop_lock(void)
{
	atomic_flag_clear_explicit(&lock, memory_order_release);
}

static uint32_t site_of(uintptr_t pc)
{
	uint32_t at = (uint32_t)((pc * UINT64_C(0x9e3779b97f4a7c15)) >> 48);
	for (uint32_t tries = 0; tries < SITES_MAX; tries++, at = (at + 1) % SITES_MAX) {
		if (sites[at].pc == pc || !sites[at].pc) {
			sites[at].pc = pc;
			return at;
		}
	}
	give_up("oracle: too many sites\n");
}

/* The slot of the block, or with `make` a slot for it; NULL when there is none. */
static struct block *block_at(uintptr_t address, bool make)
{
	struct block *left = NULL;
	uint32_t at = (uint32_t)(((address >> 4) * UINT64_C(0x9e3779b97f4a7c15)) >> 42);
	for (uint32_t tries = 0; tries < BLOCKS_MAX; tries++, at = (at + 1) % BLOCKS_MAX) {
		struct block *b = &blocks[at];
		if (b->address == address) {
			return b;
		}
		if (b->address == 1 && !left) {
			left = b;
		}
		if (b->address == 0) {
			if (make && !left && ++blocks_used > BLOCKS_MAX / 4 * 3) {
				give_up("oracle: too many blocks\n");
			}
			return make ? left ? left : b : NULL;
		}
	}
	give_up("oracle: too many blocks\n");
}

static void count_alloc(void *p, size_t n, uint32_t site)
{
	struct block *b = block_at((uintptr_t)p, true);
	*b = (struct block){(uintptr_t)p, site, n};
	sites[site].alloc_objects++;
	sites[site].alloc_space += n;
}

/* A block that we never handed out (of the loader's first minutes) counts nothing. */
static bool count_free(void *p, struct block *was)
{
	struct block *b = block_at((uintptr_t)p, false);
	if (!b) {
		return false;
	}
	*was = *b;
	b->address = 1;
	sites[was->site].free_objects++;
	return true;
}

/* What the allocator we stand for would have given: at least that much is asked of glibc. */
static size_t usable(size_t n)
{
	size_t low = 0, high = sizes_count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (sizes[middle] < n) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low < sizes_count ? sizes[low] : n;
}

static void *counted(void *p, size_t n, void *pc)
{
	if (p) {
		int saved = errno;
		take_lock();
		count_alloc(p, n, site_of((uintptr_t)pc));
		drop_lock();
		errno = saved;
	}
	return p;
}

static void *allocate(size_t n, void *pc)
{
	take_lock(); /* the list must be there before the first size is taken from it */
	drop_lock();
	return counted(__libc_malloc(usable(n)), n, pc);
}

static void *allocate_aligned(size_t alignment, size_t n, void *pc)
{
	take_lock();
	drop_lock();
	return counted(__libc_memalign(alignment, usable(n)), n, pc);
}

/* Counted before glibc may give the address to another thread. */
static void release(void *p)
{
	struct block was;
	if (p) {
		int saved = errno;
		take_lock();
		count_free(p, &was);
		drop_lock();
		__libc_free(p);
		errno = saved;
	}
}

#define HERE __builtin_return_address(0)
#define PUBLIC __attribute__((visibility("default")))

PUBLIC void *malloc(size_t n)
{
	return allocate(n, HERE);
}

PUBLIC void *calloc(size_t n, size_t m)
{
	size_t bytes;
	if (__builtin_mul_overflow(n, m, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	void *p = allocate(bytes, HERE);
	return p ? memset(p, 0, bytes) : NULL;
}

static void *resize(void *p, size_t n, void *pc)
{
	struct block was;
	if (!p) {
		return allocate(n, pc);
	}
	if (n == 0) {
		release(p);
		return NULL;
	}
	take_lock(); /* held over the call: the old address may be another thread's the moment it is free */
	bool known = count_free(p, &was);
	void *q = __libc_realloc(p, usable(n));
	if (known && q) {
		count_alloc(q, n, was.site);
		sites[was.site].realloc_objects++;
	} else if (known) {
		sites[was.site].free_objects--;
		*block_at((uintptr_t)p, true) = was;
	}
	drop_lock();
	return q;
}

PUBLIC void *realloc(void *p, size_t n)
{
	return resize(p, n, HERE);
}

PUBLIC void *reallocarray(void *p, size_t n, size_t m)
{
	size_t bytes;
	if (__builtin_mul_overflow(n, m, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return resize(p, bytes, HERE);
}

PUBLIC void free(void *p)
{
	release(p);
}

PUBLIC void *memalign(size_t alignment, size_t n)
{
	return allocate_aligned(alignment, n, HERE);
}

PUBLIC void *aligned_alloc(size_t alignment, size_t n)
{
	return allocate_aligned(alignment, n, HERE);
}

PUBLIC void *valloc(size_t n)
{
	return allocate_aligned(4096, n, HERE);
}

PUBLIC void *pvalloc(size_t n)
{
	return allocate_aligned(4096, n ? (n + 4095) / 4096 * 4096 : 4096, HERE);
}

PUBLIC int posix_memalign(void **out, size_t alignment, size_t n)
{
	if (alignment < sizeof(void *) || (alignment & (alignment - 1))) {
		return EINVAL;
	}
	void *p = allocate_aligned(alignment, n, HERE);
	if (!p) {
		return ENOMEM;
	}
	*out = p;
	return 0;
}

PUBLIC size_t malloc_usable_size(void *p)
{
	size_t n = 0;
	take_lock();
	struct block *b = p ? block_at((uintptr_t)p, false) : NULL;
	n = b ? usable(b->requested) : 0;
	drop_lock();
	return n;
}

/* ---- operator new and delete, by their mangled names; none of the programs it is for runs out of memory ---- */

#define NEW(name, parameters, call)                                                                                    \
	PUBLIC void *name parameters;                                                                                      \
	PUBLIC void *name parameters                                                                                       \
	{                                                                                                                  \
		void *p = call;                                                                                                \
		if (!p) {                                                                                                      \
			give_up("oracle: operator new fails\n");                                                                   \
		}                                                                                                              \
		return p;                                                                                                      \
	}
#define DELETE(name, parameters)                                                                                       \
	PUBLIC void name parameters;                                                                                       \
	PUBLIC void name parameters                                                                                        \
	{                                                                                                                  \
		release(p);                                                                                                    \
	}

NEW(_Znwm, (size_t n), allocate(n, HERE))
NEW(_Znam, (size_t n), allocate(n, HERE))
NEW(_ZnwmRKSt9nothrow_t, (size_t n, const void *t __attribute__((unused))), allocate(n, HERE))
NEW(_ZnamRKSt9nothrow_t, (size_t n, const void *t __attribute__((unused))), allocate(n, HERE))
NEW(_ZnwmSt11align_val_t, (size_t n, size_t a), allocate_aligned(a, n, HERE))
NEW(_ZnamSt11align_val_t, (size_t n, size_t a), allocate_aligned(a, n, HERE))
NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, (size_t n, size_t a, const void *t __attribute__((unused))),
    allocate_aligned(a, n, HERE))
NEW(_ZnamSt11align_val_tRKSt9nothrow_t, (size_t n, size_t a, const void *t __attribute__((unused))),
    allocate_aligned(a, n, HERE))
DELETE(_ZdlPv, (void *p))
DELETE(_ZdaPv, (void *p))
DELETE(_ZdlPvm, (void *p, size_t n __attribute__((unused))))
DELETE(_ZdaPvm, (void *p, size_t n __attribute__((unused))))
DELETE(_ZdlPvRKSt9nothrow_t, (void *p, const void *t __attribute__((unused))))
DELETE(_ZdaPvRKSt9nothrow_t, (void *p, const void *t __attribute__((unused))))
DELETE(_ZdlPvSt11align_val_t, (void *p, size_t a __attribute__((unused))))
DELETE(_ZdaPvSt11align_val_t, (void *p, size_t a __attribute__((unused))))
DELETE(_ZdlPvmSt11align_val_t, (void *p, size_t n __attribute__((unused)), size_t a __attribute__((unused))))
DELETE(_ZdaPvmSt11align_val_t, (void *p, size_t n __attribute__((unused)), size_t a __attribute__((unused))))
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t,
       (void *p, size_t a __attribute__((unused)), const void *t __attribute__((unused))))
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t,
       (void *p, size_t a __attribute__((unused)), const void *t __attribute__((unused))))

/* ---- the end ---- */

struct place {
	uintptr_t pc, bias;
	const char *path;
};

static int find_place(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct place *place = arg;
	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + h->p_vaddr;
		if (h->p_type == PT_LOAD && place->pc >= start && place->pc < start + h->p_memsz) {
			place->bias = info->dlpi_addr;
			place->path = info->dlpi_name[0] ? info->dlpi_name : "/proc/self/exe";
			return 1;
		}
	}
	return 0;
}

static void write_site(int fd, const struct site *s, const char *separator)
{
	static char line[8192], path[4096];
	struct place place = {.pc = s->pc, .path = ""};
	dl_iterate_phdr(find_place, &place);
	if (!realpath(place.path, path)) {
		snprintf(path, sizeof(path), "%.4000s", place.path);
	}
	int n = snprintf(line, sizeof(line),
	                 "%s{\"module\":\"%s\",\"offset\":\"0x%zx\",\"alloc_objects\":%llu,\"alloc_space\":%llu,"
	                 "\"free_objects\":%llu,\"inuse_objects\":%lld,\"realloc_objects\":%llu}\n",
	                 separator, path, (size_t)(s->pc - place.bias), (unsigned long long)s->alloc_objects,
	                 (unsigned long long)s->alloc_space, (unsigned long long)s->free_objects,
	                 (long long)(s->alloc_objects - s->free_objects), (unsigned long long)s->realloc_objects);
	if (write(fd, line, (size_t)n) != n) {
		give_up("oracle: cannot write\n");
	}
}

__attribute__((destructor)) static void write_all(void)
{
	const char *path = getenv("ORACLE_OUT"), *separator = "[";
	if (!sites || !path || getpid() != counted_pid) {
		return;
	}
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0) {
		give_up("oracle: cannot write to ORACLE_OUT\n");
	}
	take_lock();
	static struct site last[SITES_MAX]; /* realpath and friends may allocate: the books are closed first */
	memcpy(last, sites, sizeof(last));
	drop_lock();
	for (uint32_t i = 0; i < SITES_MAX; i++) {
		if (last[i].alloc_objects || last[i].free_objects) {
			write_site(fd, &last[i], separator);
			separator = ",";
		}
	}
	if (write(fd, separator[0] == '[' ? "[]\n" : "]\n", separator[0] == '[' ? 3 : 2) < 0) {
		give_up("oracle: cannot write\n");
	}
	close(fd);
}
