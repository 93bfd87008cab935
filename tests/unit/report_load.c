/* The reader of reports: what it takes over, what it says of bad files, and 30,000 files that are almost right.
 *
 * The mutations start from tests/fixtures/ and are made by a generator with a fixed seed, so a failure comes again.
 */
#include "analytics/report_load.h"
#include "tests/fixtures/ledger_small.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SMALL_JSON "tests/fixtures/small.json"

static char small_text[1 << 16];
static size_t small_bytes;

static void read_small(void)
{
	FILE *f = fopen(SMALL_JSON, "r");
	cr_assert_not_null(f, "the tests run in the repository's root");
	small_bytes = fread(small_text, 1, sizeof(small_text), f);
	fclose(f);
}

TestSuite(report_load, .init = read_small);

/* The small report with one piece of text replaced by another. Released by the caller. */
static char *changed(const char *from, const char *to, size_t *count)
{
	const char *at = memmem(small_text, small_bytes, from, strlen(from));
	cr_assert_not_null(at, "no %s in the fixture", from);
	size_t before = (size_t)(at - small_text), after = small_bytes - before - strlen(from);
	char *text = malloc(small_bytes + strlen(to));
	*count = before + strlen(to) + after;
	memcpy(text, small_text, before);
	memcpy(text + before, to, strlen(to));
	memcpy(text + before + strlen(to), at + strlen(from), after);
	return text;
}

static void expect(const char *from, const char *to, enum report_result result, const char *part_of_message)
{
	char message[REPORT_MESSAGE_MAX] = "";
	struct report r;
	size_t count;
	char *text = changed(from, to, &count);
	cr_expect_eq(report_parse(&r, text, count, "f.json", message), result, "%s -> %s: %s", from, to, message);
	cr_expect_not_null(strstr(message, part_of_message), "%s -> %s: %s", from, to, message);
	if (result == REPORT_GOOD)
		report_close(&r);
	else
		cr_expect_eq(strncmp(message, "f.json: ", 8), 0);
	free(text);
}

Test(report_load, everything_of_the_ledger_arrives)
{
	static struct small small;
	const struct ledger_header *l = small_fill(&small);
	char message[REPORT_MESSAGE_MAX];
	struct report r;
	cr_assert_eq(report_load(&r, SMALL_JSON, message), REPORT_GOOD, "%s", message);
	cr_expect_eq(memcmp(&r.memory, &l->memory, sizeof(r.memory)), 0);
	cr_expect_eq(memcmp(r.routes, l->routes, sizeof(r.routes)), 0);
	cr_expect_eq(memcmp(r.reasons, l->fallback_reasons, sizeof(r.reasons)), 0);
	cr_assert_eq(r.classes_count, 2); /* the third is idle */
	cr_expect_eq(memcmp(r.classes, small.classes, 2 * sizeof(r.classes[0])), 0);
	cr_assert_eq(r.sites_count, SMALL_SITES - 1);
	for (size_t i = 0; i < r.sites_count; i++) {
		const struct report_site *s = &r.sites[i];
		const struct ledger_site *from = &small.sites[s->id];
		cr_expect_eq(memcmp(&s->tally, &from->tally, sizeof(s->tally)), 0);
		cr_expect_eq(memcmp(s->route_objects, from->route_objects, sizeof(s->route_objects)), 0);
		cr_expect_eq(memcmp(s->route_space, from->route_space, sizeof(s->route_space)), 0);
		cr_expect_eq(s->realloc_objects, from->realloc_objects);
		cr_expect_eq(s->cross_thread_free_objects, from->cross_thread_free_objects);
		cr_expect_eq(s->mapping, from->mapping);
		cr_expect_eq(s->offset, from->offset);
		cr_expect_eq(s->other, from->pc == 0);
	}
	cr_expect_str_eq(r.sites[0].symbol, "basket_add");
	cr_expect_null(r.sites[1].symbol);
	cr_expect_eq(r.sites[3].route, ROUTE_FALLBACK);
	report_close(&r);
}

