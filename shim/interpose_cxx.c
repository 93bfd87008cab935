/* interpose_cxx.c: the twenty operators new and delete, by their mangled names.
 *
 * All of them, because libstdc++'s own would be bound for any that is missing. A failing new calls the new handler and
 * tries again, as the standard says, then throws std::bad_alloc: with libstdc++'s own function, looked up in that moment
 * only, since the program may have no C++ runtime at all. This file is compiled with unwind tables, so that the
 * exception passes through it.
 */
#define _GNU_SOURCE
#include "allocate.h"
#include "process.h"

#include <dlfcn.h>
#include <errno.h>

struct nothrow; /* std::nothrow_t, passed by reference and never looked at */

/* One more round: false when there is no handler to make room. */
static bool new_handler_ran(void)
{
	typedef void (*handler)(void);
	handler (*get)(void);
	*(void **)&get = dlsym(RTLD_DEFAULT, "_ZSt15get_new_handlerv");
	handler run = get ? get() : NULL;
	if (run)
		run(); /* may throw, or end the program */
	return run != NULL;
}

static __attribute__((noinline)) void throw_bad_alloc(void)
{
	void (*throw_it)(void);
	*(void **)&throw_it = dlsym(RTLD_DEFAULT, "_ZSt17__throw_bad_allocv");
	if (throw_it)
		throw_it();
	process_die("operator new: no memory, and no C++ runtime to throw std::bad_alloc", 0);
}

static __attribute__((noinline)) void *new_again(size_t size, size_t align, uintptr_t pc, bool throws)
{
	while (new_handler_ran()) {
		void *block = allocate_aligned(size, align, pc);
		if (block)
			return block;
	}
	if (throws)
		throw_bad_alloc();
	return NULL;
}

static inline void *new_plain(size_t size, uintptr_t pc, bool throws)
{
	void *block = allocate(size, pc);
	return __builtin_expect(block != NULL, 1) ? block : new_again(size, 16, pc, throws);
}

static inline void *new_aligned(size_t size, size_t align, uintptr_t pc, bool throws)
{
	void *block = allocate_aligned(size, align, pc);
	return __builtin_expect(block != NULL, 1) ? block : new_again(size, align, pc, throws);
}

#define NEW(name, parameters, body)                                                                                    \
	SLUICE_API void *name parameters;                                                                                  \
	SLUICE_API void *name parameters                                                                                   \
	{                                                                                                                  \
		return body;                                                                                                   \
	}
#define DELETE(name, parameters)                                                                                       \
	SLUICE_API void name parameters;                                                                                   \
	SLUICE_API void name parameters                                                                                    \
	{                                                                                                                  \
		release(block);                                                                                                \
	}
#define UNUSED __attribute__((unused))

NEW(_Znwm, (size_t size), new_plain(size, SLUICE_CALLER(), true))
NEW(_Znam, (size_t size), new_plain(size, SLUICE_CALLER(), true))
NEW(_ZnwmRKSt9nothrow_t, (size_t size, const struct nothrow *n UNUSED), new_plain(size, SLUICE_CALLER(), false))
NEW(_ZnamRKSt9nothrow_t, (size_t size, const struct nothrow *n UNUSED), new_plain(size, SLUICE_CALLER(), false))
NEW(_ZnwmSt11align_val_t, (size_t size, size_t align), new_aligned(size, align, SLUICE_CALLER(), true))
NEW(_ZnamSt11align_val_t, (size_t size, size_t align), new_aligned(size, align, SLUICE_CALLER(), true))
NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, (size_t size, size_t align, const struct nothrow *n UNUSED),
    new_aligned(size, align, SLUICE_CALLER(), false))
NEW(_ZnamSt11align_val_tRKSt9nothrow_t, (size_t size, size_t align, const struct nothrow *n UNUSED),
    new_aligned(size, align, SLUICE_CALLER(), false))

DELETE(_ZdlPv, (void *block))
DELETE(_ZdaPv, (void *block))
DELETE(_ZdlPvm, (void *block, size_t size UNUSED))
DELETE(_ZdaPvm, (void *block, size_t size UNUSED))
DELETE(_ZdlPvRKSt9nothrow_t, (void *block, const struct nothrow *n UNUSED))
DELETE(_ZdaPvRKSt9nothrow_t, (void *block, const struct nothrow *n UNUSED))
DELETE(_ZdlPvSt11align_val_t, (void *block, size_t align UNUSED))
DELETE(_ZdaPvSt11align_val_t, (void *block, size_t align UNUSED))
DELETE(_ZdlPvmSt11align_val_t, (void *block, size_t size UNUSED, size_t align UNUSED))
DELETE(_ZdaPvmSt11align_val_t, (void *block, size_t size UNUSED, size_t align UNUSED))
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, (void *block, size_t align UNUSED, const struct nothrow *n UNUSED))
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, (void *block, size_t align UNUSED, const struct nothrow *n UNUSED))
