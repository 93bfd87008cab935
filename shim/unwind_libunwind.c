/* unwind_libunwind.c: unwind.h by libunwind, for machines that unwind.c does not know, and for whoever wants to compare
 * (make V=libunwind).
 *
 * libunwind's own way to the tables is dl_iterate_phdr, which waits for whoever is inside dlopen and hangs in a fork's child if
 * that was another thread; 1.6 lets nobody replace it. So it is used as a debugger uses it, through
 * accessors (libunwind(3), "unw_create_addr_space"): tables come from _dl_find_object, which waits for nobody, and no
 * stack is read but what stack.h allows. What remains is kept away by guards:
 *
 *   its locks     are held with all signals blocked, so no handler meets them; they are inherited by a fork's child when another
 *                 thread is inside: such a child does not unwind (count is 0), it would hang
 *   re-entry      a handler that interrupted an unwind on this thread gets none
 *   its stack     some KiB: none where 32 KiB below are not known to be there
 *   seccomp       it blocks signals by system calls, and maps memory: none once the program is confined
 *   vfork         a child on its parent's memory is taken for a fork's: at worst nobody unwinds any more
 *
 * An unwind that is left for good, by a longjmp out of a handler, leaves its thread without further ones.
 *
 * Caching is global: the other policy that this version has is none, and then each step reads its table anew.
 */
#define _GNU_SOURCE
#include "unwind.h"

#include "confined.h"
#include "pools/apart.h"
#include "pools/os.h"
#include "stack.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libunwind.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#pragma weak _dl_find_object
extern void *__libc_stack_end __attribute__((weak));

/* The library's reader of a sorted table. Debuggers call it, but no header declares it. */
#define search_table UNW_OBJ(dwarf_search_unwind_table)
extern int search_table(unw_addr_space_t in, unw_word_t ip, unw_dyn_info_t *table, unw_proc_info_t *found,
                        int need_info, void *context);

#if defined(__x86_64__)
enum { REG_FRAME = UNW_X86_64_RBP, REG_CODE = UNW_X86_64_RIP };
#elif defined(__aarch64__)
enum { REG_FRAME = UNW_AARCH64_X29, REG_CODE = UNW_AARCH64_PC };
#else
#error "unwind_libunwind.c: which are this machine's frame pointer and program counter?"
#endif

enum {
	OWN_FRAMES_MAX = 16,
	CACHED_FRAMES_LOG2 = 10,
	PAGE_BYTES = 4096,       /* the smallest there is */
	ROOM_BYTES = 32 << 10,   /* measured: it takes 6 KiB on x86-64 */
	SPACE_BYTES = 256 << 10, /* 26 KiB on x86-64; the more registers the more */
	MAIN_BYTES = 64 << 20    /* as in stack.c */
};

struct walk {
	uintptr_t first_pc, first_sp, first_fp; /* where it begins */
	uintptr_t pc, sp;                       /* where it is */
	uintptr_t slot, value;                  /* the last word that was read of the stack */
	unsigned reads;                         /* of those, in this step, and of the frame pointer */
	bool lost;                              /* no table says how to go on */
	struct dl_find_object file;             /* the last that was read */
	unw_cursor_t cursor;
};

static __thread bool inside __attribute__((tls_model("initial-exec"))); /* this thread is in the library */

/* --- what the library asks of us ---------------------------------------------------------------------------------- */

static bool is_in_file(struct walk *w, uintptr_t at)
{
	uintptr_t start = (uintptr_t)w->file.dlfo_map_start, end = (uintptr_t)w->file.dlfo_map_end;
	if (at - start < end - start)
		return true;
	return _dl_find_object && _dl_find_object((void *)at, &w->file) == 0;
}

static int access_mem(unw_addr_space_t in, unw_word_t at, unw_word_t *value, int write, void *context)
{
	struct walk *w = context;
	(void)in;
	if (write || w->lost) /* without a table it would guess */
		return -UNW_EINVAL;
	if (stack_holds(at) || stack_may_read(w->sp, at)) {
		memcpy(value, (const void *)at, sizeof(*value));
	} else if (is_in_file(w, at)) {
		memcpy(value, (const void *)at, sizeof(*value));
		return 0;
	} else if (!os_peek(value, (const void *)at, sizeof(*value))) {
		return -UNW_EINVAL;
	}
	w->reads++;
	w->slot = at;
	w->value = *value;
	return 0;
}

static int access_reg(unw_addr_space_t in, unw_regnum_t reg, unw_word_t *value, int write, void *context)
{
	struct walk *w = context;
	(void)in;
	if (write)
		return -UNW_EREADONLYREG;
	if (reg == (unw_regnum_t)REG_CODE) {
		*value = w->first_pc;
	} else if (reg == UNW_REG_SP) {
		*value = w->first_sp;
	} else if (reg == (unw_regnum_t)REG_FRAME) {
		w->reads++;
		*value = w->first_fp;
	} else {
		return -UNW_EBADREG;
	}
	return 0;
}