Test(report_load, run_mappings_and_threads_arrive)
{
	static struct small small;
	const struct ledger_header *l = small_fill(&small);
	char message[REPORT_MESSAGE_MAX];
	struct report r;
	cr_assert_eq(report_load(&r, SMALL_JSON, message), REPORT_GOOD, "%s", message);
	cr_expect_eq(r.run.pid, l->run.pid);
	cr_expect_eq(r.run.start_unix_ns, l->run.start_unix_ns);
	cr_expect_eq(r.run.duration_ns, l->run.duration_ns);
	cr_expect_str_eq(r.run.end, "exit");
	cr_assert_eq(r.run.argc, 3);
	cr_expect_str_eq(r.run.argv[1], "--name=J\xc3\xbcrgen \"J\"");
	cr_expect_str_eq(r.quality.site_counts, "exact");
	cr_assert_eq(r.mappings_count, SMALL_MAPPINGS);
	cr_expect_eq(r.mappings[1].bias, small.mappings[1].bias);
	cr_expect_eq(r.mappings[1].limit, small.mappings[1].limit);
	cr_expect_str_eq(r.mappings[0].build_id, "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3");
	cr_assert_eq(r.threads_count, SMALL_THREADS);
	cr_expect_eq(r.threads[0].end_unix_ns, 0);
	cr_expect_eq(r.threads[1].end_unix_ns, small.threads[1].end_unix_ns);
	cr_expect_str_eq(r.threads[1].name, "fifteen-letters");
	report_close(&r);
}

Test(report_load, unknown_keys_and_newer_minors_are_fine)
{
	expect("\"schema_version\":\"1.3\"", "\"schema_version\":\"1.99\"", REPORT_GOOD, "");
	expect(",\"pressure_trims\":2,", ",", REPORT_GOOD, ""); /* an older one's */
	expect("\"tool_version\"", "\"frames\":[{\"x\":[1,2,{}]}],\"tool_version\"", REPORT_GOOD, "");
	expect("\"id\":0,", "\"id\":0,\"lifetime_ns\":{\"hist_log2\":[1]},", REPORT_GOOD, "");
	expect("\"route\":\"owned\"", "\"route\":\"teleport\"", REPORT_GOOD, "");
	expect("\"threads\":", "\"strands\":", REPORT_GOOD, "");
	expect("\"mapping\":1,", "\"mapping\":77,", REPORT_GOOD, "");
}

Test(report_load, newer_majors_and_foreign_files_are_named)
{
	expect("\"schema_version\":\"1.3\"", "\"schema_version\":\"2.0\"", REPORT_NEWER,
	       "newer sluice (report version 2.0");
	expect("\"schema_version\":\"1.3\"", "\"schema_version\":\"17.3\"", REPORT_NEWER, "17.3");
	expect("\"schema_version\":\"1.3\"", "\"schema_version\":1", REPORT_DAMAGED, "schema_version");
	expect("\"schema_version\":\"1.3\"", "\"schema_version\":\"one\"", REPORT_DAMAGED, "schema_version");
	expect("sluice.report", "heaptrack", REPORT_FOREIGN, "not a report");
	expect("\"schema\":\"sluice.report\",", "", REPORT_FOREIGN, "not a report");
	expect("{\"schema\"", "[{\"schema\"", REPORT_FOREIGN, "not a report");
}

Test(report_load, wrong_types_are_named_with_their_place)
{
	expect("\"pid\":4242", "\"pid\":\"4242\"", REPORT_DAMAGED, "run.pid is not a count");
	expect("\"pid\":4242", "\"pid\":-1", REPORT_DAMAGED, "run.pid is not a count");
	expect("\"pid\":4242", "\"pid\":4242.5", REPORT_DAMAGED, "run.pid is not a count");
	expect("\"pid\":4242", "\"pid\":99999999999999999999", REPORT_DAMAGED, "damaged");
	expect("\"end\":\"exit\"", "\"end\":0", REPORT_DAMAGED, "run.end is not text");
	expect("[\"till\",", "[7,", REPORT_DAMAGED, "run.argv");
	expect("\"forked\":false", "\"forked\":\"no\"", REPORT_DAMAGED, "run.forked");
	expect("\"offset\":\"0x1210\"", "\"offset\":\"1210\"", REPORT_DAMAGED, "sites[1].offset is not an address");
	expect("\"offset\":\"0x1210\"", "\"offset\":\"0x11223344556677889\"", REPORT_DAMAGED, "sites[1].offset");
	expect("\"offset\":\"0x1210\"", "\"offset\":\"0\"", REPORT_DAMAGED, "sites[1].offset");
	expect("\"sites\":[\n", "\"sites\":[7,\n", REPORT_DAMAGED, "sites[0]");
	expect("\"routing\":{", "\"routing\":5,\"x\":{", REPORT_DAMAGED, "report.routing is not an object");
	expect("\"classes\":[", "\"classes\":5,\"x\":[", REPORT_DAMAGED, "report.classes is not a list");
}

