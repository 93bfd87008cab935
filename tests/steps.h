/* steps.h: a look after every instruction of a function: what another thread, or a fork's child, could find in between.
 *
 * The processor stops after each instruction while its trap flag is set, and the kernel makes a SIGTRAP of it.
 */
#ifndef STEPS_H
#define STEPS_H

#include <signal.h>
#include <stdbool.h>

#ifdef __x86_64__
enum { STEPS_ARE_KNOWN = true, STEPS_FLAG = 0x100 };

/* From here on `look` is called after every instruction. It may call what is safe in a signal handler. */
static inline __attribute__((always_inline)) void steps_begin(void (*look)(int sig))
{
	struct sigaction action = {.sa_handler = look};
	sigaction(SIGTRAP, &action, NULL);
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; orq %0, (%%rsp); popfq; lea 128(%%rsp), %%rsp"
	                 :
	                 : "i"(STEPS_FLAG)
	                 : "memory", "cc");
}

static inline __attribute__((always_inline)) void steps_end(void)
{
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; andq %0, (%%rsp); popfq; lea 128(%%rsp), %%rsp"
	                 :
	                 : "i"(~STEPS_FLAG)
	                 : "memory", "cc");
}
#else
enum { STEPS_ARE_KNOWN = false };

static inline void steps_begin(void (*look)(int sig))
{
	(void)look;
}

static inline void steps_end(void) {}
#endif

#endif
