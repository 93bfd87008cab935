/* confined.h: has the program bound itself so that a system call of ours could kill it?
 *
 * Set when a seccomp filter is about to be installed. From then on sluice makes only the calls an allocator must make
 * (mmap, munmap, madvise, futex) and those that write a line to standard error: no report, no thread names.
 */
#ifndef SLUICE_CONFINED_H
#define SLUICE_CONFINED_H

#include <stdbool.h>

void confined_note(void);
bool confined(void);

#endif