Test(report_load, files)
{
	char message[REPORT_MESSAGE_MAX], path[] = "/tmp/sluice-report-XXXXXX";
	struct report r;
	cr_expect_eq(report_load(&r, "/no/such/file", message), REPORT_UNREADABLE);
	cr_expect_str_eq(message, "/no/such/file: No such file or directory");
	cr_expect_eq(report_load(&r, "/", message), REPORT_UNREADABLE);
	cr_expect_eq(report_load(&r, "/dev/zero", message), REPORT_FOREIGN, "read to its end, it has none");
	cr_expect_eq(report_load(&r, "/dev/null", message), REPORT_TRUNCATED);
	int fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	for (size_t cut = 1; cut + 1 < small_bytes; cut += 97) {
		cr_assert_eq(ftruncate(fd, 0), 0);
		cr_assert_eq(pwrite(fd, small_text, cut, 0), (ssize_t)cut);
		cr_expect_eq(report_load(&r, path, message), REPORT_TRUNCATED, "cut at %zu: %s", cut, message);
	}
	close(fd);
	unlink(path);
}

/* Texts lie in memory that each report has for itself, pieces of a fixed size and larger texts beside. */
Test(report_load, reports_side_by_side)
{
	enum { LENGTH = 3 << 20 };
	char message[REPORT_MESSAGE_MAX] = "";
	char *path = malloc(LENGTH + 1);
	struct report first, bad, second;
	size_t count;
	memset(path, 'x', LENGTH);
	path[LENGTH] = 0;
	char *text = changed("/opt/shop/bin/till", path, &count);
	cr_assert_eq(report_parse(&first, text, count, "first", message), REPORT_GOOD, "%s", message);
	cr_expect_eq(report_parse(&bad, text, count / 2, "bad", message), REPORT_TRUNCATED);
	memset(text, 0, count);
	free(text);
	cr_assert_eq(report_parse(&second, small_text, small_bytes, "second", message), REPORT_GOOD, "%s", message);
	cr_expect_str_eq(first.run.exe, path);
	report_close(&first);
	cr_expect_str_eq(second.run.exe, "/opt/shop/bin/till");
	report_close(&second);
	free(path);
}

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* One change: a byte, a cut, a piece moved elsewhere, or a value replaced by one that is trouble. */
static void mutate(char *text, size_t *count, uint64_t *state)
{
	static const char *const troubles[] = {"-1",
	                                       "null",
	                                       "{}",
	                                       "[]",
	                                       "\"\"",
	                                       "1e999",
	                                       "9223372036854775808",
	                                       "\"\\u0000\"",
	                                       "true",
	                                       "\"0xffffffffffffffff\"",
	                                       "[[[[",
	                                       "0"};
	size_t at = random_next(state) % *count, length = random_next(state) % 64;
	length = at + length < *count ? length : *count - at;
	switch (random_next(state) % 6) {
	case 0:
		text[at] = (char)random_next(state);
		break;
	case 1:
		*count = at + 1;
		break;
	case 2:
		memmove(text + random_next(state) % (*count - length + 1), text + at, length);
		break;
	case 3:
		memset(text + at, ' ', length);
		break;
	default: {
		const char *trouble = troubles[random_next(state) % (sizeof(troubles) / sizeof(troubles[0]))];
		char *colon = memchr(text + at, ':', *count - at), *end = colon ? strpbrk(colon, ",}]") : NULL;
		if (end && strlen(trouble) <= (size_t)(end - colon - 1)) {
			memset(colon + 1, ' ', (size_t)(end - colon - 1));
			memcpy(colon + 1, trouble, strlen(trouble));
		}
	}
	}
}

Test(report_load, mutations)
{
	static char text[sizeof(small_text) + 1];
	size_t results[REPORT_DAMAGED + 1] = {0};
	uint64_t state = 2463534242;
	for (int round = 0; round < 30000; round++) {
		char message[REPORT_MESSAGE_MAX] = "";
		struct report r;
		size_t count = small_bytes;
		memcpy(text, small_text, small_bytes);
		text[small_bytes] = 0;
		for (uint64_t changes = 1 + random_next(&state) % 4; changes; changes--)
			mutate(text, &count, &state);
		enum report_result result = report_parse(&r, text, count, "mutated", message);
		results[result]++;
		cr_assert_eq(result == REPORT_GOOD, message[0] == 0);
		cr_assert_null(strchr(message, '\n'), "%s", message);
		if (result == REPORT_GOOD)
			report_close(&r);
	}
	/* Enough got through to the sections, and enough of each kind was turned away. */
	cr_assert_gt(results[REPORT_GOOD], 1000);
	cr_assert_gt(results[REPORT_TRUNCATED], 1000);
	cr_assert_gt(results[REPORT_FOREIGN], 100);
	cr_assert_gt(results[REPORT_DAMAGED], 1000);
}
