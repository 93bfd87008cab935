/* pressure.h: is the system short of memory? Then what can be given back at once, is.
 *
 * Looked at by the way, at refills that look at the clock anyhow, once in a decay period at most: the counters of the
 * process's control group (cgroup v2), and the time that tasks in it waited for memory (PSI). See pressure.c.
 */
#ifndef SLUICE_PRESSURE_H
#define SLUICE_PRESSURE_H

#include "thread.h"

/* At a refill: looks if it is time, `now` in ms, and gives back what the thread and the process can if memory is short. A
 * thread also gives back its own, when another has found it short since it was last here. */
void pressure_look(struct thread *thread, uint64_t now);

/* How often memory was found short. */
uint64_t pressure_trims(void);

/* No file is opened from now on. */
void pressure_stop(void);

/* The child of a fork may be moved to another group: it finds its files anew. */
void pressure_fork_child(void);

/* The sum of `high`, `max` and `oom` in the text of a memory.events; false: it is none, or not whole. */
bool pressure_parse_events(const char *text, uint64_t *sum);

/* "some avg10" in the text of a memory.pressure, in hundredths of a per cent; false: it is none. */
bool pressure_parse_stall(const char *text, uint32_t *hundredths);

/* The path of the v2 group in the text of a /proc/self/cgroup, into `room` bytes; false: there is none, or no room. */
bool pressure_parse_group(const char *text, char *path, size_t room);

/* For tests: both files lie in this folder, nowhere else. */
void pressure_simulate(const char *folder);

#endif
