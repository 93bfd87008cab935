/* spin.h: work whose amount is known: a chain of dependent additions, the same instructions wherever it is included, and
 * aligned, so that a copy in a library costs what the copy in the program costs.
 */
#ifndef PROOF_SPIN_H
#define PROOF_SPIN_H

static inline void spin(unsigned long turns)
{
#if defined(__x86_64__)
	__asm__ volatile("test %0, %0\n\tjz 2f\n\t.p2align 6\n1:\n\tsub $1, %0\n\tjnz 1b\n2:" : "+r"(turns) : : "cc");
#else
	while (turns--)
		__asm__ volatile("");
#endif
}

#endif
