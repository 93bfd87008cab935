/* conf.c: the parser of SLUICE_CONF="key:value,key:value".
 *
 * It runs in the victim before main, so it allocates nothing and uses no stdio. A wrong option never stops the program:
 * it is named in one line, with the nearest key there is, and ignored.
 */
#define _GNU_SOURCE
#include "conf.h"

#include "pools/apart.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 8192, LINE_MAX_BYTES = 256, KEY_MAX = 32 };

ONCE struct conf conf;

struct option {
	const char *key;
	enum option_type type;
	int64_t value, least, most;
	const char *unit; /* OPT_PATH: the default; OPT_WORD: the words */
	void *home;
};

static const struct option options[] = {
#define X(field, key, type, value, least, most, unit, help) {key, type, value, least, most, unit, &conf.field},
	SLUICE_OPTIONS(X)
#undef X
};

enum { OPTIONS = sizeof(options) / sizeof(options[0]) };

/* A line put together without stdio; too long a text is cut, and nothing in it ends the line. */
static void append(char *line, const char *text, size_t bytes)
{
	size_t at = strlen(line);
	if (bytes > LINE_MAX_BYTES - 1 - at)
		bytes = LINE_MAX_BYTES - 1 - at;
	for (size_t i = 0; i < bytes; i++)
		line[at + i] = (unsigned char)text[i] < ' ' ? '?' : text[i];
	line[at + bytes] = 0;
}

static unsigned distance(const char *a, size_t a_bytes, const char *b)
{
	unsigned row[KEY_MAX + 1], b_bytes = (unsigned)strlen(b);
	if (a_bytes > KEY_MAX || b_bytes > KEY_MAX)
		return KEY_MAX;
	for (unsigned j = 0; j <= b_bytes; j++)
		row[j] = j;
	for (unsigned i = 1; i <= a_bytes; i++) {
		unsigned diagonal = row[0];
		row[0] = i;
		for (unsigned j = 1; j <= b_bytes; j++) {
			unsigned replace = diagonal + (a[i - 1] != b[j - 1]);
			diagonal = row[j];
			unsigned least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
			row[j] = replace < least ? replace : least;
		}
	}
	return row[b_bytes];
}

static const struct option *find(const char *key, size_t bytes, const char **nearest)
{
	unsigned best = KEY_MAX;
	for (int i = 0; i < OPTIONS; i++) {
		unsigned d = distance(key, bytes, options[i].key);
		if (d == 0)
			return &options[i];
		if (d < best) {
			best = d;
			*nearest = options[i].key;
		}
	}
	return NULL;
}

static bool parse_number(const char *text, size_t bytes, enum option_type type, int64_t *value)
{
	bool negative = bytes && *text == '-';
	size_t i = negative;
	uint64_t n = 0;
	if (i == bytes)
		return false;
	for (; i < bytes && text[i] >= '0' && text[i] <= '9'; i++)
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(text[i] - '0'), &n))
			return false;
	if (i == (size_t)negative)
		return false;
	if (type == OPT_BYTES && i + 1 == bytes) {
		const char *suffixes = "KMGT", *at = strchr(suffixes, text[i] & ~0x20);
		if (!at || !*at || __builtin_mul_overflow(n, UINT64_C(1024) << 10 * (at - suffixes), &n))
			return false;
		i++;
	}
	if (i != bytes || n > INT64_MAX)
		return false;
	*value = negative ? -(int64_t)n : (int64_t)n;
	return true;
}

static bool word_is(const char *text, size_t bytes, const char *word)
{
	return strlen(word) == bytes && memcmp(text, word, bytes) == 0;
}

/* The word of that number in "off|auto|turn", and its length. */
static const char *word_at(const char *words, int64_t number, size_t *bytes)
{
	for (; number; number--)
		words = strchr(words, '|') + 1;
	*bytes = strcspn(words, "|");
	return words;
}

static bool set_word(const struct option *option, const char *text, size_t bytes)
{
	for (int64_t number = option->least; number <= option->most; number++) {
		size_t length;
		const char *word = word_at(option->unit, number, &length);
		if (length == bytes && memcmp(word, text, bytes) == 0) {
			*(int64_t *)option->home = number;
			return true;
		}
	}
	return false;
}

