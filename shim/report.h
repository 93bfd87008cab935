/* report.h: when the JSON report is written, and where.
 *
 * Written once a process, by the library itself, whichever way the process ends: the first to come writes, a second
 * thread waits for it. A failed exec lets the process go on, so that one can be written again.
 */
#ifndef SLUICE_REPORT_H
#define SLUICE_REPORT_H

#include "analytics/ledger.h"

#include <stdbool.h>

/* The program shall write none, and needs nothing that only a report shows. */
bool report_is_off(void);

/* Makes the report's path of the option and the current folder, before the program can change either. `run_pid` is the
 * value of SLUICE_RUN_PID, or NULL. */
void report_begin(const char *run_pid);

/* Writes the report unless it is off, written, not wanted of this process, or not this process's to write. */
void report_write(enum ledger_end end);

/* After an exec that failed: the report may be written again. */
void report_again(void);

void report_fork_child(void);

#endif
