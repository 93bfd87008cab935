/* process.h: what sluice is in this process, and what it copied of it at the start.
 *
 * The start happens twice. process_start runs at the first allocation, perhaps before any constructor: memory, classes,
 * options from the environment if there is one already. The constructor then copies what a program may overwrite later
 * (nginx writes its title over argv and environ), and registers the fork and exit handlers.
 */
#ifndef SLUICE_PROCESS_H
#define SLUICE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* Sets sluice up if nobody has. true: it acts. false: it is inert, or this very thread is still setting it up. */
bool process_start(void);

bool process_is_inert(void);

/* Is the caller the process that was started or forked, and not a vfork child that only borrows its memory? */
bool process_is_self(void);

/* In the child of a fork. */
bool process_is_forked(void);

/* One line on standard error, "sluice: ...", if standard error is still what it was at the start. */
void process_say(const char *text, const char *more);

/* The program has broken the allocator's contract: one line, then abort. */
__attribute__((noreturn)) void process_die(const char *what, uintptr_t address);

#endif
