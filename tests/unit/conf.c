/* The options: every kind of value, the defaults of the table, what is wrong said in one line, files, and text that no
 * sane person writes. */
#define _GNU_SOURCE
#include "shim/conf.h"
#include "tests/dice.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COMPLAINTS = 64 };

static char complaints[COMPLAINTS][512];
static int complained;

static void complain(const char *line)
{
	cr_assert_lt(strlen(line), 512);
	cr_assert_null(strchr(line, '\n'), "a complaint is one line");
	if (complained < COMPLAINTS)
		strcpy(complaints[complained], line);
	complained++;
}

static void parse(const char *text)
{
	complained = 0;
	errno = 4711;
	conf_parse(text, complain);
	cr_assert_eq(errno, 4711);
}

/* The text is understood without a word. */
static void accept(const char *text)
{
	parse(text);
	cr_assert_eq(complained, 0, "'%s': %s", text, complaints[0]);
}

/* One complaint, which holds `word`; every option is what it is without the text. */
static void refuse(const char *text, const char *word)
{
	static struct conf before;
	parse(NULL);
	before = conf;
	parse(text);
	cr_assert_eq(complained, 1, "'%s': %d complaints", text, complained);
	cr_assert_not_null(strstr(complaints[0], word), "'%s': %s", text, complaints[0]);
	cr_assert_eq(memcmp(&before, &conf, sizeof(conf)), 0, "'%s' changed an option", text);
}

/* Every option of the table by its text, so that the tests need no list of their own. */
static const char *shown(const char *key)
{
	static char value[CONF_PATH_MAX];
	const char *name;
	for (size_t i = 0; conf_show(i, &name, value); i++)
		if (strcmp(name, key) == 0)
			return value;
	return "(no such option)";
}

Test(conf, defaults_are_the_tables)
{
	parse(NULL);
	cr_assert_eq(complained, 0);
#define IS_OPT_BOOL(field, value, text) cr_assert_eq(conf.field, (bool)value)
#define IS_OPT_BYTES(field, value, text) cr_assert_eq(conf.field, value)
#define IS_OPT_COUNT(field, value, text) cr_assert_eq(conf.field, value)
#define IS_OPT_MS(field, value, text) cr_assert_eq(conf.field, value)
#define IS_OPT_WORD(field, value, text) cr_assert_eq(conf.field, value)
#define IS_OPT_PATH(field, value, text) cr_assert_str_eq(conf.field, text)
#define X(field, key, type, value, least, most, unit, help) IS_##type(field, value, unit);
	SLUICE_OPTIONS(X)
#undef X
}

Test(conf, empty_text_changes_nothing)
{
	static struct conf before;
	parse(NULL);
	before = conf;
	const char *const nothing[] = {"", ",", ",,,", " ", " , \t,", "#", "# report:off"};
	for (size_t i = 0; i < sizeof(nothing) / sizeof(*nothing); i++) {
		accept(nothing[i]);
		cr_assert_eq(memcmp(&before, &conf, sizeof(conf)), 0, "'%s'", nothing[i]);
	}
}

/* Default, least and most of every option of the table, and one step outside. */
static void hold_bounds(const char *key, int64_t least, int64_t most)
{
	char text[128], number[32];
	const int64_t good[] = {least, most};
	for (int i = 0; i < 2; i++) {
		snprintf(number, sizeof(number), "%ld", (long)good[i]);
		snprintf(text, sizeof(text), "%s:%s", key, number);
		accept(text);
		cr_assert_str_eq(shown(key), number);
	}
	snprintf(text, sizeof(text), "%s:%ld", key, (long)least - 1);
	refuse(text, key);
	if (most < INT64_MAX) {
		snprintf(text, sizeof(text), "%s:%ld", key, (long)most + 1);
		refuse(text, key);
	}
}

Test(conf, every_number_of_the_table_keeps_its_bounds)
{
#define BOUNDS_OPT_BOOL(key, least, most)
#define BOUNDS_OPT_BYTES(key, least, most) hold_bounds(key, least, most)
#define BOUNDS_OPT_COUNT(key, least, most) hold_bounds(key, least, most)
#define BOUNDS_OPT_MS(key, least, most) hold_bounds(key, least, most)
#define BOUNDS_OPT_WORD(key, least, most)
#define BOUNDS_OPT_PATH(key, least, most)
#define X(field, key, type, value, least, most, unit, help) BOUNDS_##type(key, least, most);
	SLUICE_OPTIONS(X)
#undef X
}

