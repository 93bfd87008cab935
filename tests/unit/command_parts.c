/* The small parts of the command: numbers for people, nearest matches, flags, options, tables. */
#include "analytics/flags.h"
#include "analytics/human_units.h"
#include "analytics/nearest.h"
#include "analytics/optionset.h"
#include "analytics/table.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Test(human_units, bytes)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{0, "0 B"},
		{999, "999 B"},
		{1000, "0.98 KiB"},
		{1024, "1.00 KiB"},
		{10239, "10.0 KiB"},
		{1023 * 1024, "1.00 MiB"},
		{UINT64_C(999) << 20, "999 MiB"},
		{UINT64_C(1000) << 20, "0.98 GiB"},
		{UINT64_MAX, "16.0 EiB"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_str_eq(human_bytes(cases[i].bytes).text, cases[i].text);
	for (uint64_t bytes = 1; bytes < UINT64_MAX / 3; bytes += bytes / 2 + 1) /* never four digits, never "0.00" */
		cr_expect(strcspn(human_bytes(bytes).text, " ") <= 4 && strncmp(human_bytes(bytes).text, "0.0", 3) != 0);
}

Test(human_units, counts_shares_durations_suffixes)
{
	cr_expect_str_eq(human_count(0).text, "0");
	cr_expect_str_eq(human_count(999).text, "999");
	cr_expect_str_eq(human_count(1000).text, "1,000");
	cr_expect_str_eq(human_count(UINT64_MAX).text, "18,446,744,073,709,551,615");
	cr_expect_str_eq(human_share(0, 0).text, "-");
	cr_expect_str_eq(human_share(0, 5).text, "0 %");
	cr_expect_str_eq(human_share(1, 100000).text, "<0.1 %");
	cr_expect_str_eq(human_share(1, 8).text, "12.5 %");
	cr_expect_str_eq(human_share(99999, 100000).text, "99.9 %");
	cr_expect_str_eq(human_share(7, 7).text, "100 %");
	cr_expect_str_eq(human_duration(0).text, "0 ns");
	cr_expect_str_eq(human_duration(1234567).text, "1.23 ms");
	cr_expect_str_eq(human_duration(UINT64_C(59900000000)).text, "1 min 00 s");
	cr_expect_str_eq(human_duration(UINT64_C(12000000000000)).text, "3 h 20 min");
	cr_expect_str_eq(human_suffix(0).text, "0");
	cr_expect_str_eq(human_suffix(1000).text, "1000");
	cr_expect_str_eq(human_suffix(UINT64_C(64) << 30).text, "64G");
	cr_expect_str_eq(human_suffix(UINT64_C(1) << 50).text, "1024T");
}

Test(nearest, match)
{
	static const char *const words[] = {"run", "report", "doctor", NULL, "help", "sites_max", "site_max"};
	const size_t count = sizeof(words) / sizeof(words[0]);
	cr_expect_str_eq(nearest_match("rnu", words, count), "run");
	cr_expect_str_eq(nearest_match("repotr", words, count), "report");
	cr_expect_str_eq(nearest_match("docter", words, count), "doctor");
	cr_expect_str_eq(nearest_match("hlp", words, count), "help");
	cr_expect_str_eq(nearest_match("sites_mx", words, count), "sites_max");
	cr_expect_str_eq(nearest_match("site_mx", words, count), "site_max");
	cr_expect_null(nearest_match("", words, count));
	cr_expect_null(nearest_match("banana", words, count));
	char longest[5000];
	memset(longest, 'r', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	cr_expect_null(nearest_match(longest, words, count));
}

static const struct flag table_of_flags[] = {
	{"quiet", NULL, "", 'q'},
	{"output", "FILE", "", 'o'},
	{"all", NULL, "", 'a'},
	{0},
};

/* The indices and values that the words give, as text: "0 1=x W=y". */
static const char *flags_text(char **words)
{
	static char text[256];
	struct flags f;
	int flag;
	text[0] = 0;
	flags_open(&f, "test", table_of_flags, words);
	while ((flag = flags_next(&f)) != FLAGS_END && flag != FLAGS_WRONG)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%d%s%s", *text ? " " : "", flag,
		         f.value && flag != 0 && flag != 2 ? "=" : "", f.value && flag != 0 && flag != 2 ? f.value : "");
	if (flag == FLAGS_WRONG)
		strcat(text, " WRONG");
	return text;
}

