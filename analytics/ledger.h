/* ledger.h: the counters of one process, as one flat region of memory.
 *
 * The shim owns and fills the region (shim/publish.c); the renderer (analytics/render.c) turns it into the JSON report.
 * Both see only this header. The region holds offsets and indices, never pointers, so it can live in a file that
 * outlives the process. It is filled off the fast path: a record is complete before its count is raised.
 *
 *   +---------------+----------+-----------+----------+----------+-------+--------+--------+-----------+
 *   | ledger header | strings  | classes   | mappings | threads  | sites | frames | stacks | stack ids |
 *   +---------------+----------+-----------+----------+----------+-------+--------+--------+-----------+
 *
 * Units: bytes, nanoseconds and counts only. "Space" is bytes; "objects" is blocks. `alloc_space` is what the program
 * asked for, `inuse_space` what the blocks can hold (their class size), as pprof and jemalloc use the words.
 * All counters since the start of this process; in the child of a fork, since the fork, with the blocks alive at the
 * fork in the `inherited_*` fields. So for every record:  inuse = inherited + alloc - free  (objects).
 */
#ifndef SLUICE_LEDGER_H
#define SLUICE_LEDGER_H

#include "analytics/ledger_requests.h"

#include <stddef.h>
#include <stdint.h>

#define LEDGER_MAGIC "SLUICELG"
#define LEDGER_NONE UINT32_MAX /* "no such index", for mapping and symbol */

enum {
	LEDGER_VERSION = 1,
	LEDGER_CLASSES_MAX = 160,
	LEDGER_MAPPINGS_MAX = 2048,
	LEDGER_THREADS_MAX = 1024, /* further threads share the last record */
	LEDGER_STRINGS_BYTES = 1 << 20,
	LEDGER_SITES_MAX = 65535, /* a site id fits 16 bits; the last one is "other" */
	LEDGER_BUILD_ID_MAX = 20,
	LEDGER_CONF_MAX = 24,
	LEDGER_FRAMES_MAX = 1 << 17,
	LEDGER_SAMPLED_STACKS_MAX = 1 << 14, /* beside one for each site */
	LEDGER_STACKS_MAX = LEDGER_SITES_MAX + 1 + LEDGER_SAMPLED_STACKS_MAX,
	LEDGER_SAMPLED_IDS_MAX = LEDGER_SAMPLED_STACKS_MAX * 32,
	LEDGER_STACK_IDS_MAX = (1 << 20) + LEDGER_SAMPLED_IDS_MAX, /* frames of all stacks together */
	LEDGER_STACK_FRAMES_MAX = 64                               /* of one */
};

/* A NUL-terminated string in the strings section, by offset; 0 is the empty string. */
struct ledger_string {
	uint32_t at;
};

/* Which door served an allocation. */
enum ledger_route { ROUTE_OWNED, ROUTE_SHARED, ROUTE_ARENA, ROUTE_FALLBACK, LEDGER_ROUTES };

/* Why an allocation went to the fallback. */
enum ledger_reason {
	REASON_LARGE,    /* above the largest class */
	REASON_ALIGNED,  /* alignment above a page */
	REASON_CAPACITY, /* the pools, or the site in them, are at their cap (options pool_max, site_max) */
	REASON_RANGE,    /* no address range could be reserved, or it is used up */
	REASON_MEMORY,   /* the kernel refused memory to the pools */
	REASON_THREAD,   /* the thread has no heap (too early, or too late in its life) */
	LEDGER_REASONS
};

/* How the process came to write its report. */
enum ledger_end { END_LIVE, END_EXIT, END_SIGNAL, END_KILLED, END_EXEC };

/* The common five; see the equation above. */
struct ledger_tally {
	uint64_t alloc_objects;     /* blocks handed out */
	uint64_t alloc_space;       /* bytes requested for them */
	uint64_t free_objects;      /* blocks given back */
	uint64_t inuse_objects;     /* blocks alive now */
	uint64_t inuse_space;       /* usable bytes of the blocks alive now */
	uint64_t inherited_objects; /* blocks alive at the fork that made this process */
	uint64_t inherited_space;   /* their usable bytes */
};

