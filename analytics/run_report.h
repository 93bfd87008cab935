/* run_report.h: where the report of a run goes, and where it went. */
#ifndef SLUICE_RUN_REPORT_H
#define SLUICE_RUN_REPORT_H

#include "analytics/report_load.h"

#include <sys/types.h>

/* The pattern of the report's name for the library: absolute, so that a program that changes its folder still writes
 * it where the user stands. `pattern` is what the user said, or NULL for the default. Released by the caller; "off"
 * stays "off". */
char *run_report_pattern(const char *pattern);

/* Finds and loads the report that process `pid`, started at `start_unix_ns` or later, wrote under this pattern. Where
 * there are several (a program that execs writes one each time), the last. Returns its path, released by the caller,
 * or NULL with `message` (REPORT_MESSAGE_MAX bytes) set: empty when there is no such file, else why one that is there
 * cannot be read. */
char *run_report_find(struct report *r, const char *pattern, pid_t pid, uint64_t start_unix_ns, char *message);

/* How many other reports of this name were written since then: those of the program's other processes, when nobody else
 * writes there. `found` is what run_report_find() gave. */
size_t run_report_others(const char *pattern, const char *found, uint64_t start_unix_ns);

#endif
