/* The reader of reports: frames, stacks, and the sites' places in them; hostile ones are turned away. */
#include "analytics/report_load.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char whole[] =
	"{\"schema\":\"sluice.report\",\"schema_version\":\"1.3\","
	"\"mappings\":[{\"path\":\"/bin/a\"},{\"path\":\"/lib/b.so\"}],"
	"\"sites\":[{\"id\":3,\"mapping\":1,\"offset\":\"0x10\",\"stack\":1,\"key_frames\":2},"
	"{\"id\":4,\"mapping\":0,\"offset\":\"0x20\",\"stack\":0},{\"id\":5,\"stack\":null},{\"id\":6}],"
	"\"frames\":[{\"id\":0,\"mapping\":0,\"offset\":\"0x20\",\"symbol\":\"main\",\"symbol_offset\":7},"
	"{\"id\":1,\"mapping\":1,\"offset\":\"0x10\",\"symbol\":null,\"symbol_offset\":0},"
	"{\"mapping\":null,\"offset\":\"0x7f0000000000\"}],"
	"\"stacks\":[{\"id\":0,\"frames\":[0],\"truncated\":false},{\"id\":1,\"frames\":[1,0,2,2],\"truncated\":true}]}";

Test(report_stacks, arrive)
{
	char message[REPORT_MESSAGE_MAX];
	struct report r;
	cr_assert_eq(report_parse(&r, whole, sizeof(whole) - 1, "f.json", message), REPORT_GOOD, "%s", message);
	cr_assert_eq(r.frames_count, 3);
	cr_assert_eq(r.stacks_count, 2);
	cr_expect_str_eq(r.frames[0].symbol, "main");
	cr_expect_eq(r.frames[0].symbol_offset, 7);
	cr_expect_eq(r.frames[1].mapping, 1);
	cr_expect_eq(r.frames[1].offset, 0x10);
	cr_expect_null(r.frames[1].symbol);
	cr_expect_eq(r.frames[2].mapping, LEDGER_NONE);
	cr_expect_eq(r.stacks[0].count, 1);
	cr_expect_not(r.stacks[0].truncated);
	cr_assert_eq(r.stacks[1].count, 4);
	cr_expect_eq(memcmp(r.stacks[1].frames, (uint32_t[]){1, 0, 2, 2}, 4 * sizeof(uint32_t)), 0);
	cr_expect(r.stacks[1].truncated);
	cr_expect_eq(r.sites[0].stack, 1);
	cr_expect_eq(r.sites[0].key_frames, 2);
	cr_expect_eq(r.sites[1].stack, 0);
	cr_expect_eq(r.sites[1].key_frames, 1, "what a report does not say");
	cr_expect_eq(r.sites[2].stack, LEDGER_NONE);
	cr_expect_eq(r.sites[3].stack, LEDGER_NONE);
	report_close(&r);
}

/* Puts `to` in the place of a piece of the report. */
static void replaced(char *text, size_t bytes, const char *from, const char *to)
{
	const char *at = strstr(whole, from);
	cr_assert_not_null(at, "%s", from);
	snprintf(text, bytes, "%.*s%s%s", (int)(at - whole), whole, to, at + strlen(from));
}

Test(report_stacks, that_end_before_the_key_are_left_out)
{
	static const char *const changes[][2] = {
		{"\"key_frames\":2", "\"key_frames\":5"},
		{"\"key_frames\":2", "\"key_frames\":9223372036854775807"},
		{"[1,0,2,2]", "[1]"},
		{"[1,0,2,2]", "[]"},
	};
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		char text[sizeof(whole) + 256], message[REPORT_MESSAGE_MAX] = "";
		struct report r;
		replaced(text, sizeof(text), changes[i][0], changes[i][1]);
		cr_assert_eq(report_parse(&r, text, strlen(text), "f.json", message), REPORT_GOOD, "%s", message);
		cr_expect_eq(r.sites[0].stack, LEDGER_NONE, "%s", changes[i][1]);
		cr_expect_eq(r.sites[1].stack, 0);
		report_close(&r);
	}
}

/* The report with one piece replaced is damaged, for that reason. */
static void expect(const char *from, const char *to, const char *reason)
{
	char text[sizeof(whole) + 256], message[REPORT_MESSAGE_MAX] = "";
	struct report r;
	replaced(text, sizeof(text), from, to);
	cr_assert_eq(report_parse(&r, text, strlen(text), "f.json", message), REPORT_DAMAGED, "%s -> %s", from, to);
	cr_expect_not_null(strstr(message, reason), "%s -> %s: %s", from, to, message);
}

Test(report_stacks, that_cannot_be_are_named)
{
	const char *no_table = "is not in the table that it points into";
	expect("\"stack\":1", "\"stack\":2", no_table);
	expect("\"stack\":1", "\"stack\":4294967295", "sites[0].stack is not in the table");
	expect("\"stack\":1", "\"stack\":4294967296", no_table);
	expect("\"stack\":1", "\"stack\":-1", "sites[0].stack is not a count");
	expect("\"stack\":1", "\"stack\":\"1\"", "sites[0].stack is not a count");
	expect("\"key_frames\":2", "\"key_frames\":-2", "sites[0].key_frames is not a count");
	expect("\"id\":1,\"mapping\":1", "\"id\":1,\"mapping\":2", "frames[1].mapping is not in the table");
	expect("\"id\":1,\"mapping\":1", "\"id\":2,\"mapping\":1", "frames[1].id is not its place");
	expect("\"offset\":\"0x7f", "\"offset\":\"7f", "frames[2].offset is not an address");
	expect("[1,0,2,2]", "[1,0,3,2]", "stacks[1].frames holds something else than indices");
	expect("[1,0,2,2]", "[1,-1]", "stacks[1].frames holds something else");
	expect("[1,0,2,2]", "[1,null]", "stacks[1].frames holds something else");
	expect("[1,0,2,2]", "[1,4294967297]", "stacks[1].frames holds something else");
	expect("[1,0,2,2]", "{\"0\":1}", "stacks[1].frames is not a list");
	expect("\"frames\":[1,0,2,2],", "", "stacks[1].frames is not a list");
	expect("\"truncated\":true", "\"truncated\":1", "stacks[1].truncated");
	expect("\"stacks\":[{\"id\":0", "\"stacks\":[{\"id\":7", "stacks[0].id is not its place");
	expect("\"frames\":[{\"id\":0", "\"frames\":[7,{\"id\":0", "frames[0]");
	expect("\"frames\":[{", "\"framed\":[{", "stacks[0].frames holds something else");
	expect("\"stacks\":[", "\"stacked\":[", "sites[0].stack is not in the table");
}
