/* sites.h: as many call sites as one likes, up to SITES_MAX.
 *
 * Each is a small function, written by the assembler's .rept, that calls what it was handed: so each has a return
 * address of its own, inside the program, with unwind tables and a frame as a compiler would make. Not code generated
 * at run time, which would lie in a mapping without a name that no profiler or unwinder can read and that a hardened
 * system refuses; not 100,000 C functions, which take a compiler minutes. A function starts at an offset into its slot
 * that depends on its number, because real return addresses are not evenly spaced and a hash must not profit from it.
 */
#ifndef SCRIPTS_BENCH_MICRO_SITES_H
#define SCRIPTS_BENCH_MICRO_SITES_H

#include <stddef.h>
#include <stdint.h>

#define SITES_MAX 100000
#define SITE_SLOT 64 /* bytes from one to the next */

typedef void *allocate_function(size_t size);
typedef void *site_function(size_t size, allocate_function *allocate);

#define SITES_TEXT_(number) #number
#define SITES_TEXT(number) SITES_TEXT_(number)

#if defined(__x86_64__)
#define SITE_CODE                                                                                                      \
	"push %rbp\n"                                                                                                      \
	".cfi_def_cfa_offset 16\n"                                                                                         \
	".cfi_offset %rbp, -16\n"                                                                                          \
	"mov %rsp, %rbp\n"                                                                                                 \
	".cfi_def_cfa_register %rbp\n"                                                                                     \
	"call *%rsi\n"                                                                                                     \
	"pop %rbp\n"                                                                                                       \
	".cfi_def_cfa %rsp, 8\n"                                                                                           \
	"ret\n"
#elif defined(__aarch64__)
#define SITE_CODE                                                                                                      \
	"stp x29, x30, [sp, #-16]!\n"                                                                                      \
	".cfi_def_cfa_offset 16\n"                                                                                         \
	".cfi_offset x29, -16\n"                                                                                           \
	".cfi_offset x30, -8\n"                                                                                            \
	"mov x29, sp\n"                                                                                                    \
	"blr x1\n"                                                                                                         \
	"ldp x29, x30, [sp], #16\n"                                                                                        \
	".cfi_def_cfa_offset 0\n"                                                                                          \
	"ret\n"
#else
#error "sites.h: the few instructions of a call are missing for this processor"
#endif

__asm__(".text\n"
        ".balign " SITES_TEXT(
			SITE_SLOT) "\n"
                       ".globl bench_sites\n"
                       ".hidden bench_sites\n"
                       ".type bench_sites, %function\n"
                       "bench_sites:\n"
                       ".set bench_site_number, 0\n"
                       ".rept " SITES_TEXT(
						   SITES_MAX) "\n"
                                      ".balign " SITES_TEXT(
										  SITE_SLOT) "\n"
                                                     ".skip 4 + (((bench_site_number * 2531011) >> 12) & 28)\n"
                                                     ".cfi_startproc\n" SITE_CODE ".cfi_endproc\n"
                                                     ".set bench_site_number, bench_site_number + 1\n"
                                                     ".endr\n"
                                                     ".size bench_sites, . - bench_sites\n");

extern const char bench_sites[];

/* The i-th site, from 0: calls allocate(size). */
static inline site_function *site_at(size_t i)
{
	return (site_function *)(uintptr_t)(bench_sites + i * SITE_SLOT + 4 + ((i * 2531011 >> 12) & 28));
}

#endif