struct ledger_site {
	uint64_t pc;     /* what it is asked for by: a return address in this process, or a number; 0 for "other" */
	uint64_t offset; /* the last of its key's return addresses, in the module's file (ELF virtual address) */
	uint32_t mapping;
	struct ledger_string symbol; /* dynamic symbol that holds the pc, else empty */
	uint64_t symbol_offset;      /* offset - symbol, bytes */
	uint32_t stack;              /* who called when it was new; LEDGER_NONE: not known */
	uint32_t key_frames;         /* how many frames of the stack, from its leaf, all its allocations have in common */
	struct ledger_tally tally;
	uint64_t realloc_objects;           /* reallocs of blocks of this site (each is one alloc and one free as well) */
	uint64_t cross_thread_free_objects; /* frees by another thread than the one whose heap holds the block */
	uint64_t route_objects[LEDGER_ROUTES]; /* alloc_objects split by route */
	uint64_t route_space[LEDGER_ROUTES];   /* alloc_space split by route */
};

/* A place that a call returns to. */
struct ledger_frame {
	uint64_t offset; /* in the mapping's file (ELF virtual address); an address in this process when there is none */
	uint32_t mapping;
	struct ledger_string symbol; /* dynamic symbol that holds it, else empty */
	uint64_t symbol_offset;      /* bytes */
};

/* Frames, leaf first: `count` numbers from `at` on among the stack ids. */
struct ledger_stack {
	uint32_t at;
	uint16_t count;
	uint16_t truncated; /* 1: there were more, or it could not be followed to its end */
};

struct ledger_class {
	uint64_t size;      /* bytes of a block */
	uint64_t slab_size; /* bytes of a slab of this class */
	uint64_t curslabs;  /* slabs now */
	uint64_t slots;     /* blocks those slabs can hold; util = inuse_objects / slots */
	struct ledger_tally tally;
};

struct ledger_mapping {
	uint64_t start;            /* first mapped address */
	uint64_t limit;            /* one past the last */
	uint64_t bias;             /* added to the file's virtual addresses */
	struct ledger_string path; /* absolute where known */
	uint32_t build_id_bytes;
	uint8_t build_id[LEDGER_BUILD_ID_MAX];
};

struct ledger_thread {
	uint64_t tid;
	uint64_t start_unix_ns; /* first allocation */
	uint64_t end_unix_ns;   /* 0 while it lives */
	uint64_t alloc_objects;
	uint64_t alloc_space;
	char name[16];
};

struct ledger_run {
	uint64_t pid, ppid;
	struct ledger_string exe;
	struct ledger_string argv; /* argc strings, one after another */
	uint32_t argc;
	uint32_t argv_truncated; /* 1 when not all of argv fitted */
	uint64_t start_unix_ns;
	uint64_t duration_ns;
	uint32_t end;                  /* enum ledger_end */
	uint32_t signal;               /* for END_SIGNAL */
	uint32_t forked;               /* 1 in the child of a fork: counters start at the fork */
	struct ledger_string fallback; /* "jemalloc 5.3.0-..." */
	uint32_t conf_count;
	struct ledger_string conf_keys[LEDGER_CONF_MAX];   /* effective options */
	struct ledger_string conf_values[LEDGER_CONF_MAX]; /* as `sluice help conf` spells them */
};

struct ledger_memory {
	struct ledger_tally tally;
	uint64_t active;         /* bytes in slabs in use, plus the fallback's blocks */
	uint64_t metadata;       /* bytes sluice keeps for itself, touched or about to be */
	uint64_t resident;       /* RSS of the process now, 0 where it cannot be read */
	uint64_t mapped;         /* bytes of the address range made accessible, plus metadata and the fallback's blocks */
	uint64_t retained;       /* bytes of free granules kept for reuse, not yet given back to the OS */
	uint64_t peak_allocated; /* highest inuse_space, seen at refills: at most peak_slack below the truth */
	uint64_t peak_slack;     /* see above, bytes */
	uint64_t peak_active;    /* highest `active` of the slabs */
	uint64_t peak_resident;  /* highest RSS (ru_maxrss) */
	uint64_t purged;         /* bytes given back to the OS so far */
	uint64_t pressure_trims; /* times that memory was found short, and all given back that could be */
};

struct ledger_quality {
	uint64_t
		live_threads; /* threads alive at the report besides the one that wrote it: their last few counts may race */
	uint64_t dropped_sites; /* allocations counted on "other" because the site table was full */
	uint64_t dropped_threads;
	uint64_t dropped_mappings;
	uint64_t untracked_frees;                /* fallback blocks freed whose record could not be kept (no memory) */
	uint64_t dropped_frames, dropped_stacks; /* not kept: no room */
	uint64_t wrappers;                       /* functions that allocate for their callers, seen through now */
	uint64_t unwound;                        /* allocations whose callers were looked up one by one */
	uint64_t wrong_callers; /* of them, those that were counted on another's site until then: a wrapper less */
};