static bool set(const struct option *option, const char *text, size_t bytes)
{
	int64_t number;
	switch (option->type) {
	case OPT_PATH:
		if (bytes >= CONF_PATH_MAX || (bytes == 0 && option->unit[0]))
			return false;
		memcpy(option->home, text, bytes);
		((char *)option->home)[bytes] = 0;
		return true;
	case OPT_WORD:
		return set_word(option, text, bytes);
	case OPT_BOOL:
		if (!word_is(text, bytes, "on") && !word_is(text, bytes, "off"))
			return false;
		*(bool *)option->home = word_is(text, bytes, "on");
		return true;
	default:
		if (!parse_number(text, bytes, option->type, &number) || number < option->least || number > option->most)
			return false;
		*(int64_t *)option->home = number;
		return true;
	}
}

static void set_default(const struct option *option)
{
	if (option->type == OPT_PATH)
		strcpy(option->home, option->unit);
	else if (option->type == OPT_BOOL)
		*(bool *)option->home = option->value;
	else
		*(int64_t *)option->home = option->value;
}

static void parse_item(const char *item, size_t bytes, void (*complain)(const char *))
{
	char line[LINE_MAX_BYTES] = "";
	const char *colon = memchr(item, ':', bytes), *nearest = "report";
	size_t key_bytes = colon ? (size_t)(colon - item) : bytes;
	const struct option *option = find(item, key_bytes, &nearest);
	if (!option) {
		append(line, "unknown option '", 16);
		append(line, item, key_bytes);
		append(line, "', did you mean '", 17);
		append(line, nearest, strlen(nearest));
		append(line, "'? (sluice help conf lists them)", 32);
		complain(line);
	} else if (!colon || !set(option, colon + 1, bytes - key_bytes - 1)) {
		append(line, "option '", 8);
		append(line, item, bytes);
		append(line, "': the value does not fit (sluice help conf tells the range)", 60);
		complain(line);
	}
}

static void parse_list(const char *text, char separator, void (*complain)(const char *))
{
	while (*text) {
		const char *end = strchr(text, separator);
		size_t bytes = end ? (size_t)(end - text) : strlen(text);
		while (bytes && (*text == ' ' || *text == '\t'))
			text++, bytes--;
		size_t trimmed = bytes;
		while (trimmed && (text[trimmed - 1] == ' ' || text[trimmed - 1] == '\t' || text[trimmed - 1] == '\r'))
			trimmed--;
		if (trimmed && *text != '#')
			parse_item(text, trimmed, complain);
		text += bytes + (end ? 1 : 0);
	}
}

static void parse_file(const char *path, void (*complain)(const char *))
{
	static APART char text[FILE_MAX];
	char line[LINE_MAX_BYTES] = "cannot read the options in ";
	int saved = errno;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t bytes = fd < 0 ? -1 : read(fd, text, FILE_MAX);
	if (bytes < 0 || bytes == FILE_MAX) { /* half a file might be other options than the whole */
		append(line, path, strlen(path));
		complain(line);
	} else {
		text[bytes] = 0;
		parse_list(text, '\n', complain);
	}
	if (fd >= 0)
		close(fd);
	errno = saved;
}

static void silent(const char *line)
{
	(void)line;
}

void conf_parse(const char *text, void (*complain)(const char *line))
{
	for (int i = 0; i < OPTIONS; i++)
		set_default(&options[i]);
	if (!text)
		return;
	parse_list(text, ',', complain);
	if (conf.conf[0]) {
		parse_file(conf.conf, complain);
		parse_list(text, ',', silent); /* what the environment says wins over the file; it has been complained about */
	}
}

static void write_number(int64_t number, char *text)
{
	char digits[24];
	int n = 0;
	uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
	do
		digits[n++] = (char)('0' + rest % 10);
	while (rest /= 10);
	if (number < 0)
		*text++ = '-';
	while (n)
		*text++ = digits[--n];
	*text = 0;
}

bool conf_show(size_t i, const char **key, char *value)
{
	if (i >= OPTIONS)
		return false;
	const struct option *option = &options[i];
	*key = option->key;
	if (option->type == OPT_PATH)
		strcpy(value, option->home);
	else if (option->type == OPT_BOOL)
		strcpy(value, *(bool *)option->home ? "on" : "off");
	else if (option->type == OPT_WORD) {
		size_t bytes;
		const char *word = word_at(option->unit, *(int64_t *)option->home, &bytes);
		memcpy(value, word, bytes);
		value[bytes] = 0;
	} else
		write_number(*(int64_t *)option->home, value);
	return true;
}
