/* The renderer: one ledger against the report that is kept, and ledgers that lie about their own size.
 *
 * SLUICE_WRITE_FIXTURES=1 writes tests/fixtures/small.json anew, after a change that is meant.
 */
#include "analytics/render.h"
#include "tests/fixtures/ledger_small.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SMALL_JSON "tests/fixtures/small.json"

struct sink {
	char *bytes;
	size_t used, room;
};

static int to_sink(void *context, const char *bytes, size_t count)
{
	struct sink *s = context;
	if (s->used + count >= s->room)
		s->bytes = realloc(s->bytes, s->room = (s->used + count) * 2 + 1);
	memcpy(s->bytes + s->used, bytes, count);
	s->used += count;
	s->bytes[s->used] = 0;
	return 0;
}

/* The report as text, released by the caller, or NULL when the renderer refused. */
static char *render_with(const struct ledger_header *l, const struct ledger_facts *facts)
{
	struct sink sink = {0};
	struct json_out out;
	char buffer[512];
	json_out_open(&out, buffer, sizeof(buffer), to_sink, &sink);
	int error = render_report(l, facts, &out);
	cr_assert(error == 0 || (error == EINVAL && !sink.used));
	return sink.bytes;
}

static char *render(const struct ledger_header *l)
{
	return render_with(l, NULL);
}

static json_t *parse(const char *text)
{
	json_error_t error;
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	cr_assert_not_null(root, "%s (line %d)", error.text, error.line);
	return root;
}

static char *file_text(const char *path)
{
	FILE *f = fopen(path, "r");
	static char text[1 << 16];
	size_t used = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	if (f)
		fclose(f);
	text[used] = 0;
	return text;
}

Test(render, small_ledger_gives_the_kept_report)
{
	static struct small small;
	static struct small_facts facts;
	small_fill(&small);
	char *text = render_with(&small.header, small_facts_fill(&facts, &small));
	if (getenv("SLUICE_WRITE_FIXTURES")) {
		FILE *f = fopen(SMALL_JSON, "w");
		cr_assert_not_null(f);
		fputs(text, f);
		fclose(f);
	}
	cr_assert_str_eq(text, file_text(SMALL_JSON));
	free(text);
}

Test(render, a_site_a_line_other_last_idle_ones_left_out)
{
	static struct small small;
	char *text = render(small_fill(&small));
	json_t *sites = json_object_get(parse(text), "sites");
	cr_assert_eq(json_array_size(sites), SMALL_SITES - 1);
	for (size_t i = 0; i < json_array_size(sites); i++) {
		json_t *other = json_object_get(json_array_get(sites, i), "other");
		cr_expect_eq(json_is_true(other), i + 1 == json_array_size(sites));
	}
	for (char *line = strstr(text, "\"sites\":[\n") + 10; *line != ']'; line = strchr(line, '\n') + 1)
		cr_expect_eq(strncmp(line, "{\"id\":", 6), 0);
	cr_expect_null(strstr(text, "never_called"));
	free(text);
}

Test(render, without_facts_their_keys_are_missing)
{
	static struct small small;
	char *text = render(small_fill(&small));
	cr_expect_null(strstr(text, "max_space"));
	cr_expect_null(strstr(text, "hist_log2"));
	free(text);
}

Test(render, not_a_ledger)
{
	static struct small small;
	small_fill(&small);
	small.header.magic[3] ^= 1;
	cr_expect_null(render(&small.header));
	small_fill(&small);
	small.header.version++;
	cr_expect_null(render(&small.header));
	small_fill(&small);
	small.header.header_bytes -= 8;
	cr_expect_null(render(&small.header));
	small_fill(&small);
	small.header.total_bytes = 8;
	cr_expect_null(render(&small.header));
}

Test(render, ends)
{
	static const struct {
		uint32_t end, signal;
		const char *text;
	} cases[] = {
		{END_LIVE, 0, "live"},     {END_EXIT, 0, "exit"}, {END_SIGNAL, 9, "signal:9"}, {END_SIGNAL, 64, "signal:64"},
		{END_KILLED, 0, "killed"}, {END_EXEC, 0, "exec"}, {4711, 0, "live"},
	};
	static struct small small;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		small_fill(&small);
		small.header.run.end = cases[i].end;
		small.header.run.signal = cases[i].signal;
		char *text = render(&small.header);
		json_t *run = json_object_get(parse(text), "run");
		cr_expect_str_eq(json_string_value(json_object_get(run, "end")), cases[i].text);
		free(text);
	}
}

Test(render, counts_past_what_readers_hold_are_cut)
{
	static struct small small;
	small_fill(&small);
	small.sites[0].tally.inuse_objects = UINT64_MAX; /* as a race between an alloc and a free would leave it */
	char *text = render(&small.header);
	json_t *site = json_array_get(json_object_get(parse(text), "sites"), 0);
	cr_expect_eq(json_integer_value(json_object_get(site, "inuse_objects")), INT64_MAX);
	free(text);
}

/* --- ledgers that lie: placed so that the first byte past their end cannot be read ----------------------------------- */

/* A copy of a ledger of `bytes` bytes that ends where an unreadable page begins. */
static struct ledger_header *at_edge(const void *from, size_t bytes)
{
	static char *area;
	size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (sizeof(struct small) + page) / page * page;
	if (!area) {
		area = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		cr_assert_neq((void *)area, MAP_FAILED);
		mprotect(area + room, page, PROT_NONE);
	}
	bytes &= ~(size_t)7;
	return memcpy(area + room - bytes, from, bytes);
}

Test(render, cut_at_every_length)
{
	static struct small small;
	small_fill(&small);
	for (size_t bytes = sizeof(struct ledger_header); bytes <= sizeof(small); bytes += 8) {
		struct ledger_header *l = at_edge(&small, bytes);
		l->total_bytes = bytes;
		char *text = render(l);
		json_decref(parse(text));
		free(text);
	}
}

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

Test(render, corrupt_counts_and_offsets)
{
	static const uint64_t bad[] = {0,
	                               1,
	                               7,
	                               0x7fffffff,
	                               UINT32_MAX,
	                               UINT32_MAX - 1,
	                               UINT64_MAX,
	                               INT64_MAX,
	                               UINT64_MAX - 7,
	                               1 << 20,
	                               65536,
	                               4096,
	                               sizeof(struct small),
	                               sizeof(struct small) - 8,
	                               sizeof(struct ledger_header)};
	static struct small small;
	uint64_t state = 88172645463325252;
	for (int round = 0; round < 20000; round++) {
		small_fill(&small);
		for (uint64_t changes = random_next(&state) % 8; changes; changes--) {
			uint64_t value = bad[random_next(&state) % (sizeof(bad) / sizeof(bad[0]))];
			size_t wide = random_next(&state) % 2 ? 4 : 8;
			/* half the changes hit the part of the header that says where things are */
			size_t span = random_next(&state) % 2 ? 96 : sizeof(small) - 8;
			memcpy((char *)&small + random_next(&state) % (span / 4) * 4, &value, wide);
		}
		small.header.total_bytes = sizeof(small); /* the caller vouches for it */
		char *text = render(at_edge(&small, sizeof(small)));
		if (text)
			json_decref(parse(text));
		free(text);
	}
}