Test(conf, words_are_those_of_the_table)
{
	static const char *const words[] = {"off", "auto", "turn"};
	for (int64_t i = 0; i < 3; i++) {
		char text[32];
		snprintf(text, sizeof(text), "request:%s", words[i]);
		accept(text);
		cr_assert_eq(conf.request, i);
		cr_assert_str_eq(shown("request"), words[i]);
	}
	const char *const wrong[] = {"request:on",    "request:",         "request:tur",
	                             "request:turns", "request:off|auto", "request:1"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		refuse(wrong[i], "request");
}

Test(conf, bytes_take_suffixes)
{
	static const struct {
		const char *text;
		int64_t value;
	} good[] = {{"0", 0},         {"4096", 4096},   {"1K", 1024},   {"1k", 1024},          {"3M", 3 << 20},
	            {"2g", 2L << 30}, {"1T", 1L << 40}, {"007K", 7168}, {"1024G", 1024L << 30}};
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		char text[64];
		snprintf(text, sizeof(text), "range:%s", good[i].text);
		accept(text);
		cr_assert_eq(conf.range, good[i].value, "%s", text);
	}
}

Test(conf, wrong_numbers_are_refused)
{
	const char *const wrong[] = {"",
	                             "x",
	                             "-",
	                             "K",
	                             "1KK",
	                             "1B",
	                             "0x10",
	                             "1.5M",
	                             "1 2",
	                             "+1",
	                             "-1K",
	                             "--1",
	                             "1025G",
	                             "9T",
	                             "99999999999999999999",
	                             "18446744073709551615",
	                             "16777216T",
	                             "1\x01"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		char text[64];
		snprintf(text, sizeof(text), "range:%s", wrong[i]);
		refuse(text, "range");
	}
	refuse("owned_max:1K", "owned_max"); /* a count takes no suffix */
	refuse("decay:1K", "decay");
	refuse("range", "range"); /* no value at all */
}

Test(conf, never_is_minus_one)
{
	accept("decay:-1");
	cr_assert_eq(conf.decay, -1);
	refuse("decay:-2", "decay");
}

Test(conf, switches_are_on_or_off)
{
	accept("own:off,verbose:on");
	cr_assert(!conf.own && conf.verbose);
	accept("own:on,verbose:off");
	cr_assert(conf.own && !conf.verbose);
	const char *const wrong[] = {"own:", "own:1", "own:yes", "own:ON", "own:onn", "own:o", "own:off ,own:of"};
	for (size_t i = 0; i + 1 < sizeof(wrong) / sizeof(*wrong); i++)
		refuse(wrong[i], "own");
}

Test(conf, paths_are_text_up_to_the_comma)
{
	accept("report:/a/b: c=%p.json,own:off");
	cr_assert_str_eq(conf.report, "/a/b: c=%p.json");
	cr_assert_not(conf.own);
	refuse("report:", "report"); /* no name is no place; `off` is how to say none */
	char text[CONF_PATH_MAX + 16] = "report:";
	memset(text + 7, 'x', CONF_PATH_MAX - 1);
	accept(text);
	cr_assert_eq(strlen(conf.report), CONF_PATH_MAX - 1);
	memset(text + 7, 'x', CONF_PATH_MAX);
	refuse(text, "report");
}

Test(conf, the_last_of_a_key_wins_and_blanks_do_not_matter)
{
	accept(" decay:5,\towned_max:7 , decay:6 ");
	cr_assert_eq(conf.decay, 6);
	cr_assert_eq(conf.owned_max, 7);
}

Test(conf, what_is_wrong_does_not_stop_the_rest)
{
	parse("nonsense,decay:7,range:much,own:off");
	cr_assert_eq(complained, 2);
	cr_assert_eq(conf.decay, 7);
	cr_assert_not(conf.own);
}

Test(conf, unknown_keys_name_the_nearest)
{
	refuse("repotr:off", "'report'");
	refuse("decy:5", "'decay'");
	refuse("pool-max:5", "'pool_max'");
	refuse("Sites_Max:99", "'sites_max'");
	refuse(":5", "unknown option ''");
	refuse("reports:x", "'report'");
	refuse("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx:1",
	       "unknown option");
}