/* What is known of a site beyond its counts. Made when a report is written, in a region of its own (struct ledger_facts). */
enum {
	LEDGER_SIZES = 48, /* bucket k: blocks that can hold more than 2^(k-1) and up to 2^k bytes */
	LEDGER_LIVES = 32, /* bucket k of lifetimes: 2^(k+shift) up to twice that; the first and last take what is beyond */
	LEDGER_LIFE_SHIFT_NS = 9,
	LEDGER_LIFE_SHIFT_SPACE = 4,
	LEDGER_SHORT_SPACE = 64 << 10 /* a block is short-lived when its thread asked for less than that in its life */
};

/* Lifetimes that ended, of one clock. Each sample stands for `weight` allocations. */
struct ledger_span {
	uint64_t count;  /* samples */
	uint64_t weight; /* allocations they stand for */
	uint64_t min, max;
	uint64_t sum;                /* of weight x lifetime */
	uint64_t hist[LEDGER_LIVES]; /* weights */
};

struct ledger_life {
	struct ledger_span ns;    /* by the clock */
	struct ledger_span space; /* bytes that the thread asked for meanwhile; only blocks that it freed itself */
	uint64_t censored, censored_weight; /* samples whose end was not seen: alive at the report, or lost from sight */
	uint64_t judged,
		judged_squares; /* samples of which it is known whether they were short-lived; their weights squared */
	uint64_t short_weight, long_weight; /* their weights */
};

struct ledger_fact {
	uint64_t max_space; /* highest inuse_space seen: at most the truth, and at most max_slack below it */
	uint64_t max_slack;
	uint64_t size_hist_log2[LEDGER_SIZES]; /* alloc_objects by the bytes the block can hold */
	uint64_t realloc_moved_objects;        /* of the reallocs, those that moved the block */
	uint64_t realloc_grown_space;          /* usable bytes that reallocs added */
	uint64_t realloc_shrunk_space;         /* usable bytes that they took away */
	uint64_t realloc_copied_space;         /* bytes of the moved blocks */
	uint64_t life;                         /* which of the lives is the site's, from 1 on; 0: no sample */
	uint64_t slack_space;                  /* bytes of slabs beyond the blocks alive that are there for the site */
	uint64_t resident_space; /* resident bytes that it explains: blocks alive and slack, as far as they are touched */
	uint64_t sampled;        /* which of the sampled is the site's, from 1 on; 0: it was not drawn */
};

/* What a sample by bytes says of a site: of its bytes, which are known exactly as well, and of the stacks behind them. */
struct ledger_sampled {
	uint64_t draws;        /* stretches of its bytes that a sampling point fell into */
	uint64_t space;        /* bytes they stand for: the estimate of alloc_space */
	uint64_t spread;       /* its estimated variance and the square of a period, bytes squared */
	uint64_t samples;      /* stacks that were seen */
	uint64_t weight;       /* bytes they stand for */
	uint64_t squares;      /* sum of their weights squared, in units of LEDGER_WEIGHT_UNIT bytes */
	uint64_t first, count; /* its stacks, among the sampled stacks */
};

enum { LEDGER_WEIGHT_UNIT = 64 };

struct ledger_sampled_stack {
	uint32_t stack;      /* its number */
	uint32_t by_realloc; /* 1: of reallocs of the site's blocks, which need not have to do with the site's own stack */
	uint64_t samples;    /* how often it was seen */
	uint64_t weight;     /* bytes that stands for */
};

/* How the sample was taken, and how far it is off where that is known: on the sites' bytes. */
struct ledger_sampling {
	uint64_t period;          /* mean bytes between two sampling points; 0: none */
	uint64_t draws, samples;  /* of all sites */
	uint64_t dropped;         /* samples that were lost */
	uint64_t sites;           /* those with bytes for LEDGER_ERROR_DRAWS expected draws or more; of them: */
	uint64_t exact_space;     /* bytes asked for, as counted */
	uint64_t estimated_space; /* as estimated */
	uint64_t off_space;       /* the sum of what each estimate is off */
	uint64_t held;            /* sites whose 95 % interval holds the exact number */
};

enum { LEDGER_ERROR_DRAWS = 10 };

