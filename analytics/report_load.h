/* report_load.h: a report file, read into memory and checked.
 *
 * The reader takes any file that calls itself a report of major version 1: keys it does not know are ignored, keys that
 * are missing read as zero or empty, and a key of the wrong type or a count below zero makes the file damaged. A file
 * may be cut short, foreign, newer or hostile; each has one message and nothing else happens.
 */
#ifndef SLUICE_REPORT_LOAD_H
#define SLUICE_REPORT_LOAD_H

#include "analytics/ledger.h"
#include "analytics/report_requests.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	REPORT_BYTES_MAX = 1 << 30, /* larger files are refused; a report of 65,536 sites has about 50 MiB */
	REPORT_MESSAGE_MAX = 512
};

enum report_result {
	REPORT_GOOD,
	REPORT_UNREADABLE, /* no such file, no right to read it, ... */
	REPORT_TOO_LARGE,
	REPORT_TRUNCATED, /* ends in the middle */
	REPORT_FOREIGN,   /* something else than a report of sluice */
	REPORT_NEWER,     /* of a newer major version */
	REPORT_DAMAGED    /* a report, but its content cannot be true */
};

struct report_memory;

/* Texts point into `document` and live as long as the report; none is NULL unless said. */
struct report_run {
	uint64_t pid, ppid, start_unix_ns, duration_ns;
	const char *exe, *end, *fallback;
	const char **argv;
	size_t argc;
	bool argv_truncated, forked;
};

struct report_quality {
	const char *site_counts;
	uint64_t live_threads, untracked_frees, dropped_sites, dropped_threads, dropped_mappings;
	struct ledger_sampling stacks; /* period 0: none were sampled */
};

/* Of what a sample by bytes says of a site; see the schema. */
struct report_sampled_stack {
	uint32_t stack;  /* index */
	bool by_realloc; /* of reallocs of the site's blocks: it need not begin with the site's frames */
	uint64_t samples, weight;
};

struct report_sampled {
	struct ledger_sampled of;
	uint64_t standard_error;
	double effective; /* samples of one weight that would tell as much */
	struct report_sampled_stack *stacks;
	size_t stacks_count;
};

struct report_site {
	uint64_t id, offset, symbol_offset;
	const char *symbol; /* NULL: none */
	uint32_t mapping;   /* LEDGER_NONE: none */
	int route;          /* enum ledger_route; -1: none */
	bool other;
	uint32_t stack;      /* index of the stack that was seen first; LEDGER_NONE: none */
	uint32_t key_frames; /* return addresses, from the leaf outwards, that make its identity; at least 1 */
	struct ledger_tally tally;
	uint64_t realloc_objects, cross_thread_free_objects;
	uint64_t route_objects[LEDGER_ROUTES], route_space[LEDGER_ROUTES];
	bool has_fact; /* reports before version 1.2 have none */
	struct ledger_fact fact;
	struct ledger_life life;       /* all 0: no sample */
	struct report_sampled sampled; /* likewise */
};

struct report_mapping {
	uint64_t start, limit, bias;
	const char *path, *build_id;
};

/* A return address. */
struct report_frame {
	uint64_t offset, symbol_offset;
	const char *symbol; /* NULL: none */
	uint32_t mapping;   /* LEDGER_NONE: none */
};

/* Leaf first: frames[0] is the return address of the call of malloc. */
struct report_stack {
	uint32_t *frames; /* indices of frames */
	size_t count;
	bool truncated; /* there were more */
};

struct report_thread {
	uint64_t tid, start_unix_ns, end_unix_ns /* 0: was alive */, alloc_objects, alloc_space;
	const char *name;
};

struct report {
	struct report_memory *document; /* of jansson's tree, which has all texts */
	size_t bytes;                   /* size of the file */
	const char *schema_version, *tool_version;
	struct report_run run;
	struct report_quality quality;
	struct ledger_memory memory;
	struct ledger_resident resident; /* all 0: not known */
	struct ledger_tally routes[LEDGER_ROUTES];
	uint64_t reasons[LEDGER_REASONS];
	struct ledger_class *classes;
	struct report_mapping *mappings;
	struct report_site *sites;
	struct report_thread *threads;
	struct report_frame *frames;
	struct report_stack *stacks;
	struct ledger_requests *requests; /* NULL: not in the report */
	struct report_request_sites request_sites;
	size_t classes_count, mappings_count, sites_count, threads_count, frames_count, stacks_count;
};

/* Reads a file; "-" is standard input. On anything but REPORT_GOOD, `message` (REPORT_MESSAGE_MAX bytes) says in one
 * line what is wrong, the file's name included, and there is nothing to close. */
enum report_result report_load(struct report *r, const char *path, char *message);

/* The same from memory; `path` only names it in the message. */
enum report_result report_parse(struct report *r, const char *bytes, size_t count, const char *path, char *message);

void report_close(struct report *r);

#endif