Test(conf, show_is_the_effective_value_of_every_option)
{
	parse("decay:-1,report:x.json,own:off,range:1G");
	static const char *const keys[] = {
#define X(field, key, type, value, least, most, unit, help) key,
		SLUICE_OPTIONS(X)
#undef X
	};
	char value[CONF_PATH_MAX];
	const char *key;
	size_t n = sizeof(keys) / sizeof(*keys);
	for (size_t i = 0; i < n; i++) {
		cr_assert(conf_show(i, &key, value));
		cr_assert_str_eq(key, keys[i]);
	}
	cr_assert_not(conf_show(n, &key, value));
	cr_assert_str_eq(shown("decay"), "-1");
	cr_assert_str_eq(shown("report"), "x.json");
	cr_assert_str_eq(shown("own"), "off");
	cr_assert_str_eq(shown("range"), "1073741824");
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static char folder[] = "/tmp/sluice-conf-XXXXXX", path[64], text_of_path[96];

static void folder_make(void)
{
	cr_assert_not_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/options", folder);
	snprintf(text_of_path, sizeof(text_of_path), "conf:%s", path);
}

static void folder_remove(void)
{
	unlink(path);
	rmdir(folder);
}

TestSuite(conf_file, .init = folder_make, .fini = folder_remove);

static void write_file(const char *text, size_t bytes)
{
	FILE *file = fopen(path, "w");
	cr_assert_not_null(file);
	cr_assert_eq(fwrite(text, 1, bytes, file), bytes);
	cr_assert_eq(fclose(file), 0);
}

static void write_text(const char *text)
{
	write_file(text, strlen(text));
}

Test(conf_file, one_option_a_line)
{
	write_text("# mine\ndecay:9\n\n  owned_max:3\t\r\nreport:a,b.json\n#own:off");
	accept(text_of_path);
	cr_assert_eq(conf.decay, 9);
	cr_assert_eq(conf.owned_max, 3);
	cr_assert_str_eq(conf.report, "a,b.json", "a comma is nothing special in a file");
	cr_assert(conf.own);
}

Test(conf_file, the_environment_wins)
{
	char text[128];
	write_text("decay:9\nowned_max:3\n");
	snprintf(text, sizeof(text), "decay:5,%s", text_of_path);
	accept(text);
	cr_assert_eq(conf.decay, 5);
	cr_assert_eq(conf.owned_max, 3);
}

Test(conf_file, what_is_wrong_in_it_is_said_once)
{
	write_text("decay:much\nunknown:1\nowned_max:3");
	parse(text_of_path);
	cr_assert_eq(complained, 2, "%d", complained);
	cr_assert_eq(conf.owned_max, 3);
}

Test(conf_file, what_is_wrong_in_the_environment_is_said_once_too)
{
	char text[128];
	write_text("owned_max:3");
	snprintf(text, sizeof(text), "decay:much,%s", text_of_path);
	parse(text);
	cr_assert_eq(complained, 1, "%d times: %s", complained, complaints[0]);
}

Test(conf_file, one_that_is_not_there_is_one_complaint)
{
	parse(text_of_path);
	cr_assert_eq(complained, 1);
	cr_assert_not_null(strstr(complaints[0], path), "%s", complaints[0]);
	parse("conf:/");
	cr_assert_eq(complained, 1, "a folder is no file");
}

Test(conf_file, a_file_names_no_further_file)
{
	char text[128];
	snprintf(text, sizeof(text), "conf:%s\ndecay:9\n", path);
	write_text(text);
	parse(text_of_path);
	cr_assert_eq(conf.decay, 9);
}

/* What does not fit into the parser's buffer must not be half understood. */
Test(conf_file, too_long_a_file_is_said)
{
	static char text[20000];
	memset(text, '#', sizeof(text));
	memcpy(text + sizeof(text) - 11, "\ndecay:12345", 11); /* cut anywhere it would be another number */
	write_file(text, sizeof(text));
	parse(text_of_path);
	cr_assert_eq(complained, 1);
	cr_assert_eq(conf.decay, 1000);
	memset(text, '\n', sizeof(text));
	memcpy(text + 8191 - 8, "decay:12345\n", 12);
	write_file(text, sizeof(text));
	parse(text_of_path);
	cr_assert_eq(complained, 1);
	cr_assert_eq(conf.decay, 1000);
}

/* --- anything ----------------------------------------------------------------------------------------------------- */

static void random_texts(uint64_t seed, int count)
{
	static const char *const words[] = {"report",
	                                    "decay",
	                                    "own",
	                                    "range",
	                                    ":",
	                                    ":",
	                                    ",",
	                                    "off",
	                                    "on",
	                                    "1",
	                                    "99999999999",
	                                    "-",
	                                    "K",
	                                    "#",
	                                    " ",
	                                    "\t",
	                                    "\n",
	                                    "\r",
	                                    "conf:/dev/null",
	                                    "\xff",
	                                    "pool_max",
	                                    "x",
	                                    "''"};
	struct dice dice = dice_of(seed);
	char text[2048];
	for (int i = 0; i < count; i++) {
		text[0] = 0;
		for (uint64_t n = dice_below(&dice, 40); n--;)
			strcat(text, words[dice_below(&dice, sizeof(words) / sizeof(*words))]);
		parse(text);
		cr_assert_leq(conf.range, INT64_C(1024) << 30, "seed %lu, text %d: '%s'", seed, i, text);
		cr_assert_geq(conf.decay, -1, "seed %lu, text %d: '%s'", seed, i, text);
		cr_assert_not_null(memchr(conf.report, 0, CONF_PATH_MAX));
	}
}

Test(conf, random_texts_leave_sane_options)
{
	random_texts(1, 20000);
}

Test(conf, very_long_items_are_cut_in_the_complaint_only)
{
	static char text[100000];
	memset(text, 'a', sizeof(text) - 1);
	memcpy(text + 50000, ",decay:3,", 9);
	parse(text);
	cr_assert_eq(complained, 2);
	cr_assert_eq(conf.decay, 3);
}
