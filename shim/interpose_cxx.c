/* interpose_cxx.c: the twenty operators new and delete, by their mangled names.
 *
 * All of them, because libstdc++'s own would be bound for any that is missing. A failing new calls the new handler and
 * tries again, as the standard says, then throws std::bad_alloc: with libstdc++'s own function, looked up in that moment
 * only, since the program may have no C++ runtime at all. This file is compiled with unwind tables, so that the
 * exception passes through it.
 *
 * A program may replace some of them, and the standard says that the others then lead to the replaced ones: sized,
 * nothrow and array forms to the plain ones, aligned forms to the aligned ones. So each derived form asks whom the form
 * below it is bound to (cxx_bound, which the dynamic linker fills) and steps aside when that is not us.
 */
#define _GNU_SOURCE
#include "allocate.h"
#include "cxx_bound.h"
#include "process.h"

#include <dlfcn.h>
#include <errno.h>

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

static __attribute__((noinline)) void *new_again(size_t size, size_t align, uintptr_t pc, uintptr_t frame, bool throws)
{
	while (new_handler_ran()) {
		void *block = allocate_aligned_from(size, align, pc, frame);
		if (block)
			return block;
	}
	if (throws)
		throw_bad_alloc();
	return NULL;
}

static inline void *new_plain(size_t size, uintptr_t pc, uintptr_t frame, bool throws)
{
	void *block = allocate_from(size, pc, frame);
	return __builtin_expect(block != NULL, 1) ? block : new_again(size, 16, pc, frame, throws);
}

static inline void *new_aligned(size_t size, size_t align, uintptr_t pc, uintptr_t frame, bool throws)
{
	void *block = allocate_aligned_from(size, align, pc, frame);
	return __builtin_expect(block != NULL, 1) ? block : new_again(size, align, pc, frame, throws);
}

#define UNUSED __attribute__((unused))
#define OWN(name) extern __typeof__(name) own##name __attribute__((alias(#name), visibility("hidden")))
#define IS_OURS(field, name) __builtin_expect(cxx_bound.field == own##name, 1)

/* The plain forms, from which the standard derives all others. */

SLUICE_API void *_Znwm(size_t size)
{
	return new_plain(size, SLUICE_CALLER(), SLUICE_FRAME(), true);
}

SLUICE_API void _ZdlPv(void *block)
{
	release(block);
}

SLUICE_API void *_ZnwmSt11align_val_t(size_t size, size_t align)
{
	return new_aligned(size, align, SLUICE_CALLER(), SLUICE_FRAME(), true);
}

SLUICE_API void _ZdlPvSt11align_val_t(void *block, size_t align UNUSED)
{
	release(block);
}

OWN(_Znwm);
OWN(_ZdlPv);
OWN(_ZnwmSt11align_val_t);
OWN(_ZdlPvSt11align_val_t);

SLUICE_API void *_Znam(size_t size)
{
	return IS_OURS(new_, _Znwm) ? new_plain(size, SLUICE_CALLER(), SLUICE_FRAME(), true) : cxx_bound.new_(size);
}

SLUICE_API void _ZdaPv(void *block)
{
	IS_OURS(delete_, _ZdlPv) ? release(block) : cxx_bound.delete_(block);
}

SLUICE_API void *_ZnamSt11align_val_t(size_t size, size_t align)
{
	return IS_OURS(new_aligned, _ZnwmSt11align_val_t) ? new_aligned(size, align, SLUICE_CALLER(), SLUICE_FRAME(), true)
	                                                  : cxx_bound.new_aligned(size, align);
}

SLUICE_API void _ZdaPvSt11align_val_t(void *block, size_t align)
{
	IS_OURS(delete_aligned, _ZdlPvSt11align_val_t) ? release(block) : cxx_bound.delete_aligned(block, align);
}

OWN(_Znam);
OWN(_ZdaPv);
OWN(_ZnamSt11align_val_t);
OWN(_ZdaPvSt11align_val_t);

/* The nothrow forms catch what a replaced plain form throws, which C cannot: libstdc++'s own do it. */
#define NEW_NOTHROW(name, below, plain_name)                                                                           \
	SLUICE_API void *name(size_t size, const struct nothrow *tag)                                                      \
	{                                                                                                                  \
		if (IS_OURS(below, plain_name))                                                                                \
			return new_plain(size, SLUICE_CALLER(), SLUICE_FRAME(), false);                                            \
		void *(*next)(size_t, const struct nothrow *);                                                                 \
		*(void **)&next = dlsym(RTLD_NEXT, #name);                                                                     \
		return next ? next(size, tag) : cxx_bound.below(size);                                                         \
	}
#define NEW_ALIGNED_NOTHROW(name, below, plain_name)                                                                   \
	SLUICE_API void *name(size_t size, size_t align, const struct nothrow *tag)                                        \
	{                                                                                                                  \
		if (IS_OURS(below, plain_name))                                                                                \
			return new_aligned(size, align, SLUICE_CALLER(), SLUICE_FRAME(), false);                                   \
		void *(*next)(size_t, size_t, const struct nothrow *);                                                         \
		*(void **)&next = dlsym(RTLD_NEXT, #name);                                                                     \
		return next ? next(size, align, tag) : cxx_bound.below(size, align);                                           \
	}
#define DELETE(name, parameters, below, plain_name, arguments)                                                         \
	SLUICE_API void name parameters                                                                                    \
	{                                                                                                                  \
		IS_OURS(below, plain_name) ? release(block) : cxx_bound.below arguments;                                       \
	}

NEW_NOTHROW(_ZnwmRKSt9nothrow_t, new_, _Znwm)
NEW_NOTHROW(_ZnamRKSt9nothrow_t, new_array, _Znam)
NEW_ALIGNED_NOTHROW(_ZnwmSt11align_val_tRKSt9nothrow_t, new_aligned, _ZnwmSt11align_val_t)
NEW_ALIGNED_NOTHROW(_ZnamSt11align_val_tRKSt9nothrow_t, new_array_aligned, _ZnamSt11align_val_t)

DELETE(_ZdlPvm, (void *block, size_t size UNUSED), delete_, _ZdlPv, (block))
DELETE(_ZdaPvm, (void *block, size_t size UNUSED), delete_array, _ZdaPv, (block))
DELETE(_ZdlPvRKSt9nothrow_t, (void *block, const struct nothrow *n UNUSED), delete_, _ZdlPv, (block))
DELETE(_ZdaPvRKSt9nothrow_t, (void *block, const struct nothrow *n UNUSED), delete_array, _ZdaPv, (block))
DELETE(_ZdlPvmSt11align_val_t, (void *block, size_t size UNUSED, size_t align), delete_aligned, _ZdlPvSt11align_val_t,
       (block, align))
DELETE(_ZdaPvmSt11align_val_t, (void *block, size_t size UNUSED, size_t align), delete_array_aligned,
       _ZdaPvSt11align_val_t, (block, align))
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, (void *block, size_t align, const struct nothrow *n UNUSED), delete_aligned,
       _ZdlPvSt11align_val_t, (block, align))
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, (void *block, size_t align, const struct nothrow *n UNUSED),
       delete_array_aligned, _ZdaPvSt11align_val_t, (block, align))