/* The linker's table: a header of version, three encodings, the place of .eh_frame, the number of entries; all linkers write
 * these encodings. */
enum { HEADER_BYTES = 12, PCREL_SIGNED4 = 0x1b, UNSIGNED4 = 0x03, DATAREL_SIGNED4 = 0x3b };

static int find_proc_info(unw_addr_space_t in, unw_word_t ip, unw_proc_info_t *found, int need_info, void *context)
{
	struct walk *w = context;
	const uint8_t *header = is_in_file(w, ip) ? w->file.dlfo_eh_frame : NULL;
	uint32_t entries;
	if (!header || header[0] != 1 || header[1] != PCREL_SIGNED4 || header[2] != UNSIGNED4 ||
	    header[3] != DATAREL_SIGNED4) {
		w->lost = true;
		return -UNW_ENOINFO;
	}
	memcpy(&entries, header + 8, sizeof(entries));
	unw_dyn_info_t table = {.format = UNW_INFO_FORMAT_REMOTE_TABLE,
	                        .start_ip = (uintptr_t)w->file.dlfo_map_start,
	                        .end_ip = (uintptr_t)w->file.dlfo_map_end};
	table.u.rti.segbase = (uintptr_t)header;
	table.u.rti.table_data = (uintptr_t)header + HEADER_BYTES;
	table.u.rti.table_len = entries * UINT64_C(8) / sizeof(unw_word_t);
	int said = search_table(in, ip, &table, found, need_info, context);
	w->lost = said < 0;
	return said;
}

static void put_unwind_info(unw_addr_space_t in, unw_proc_info_t *info, void *context)
{
	(void)in, (void)info, (void)context;
}

static int get_dyn_info_list_addr(unw_addr_space_t in, unw_word_t *at, void *context)
{
	(void)in, (void)at, (void)context;
	return -UNW_ENOINFO;
}

static unw_accessors_t accessors = {.find_proc_info = find_proc_info,
                                    .put_unwind_info = put_unwind_info,
                                    .get_dyn_info_list_addr = get_dyn_info_list_addr,
                                    .access_mem = access_mem,
                                    .access_reg = access_reg};

/* --- may we? ------------------------------------------------------------------------------------------------------ */

enum { UNMADE, MAKING, MADE };
static _Atomic int making;
static unw_addr_space_t space;

static void close_pipe(int end)
{
	struct stat is;
	if (fstat(end, &is) == 0 && S_ISFIFO(is.st_mode))
		close(end);
}

/* An address space. The library takes it from malloc, where it would be counted as the program's; it is a record that is zero
 * but for its accessors, in front. Where that is not so, of a later version, the library makes it. */
static unw_addr_space_t space_create(void)
{
	static APART _Alignas(64) char room[SPACE_BYTES];
	unw_addr_space_t own = (unw_addr_space_t)(void *)room;
	if ((void *)unw_get_accessors(own) != room)
		return unw_create_addr_space(&accessors, 0);
	memcpy(room, &accessors, sizeof(accessors));
	return own;
}

/* The library's setting up opens a pipe, by which it would check addresses. Ours are checked otherwise, and the program must
 * not find two descriptors gone: they are closed. Which they are is certain while there is one thread and no handler runs;
 * else they stay. */
