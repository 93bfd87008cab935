/* cxx_bound.h: the operators new and delete as C functions, and whom the program binds the basic ones to.
 */
#ifndef SLUICE_CXX_BOUND_H
#define SLUICE_CXX_BOUND_H

#include <stddef.h>

struct nothrow; /* std::nothrow_t, passed by reference and never looked at */

void *_Znwm(size_t size);
void *_Znam(size_t size);
void *_ZnwmRKSt9nothrow_t(size_t size, const struct nothrow *tag);
void *_ZnamRKSt9nothrow_t(size_t size, const struct nothrow *tag);
void *_ZnwmSt11align_val_t(size_t size, size_t align);
void *_ZnamSt11align_val_t(size_t size, size_t align);
void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t size, size_t align, const struct nothrow *tag);
void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t size, size_t align, const struct nothrow *tag);
void _ZdlPv(void *block);
void _ZdaPv(void *block);
void _ZdlPvm(void *block, size_t size);
void _ZdaPvm(void *block, size_t size);
void _ZdlPvRKSt9nothrow_t(void *block, const struct nothrow *tag);
void _ZdaPvRKSt9nothrow_t(void *block, const struct nothrow *tag);
void _ZdlPvSt11align_val_t(void *block, size_t align);
void _ZdaPvSt11align_val_t(void *block, size_t align);
void _ZdlPvmSt11align_val_t(void *block, size_t size, size_t align);
void _ZdaPvmSt11align_val_t(void *block, size_t size, size_t align);
void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *block, size_t align, const struct nothrow *tag);
void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *block, size_t align, const struct nothrow *tag);

/* Filled by the dynamic linker with the definitions that win in this program. */
struct cxx_bound {
	void *(*new_)(size_t);
	void *(*new_array)(size_t);
	void *(*new_aligned)(size_t, size_t);
	void *(*new_array_aligned)(size_t, size_t);
	void (*delete_)(void *);
	void (*delete_array)(void *);
	void (*delete_aligned)(void *, size_t);
	void (*delete_array_aligned)(void *, size_t);
};

extern const struct cxx_bound cxx_bound;

#endif
