/* options.h: every option of SLUICE_CONF, declared once.
 *
 * This leaf header is the one table from which the parser (shim/options.c), `sluice help conf` and the README's table
 * are made. It includes nothing of the project, so that the command may include it too.
 *
 * X(field, "key", TYPE, default, min, max, "unit", "one line of help")
 *   OPT_BOOL   on|off            (default 0 or 1)
 *   OPT_BYTES  a count of bytes, suffixes K M G T (powers of 1024)
 *   OPT_COUNT  a plain number
 *   OPT_MS     milliseconds; -1 means never
 *   OPT_WORD   one of the words in `unit`, parted by |; the default and max are their numbers, from 0
 *   OPT_PATH   text up to the next comma; its default is the string in `unit`'s place, min and max are 0
 */
#ifndef SLUICE_OPTIONS_H
#define SLUICE_OPTIONS_H

#include <stdint.h>

#define SLUICE_CONF_ENV "SLUICE_CONF"   /* the options */
#define SLUICE_RUN_ENV "SLUICE_RUN_PID" /* set by `sluice run`: pid of its program, which owns the report's name */
#define SLUICE_REPORT_DEFAULT "sluice.%e.%p.json"

enum option_type { OPT_BOOL, OPT_BYTES, OPT_COUNT, OPT_MS, OPT_WORD, OPT_PATH };

#define SLUICE_OPTIONS(X)                                                                                              \
	X(report, "report", OPT_PATH, 0, 0, 0, SLUICE_REPORT_DEFAULT,                                                      \
	  "where the JSON report goes: a path with %p pid, %e program, %h host, %t start time; or off")                    \
	X(report_min, "report_min", OPT_COUNT, 1000, 0, INT64_MAX, "allocations",                                          \
	  "children write a report only from this many allocations on")                                                    \
	X(conf, "conf", OPT_PATH, 0, 0, 0, "", "a file with more options, one key:value a line, # for comments")           \
	X(range, "range", OPT_BYTES, INT64_C(64) << 30, 0, INT64_C(1024) << 30, "bytes",                                   \
	  "address range to reserve for the pools (less is tried when it is refused); 0: fallback only")                   \
	X(pool_max, "pool_max", OPT_BYTES, 0, 0, INT64_MAX, "bytes",                                                       \
	  "cap on all slabs together, past it the fallback serves; 0: the whole range")                                    \
	X(site_max, "site_max", OPT_BYTES, 0, 0, INT64_MAX, "bytes",                                                       \
	  "cap on the pools' bytes one site may hold on one thread, past it the fallback serves; 0: no cap")               \
	X(own, "own", OPT_BOOL, 1, 0, 1, "", "let a site that earned it have slabs of its own")                            \
	X(owned_max, "owned_max", OPT_COUNT, 256, 0, 4096, "pools",                                                        \
	  "owned pools a thread may have, to keep caches and TLB sane")                                                    \
	X(budget, "budget", OPT_BYTES, INT64_C(256) << 10, 0, INT64_MAX, "bytes",                                          \
	  "unused bytes owned slabs may hold beyond an eighth of the live bytes")                                          \
	X(decay, "decay", OPT_MS, 1000, -1, INT64_C(86400000), "ms",                                                       \
	  "free memory goes back to the OS after about this long; 0: at once, -1: never")                                  \
	X(pressure, "pressure", OPT_BOOL, 1, 0, 1, "",                                                                     \
	  "look once in a decay period whether the control group is short of memory, and then give back at once")          \
	X(thp, "thp", OPT_BOOL, 1, 0, 1, "", "huge pages where a heap of more than 64 MiB is dense")                       \
	X(lifetimes, "lifetimes", OPT_BOOL, 1, 0, 1, "", "watch some blocks of each site from birth to death")             \
	X(sites_max, "sites_max", OPT_COUNT, 65535, 16, 65535, "sites",                                                    \
	  "sites told apart; further ones are counted as one, named other")                                                \
	X(callers, "callers", OPT_BOOL, 1, 0, 1, "",                                                                       \
	  "tell sites apart by their callers where a function allocates for many, and keep every site's stack")            \
	X(stack_period, "stack_period", OPT_BYTES, INT64_C(512) << 10, 0, INT64_C(1) << 40, "bytes",                       \
	  "mean bytes between two allocations whose whole stack is kept, to tell who is behind a site; 0: none")           \
	X(request, "request", OPT_WORD, 1, 0, 2, "off|auto|turn",                                                          \
	  "requests are turns on connections it accepted (auto), or on all streams it did not connect (turn)")             \
	X(request_every, "request_every", OPT_COUNT, 0, 0, INT64_C(1000000), "requests",                                   \
	  "add up what each so many-th request allocates; 0: as often as 0.25 % of the time pays for")                     \
	X(verbose, "verbose", OPT_BOOL, 0, 0, 1, "", "say on standard error what was decided at start and at exit")

#endif