static void make(void)
{
	sigset_t all, before;
	int ends[2];
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (__libc_single_threaded && pipe2(ends, O_CLOEXEC) == 0) { /* the next two numbers */
		close(ends[0]);
		close(ends[1]);
	} else {
		ends[0] = ends[1] = -1;
	}
	space = space_create();
	close_pipe(ends[0]);
	close_pipe(ends[1]);
	if (space) {
		unw_set_caching_policy(space, UNW_CACHE_GLOBAL);
		unw_set_cache_size(space, 1 << CACHED_FRAMES_LOG2, 0);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* At the first unwind; who comes meanwhile gets none. */
static bool is_made(void)
{
	int now = atomic_load_explicit(&making, memory_order_acquire);
	if (now == UNMADE && atomic_compare_exchange_strong(&making, &now, MAKING)) {
		make();
		atomic_store_explicit(&making, now = MADE, memory_order_release);
	}
	return now == MADE && space;
}

static _Atomic uint32_t insiders; /* threads that are inside the library */
static _Atomic uint64_t family;   /* process number, and below it: locks may have been inherited */

/* In a fork's child, what `insiders` was in its parent tells whether a lock may be held by nobody. */
static bool may_hang(void)
{
	uint64_t pid = (uint64_t)syscall(SYS_getpid) << 1, now = atomic_load(&family);
	if (now >> 1 != pid >> 1) {
		uint64_t next = pid | (now && atomic_load(&insiders) != 0);
		if (atomic_compare_exchange_strong(&family, &now, next))
			now = next;
	}
	return now & 1;
}

static bool is_main(uintptr_t sp, uintptr_t *used)
{
	*used = &__libc_stack_end ? (uintptr_t)__libc_stack_end - sp : MAIN_BYTES;
	return *used < MAIN_BYTES;
}

/* Are there ROOM_BYTES below? Asked of the kernel page by page; on a thread's own stack what was seen stays. */
static bool has_room(uintptr_t sp)
{
	static __thread uintptr_t room_low __attribute__((tls_model("initial-exec")));
	uintptr_t used;
	char byte;
	if (is_main(sp, &used)) {
		struct rlimit limit;
		return getrlimit(RLIMIT_STACK, &limit) == 0 &&
		       (limit.rlim_cur == RLIM_INFINITY || used + ROOM_BYTES <= limit.rlim_cur);
	}
	bool own = stack_may_read(sp, (uintptr_t)&stack_known - sizeof(uintptr_t)) && stack_holds(sp);
	if (own && room_low && sp - ROOM_BYTES >= room_low)
		return true;
	for (uintptr_t at = sp; at >= sp - ROOM_BYTES; at -= PAGE_BYTES)
		if (!os_peek(&byte, (const void *)at, 1))
			return false;
	if (own)
		room_low = sp - ROOM_BYTES;
	return true;
}

/* --- the walk ----------------------------------------------------------------------------------------------------- */

static int step(struct walk *w)
{
	unw_word_t pc = 0, sp = 0;
	w->reads = 0;
	w->slot = 0;
	int more = unw_step(&w->cursor);
	if (w->lost || more <= 0)
		return w->lost ? -1 : more;
	if (unw_get_reg(&w->cursor, UNW_REG_IP, &pc) != 0 || unw_get_reg(&w->cursor, UNW_REG_SP, &sp) != 0)
		return -1;
	w->pc = pc;
	w->sp = sp;
	return pc != 0;
}

/* Where the return address was found; without that (it is kept signed, say) its distance is 0, which nobody learns from. */
static uintptr_t slot_of(const struct walk *w, uintptr_t cfa)
{
	return w->slot && w->value == w->pc ? w->slot : cfa;
}

/* Apart from unwind, which has no room for a cursor yet. `from` is a frame whose caller's pointer and return address it holds,
 * `sp` where that one's frame ends. */
static __attribute__((noinline)) void walk(const uintptr_t *from, uintptr_t sp, uintptr_t cfa, uint32_t max,
                                           struct unwound *to)
{
	/* Within the call that came here: where the library takes it for a place to go on at, the row is the same. */
	struct walk start = {.first_pc = from[1] - 1, .first_sp = sp, .first_fp = from[0], .pc = from[1], .sp = sp};
	struct walk *w = &start;
	if (unw_init_remote(&w->cursor, space, w) != 0)
		return;
	for (int i = 0; i < OWN_FRAMES_MAX && w->sp < cfa; i++)
		if (step(w) <= 0)
			return;
	if (w->sp != cfa)
		return;
	for (max = max < UNWIND_FRAMES_MAX ? max : UNWIND_FRAMES_MAX; to->count < max;) {
		uint32_t i = to->count++;
		to->pcs[i] = w->pc;
		if (i < UNWIND_SLOTS_MAX)
			to->slots[i] = slot_of(w, cfa);
		int more = step(w);
		if (i < UNWIND_SLOTS_MAX) /* its place came from the stack pointer alone: nothing else was read */
			to->fixed[i] = more > 0 && w->reads == 1 && w->value == w->pc;
		to->whole = more == 0;
		if (more <= 0)
			break;
	}
}

void unwind_forget(void)
{
	if (atomic_load_explicit(&making, memory_order_acquire) == MADE && space)
		unw_flush_cache(space, 0, 0);
}

__attribute__((noinline)) void unwind(uintptr_t cfa, uint32_t max, struct unwound *to)
{
	const uintptr_t *frame = __builtin_frame_address(0); /* there is one, since it is asked for */
	int saved = errno;
	to->count = 0;
	to->whole = false;
	if (inside || confined())
		return;
	inside = true;
	if (!may_hang() && has_room((uintptr_t)frame)) {
		atomic_fetch_add(&insiders, 1);
		if (is_made())
			walk(frame, (uintptr_t)__builtin_dwarf_cfa(), cfa, max, to);
		atomic_fetch_sub(&insiders, 1);
	}
	inside = false;
	errno = saved;
}