/* What `resident`, the process's memory in RAM, is made of; `resident` is 0 where the kernel did not say. */
struct ledger_resident {
	uint64_t blocks;       /* blocks alive in the pools */
	uint64_t slack;        /* the rest of their slabs */
	uint64_t retained;     /* free granules */
	uint64_t metadata;     /* sluice's tables */
	uint64_t fallback;     /* blocks alive in the fallback */
	uint64_t program;      /* the program's code, data, stacks, files, and what it mapped itself */
	uint64_t unattributed; /* once the fallback is at work: its unused memory, and what the program mapped itself */
	uint64_t resident;     /* their sum */
};

struct ledger_facts {
	struct ledger_resident resident;
	struct ledger_sampling sampling;
	uint64_t sites_count, lives_count, sampled_count, sampled_stacks_count;
	uint64_t lives_at, sampled_at, sampled_stacks_at; /* offsets from here */
	uint64_t requests_at;                             /* struct ledger_requests, from here; 0: none */
	struct ledger_fact sites[];                       /* by number, as the ledger's */
};

static inline struct ledger_life *ledger_lives(const struct ledger_facts *f)
{
	return (struct ledger_life *)((char *)(uintptr_t)f + f->lives_at);
}

static inline struct ledger_sampled *ledger_sampled(const struct ledger_facts *f)
{
	return (struct ledger_sampled *)((char *)(uintptr_t)f + f->sampled_at);
}

static inline struct ledger_sampled_stack *ledger_sampled_stacks(const struct ledger_facts *f)
{
	return (struct ledger_sampled_stack *)((char *)(uintptr_t)f + f->sampled_stacks_at);
}

/* The standard error of its estimate, bytes: the root of its variance. */
static inline uint64_t ledger_sampled_error(const struct ledger_sampled *s)
{
	uint64_t root = 0;
	for (uint64_t bit = UINT64_C(1) << 31; bit; bit >>= 1)
		if ((root | bit) * (root | bit) <= s->spread)
			root |= bit;
	return root;
}

static inline struct ledger_requests *ledger_requests(const struct ledger_facts *f)
{
	return (struct ledger_requests *)((char *)(uintptr_t)f + f->requests_at);
}

struct ledger_header {
	char magic[8];
	uint32_t version;
	uint32_t header_bytes; /* sizeof(struct ledger_header) of the writer */
	uint64_t total_bytes;
	uint64_t classes_at, mappings_at, threads_at, strings_at, sites_at; /* offsets from the header's start */
	uint32_t classes_count, mappings_count, threads_count, strings_used, sites_count, sites_max;
	struct ledger_run run;
	struct ledger_quality quality;
	struct ledger_memory memory;
	struct ledger_tally routes[LEDGER_ROUTES];
	/* Blocks that came to this route from another (or went: negative) when their slab changed hands: for a route,
	 * inuse = inherited + alloc + moved - free. They sum to zero. */
	int64_t routes_moved[LEDGER_ROUTES];
	uint64_t fallback_reasons[LEDGER_REASONS];   /* allocations */
	uint64_t frames_at, stacks_at, stack_ids_at; /* offsets from the header's start */
	uint32_t frames_count, stacks_count, stack_ids_count;
};

static inline struct ledger_class *ledger_classes(const struct ledger_header *l)
{
	return (struct ledger_class *)((char *)(uintptr_t)l + l->classes_at);
}
static inline struct ledger_mapping *ledger_mappings(const struct ledger_header *l)
{
	return (struct ledger_mapping *)((char *)(uintptr_t)l + l->mappings_at);
}
static inline struct ledger_thread *ledger_threads(const struct ledger_header *l)
{
	return (struct ledger_thread *)((char *)(uintptr_t)l + l->threads_at);
}
static inline char *ledger_strings(const struct ledger_header *l)
{
	return (char *)(uintptr_t)l + l->strings_at;
}
static inline struct ledger_frame *ledger_frames(const struct ledger_header *l)
{
	return (struct ledger_frame *)((char *)(uintptr_t)l + l->frames_at);
}
static inline struct ledger_stack *ledger_stacks(const struct ledger_header *l)
{
	return (struct ledger_stack *)((char *)(uintptr_t)l + l->stacks_at);
}
static inline uint32_t *ledger_stack_ids(const struct ledger_header *l)
{
	return (uint32_t *)((char *)(uintptr_t)l + l->stack_ids_at);
}
static inline struct ledger_site *ledger_sites(const struct ledger_header *l)
{
	return (struct ledger_site *)((char *)(uintptr_t)l + l->sites_at);
}

#endif