#define WORDS(...) ((char *[]){__VA_ARGS__, NULL})

Test(flags, forms, .init = cr_redirect_stderr)
{
	cr_expect_str_eq(flags_text(WORDS("--quiet", "--output", "x", "y")), "0 1=x -2=y");
	cr_expect_str_eq(flags_text(WORDS("--output=x=z", "-")), "1=x=z -2=-");
	cr_expect_str_eq(flags_text(WORDS("-qo", "x")), "0 1=x");
	cr_expect_str_eq(flags_text(WORDS("-qaox", "-o", "")), "0 2 1=x 1=");
	cr_expect_str_eq(flags_text(WORDS("--", "--quiet", "--")), "-2=--quiet -2=--");
	cr_expect_str_eq(flags_text(WORDS("y", "-q")), "-2=y 0");
	cr_expect_str_eq(flags_text(WORDS("--quiet=1")), " WRONG");
	cr_expect_str_eq(flags_text(WORDS("--output")), " WRONG");
	cr_expect_str_eq(flags_text(WORDS("-o")), " WRONG");
	cr_expect_str_eq(flags_text(WORDS("-qx")), "0 WRONG");
	cr_expect_str_eq(flags_text(WORDS("--outptu", "x")), " WRONG");
	fflush(stderr);
	cr_assert_stderr_eq_str("sluice: test: --quiet takes no value; try 'sluice help test'\n"
	                        "sluice: test: --output needs a value: --output FILE\n"
	                        "sluice: test: --output needs a value: --output FILE\n"
	                        "sluice: test: no flag -x; try 'sluice help test'\n"
	                        "sluice: test: no flag --outptu; did you mean --output?\n");
}

static const char *merged(const char *first, const char *second)
{
	static char text[256];
	struct optionset set = {0};
	bool good = optionset_add(&set, first, "first") && optionset_add(&set, second, "second");
	char *all = optionset_text(&set);
	snprintf(text, sizeof(text), "%s%s", all, good ? "" : " WRONG");
	free(all);
	optionset_clear(&set);
	return text;
}

Test(optionset, merge, .init = cr_redirect_stderr)
{
	cr_expect_str_eq(merged("decay:5,own:on", "own:off"), "own:off,decay:5");
	cr_expect_str_eq(merged(" range:2g , ,decay:-1", ""), "range:2g,decay:-1");
	cr_expect_str_eq(merged("report:a:b/%p.json", "report:off"), "report:off");
	cr_expect_str_eq(merged("", "range:1024G"), "range:1024G");
	static const char *const wrong[] = {"range:1025G",
	                                    "range:-1",
	                                    "range:1X",
	                                    "range:",
	                                    "range:8388608T",
	                                    "decay:-2",
	                                    "decay:+1",
	                                    "decay: 1",
	                                    "decay",
	                                    "own:yes",
	                                    "own:",
	                                    "report:",
	                                    "decay:1K",
	                                    "banana:1",
	                                    "sites_max:15",
	                                    "Decay:1",
	                                    "decay:99999999999999999999"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_expect_str_eq(merged("", wrong[i]), " WRONG", "%s", wrong[i]);
}

Test(table, cells_line_up_and_the_last_gives_way, .init = cr_redirect_stdout)
{
	static const struct table_column columns[] = {{"n", true}, {"kind", false}, {"name", false}};
	static const char *const cells[] = {"1", "a", "short", "1,000", "", "J\xc3\xbcrgen-is-a-long-name\033[31m",
	                                    "",  "c", ""};
	struct terminal terminal = {.stream = stdout, .columns = 30};
	struct table t;
	table_open(&t, columns, 3);
	for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
		table_cell(&t, cells[i]);
	table_print(&t, &terminal, 1);
	terminal.columns = 0;
	table_print(&t, &terminal, 0);
	table_close(&t);
	fflush(stdout);
	cr_assert_stdout_eq_str("     n  kind  name\n"
	                        "     1  a     short\n"
	                        " 1,000        J\xc3\xbcrgen-is-a-l...\n"
	                        "        c\n"
	                        "    n  kind  name\n"
	                        "    1  a     short\n"
	                        "1,000        J\xc3\xbcrgen-is-a-long-name?[31m\n"
	                        "       c\n");
}
