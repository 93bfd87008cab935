/* human_units.c: numbers as people read them; see human_units.h.
 *
 * Three digits tell sizes and times apart and line up in columns; counts stay exact. The command never calls
 * setlocale, so the decimal mark is a point everywhere and a piped report is the same on every machine.
 */
#include "analytics/human_units.h"

#include <stdio.h>
#include <string.h>

/* value in the largest unit that it fills, three digits. A unit begins where the one below would need a fourth digit, so
 * 1000 bytes are "0.98 KiB". `step` is the ratio of one unit to the next. */
static struct human three_digits(double value, double step, const char *const *names, size_t names_count)
{
	struct human h;
	size_t i = 0;
	for (; value >= 999.5 && i + 1 < names_count; i++)
		value /= step;
	int decimals = i == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
	snprintf(h.text, sizeof(h.text), "%.*f %s", decimals, value, names[i]);
	return h;
}

struct human human_bytes(uint64_t bytes)
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	return three_digits((double)bytes, 1024, names, sizeof(names) / sizeof(names[0]));
}

struct human human_count(uint64_t count)
{
	struct human h;
	char digits[24];
	int length = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)count);
	char *to = h.text;
	for (int i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = 0;
	return h;
}

struct human human_share(uint64_t part, uint64_t whole)
{
	struct human h;
	double percent = whole ? 100.0 * (double)part / (double)whole : 0;
	if (!whole)
		strcpy(h.text, "-");
	else if (!part)
		strcpy(h.text, "0 %");
	else if (percent < 0.05)
		strcpy(h.text, "<0.1 %");
	else if (percent >= 99.95)
		strcpy(h.text, part == whole ? "100 %" : "99.9 %"); /* 100 is only said of all */
	else
		snprintf(h.text, sizeof(h.text), "%.1f %%", percent);
	return h;
}

struct human human_duration(uint64_t ns)
{
	static const char *const names[] = {"ns", "us", "ms", "s"};
	struct human h;
	uint64_t s = ns / 1000000000 + (ns % 1000000000 >= 500000000);
	if (s < 60)
		return three_digits((double)ns, 1000, names, sizeof(names) / sizeof(names[0]));
	if (s < 3600)
		snprintf(h.text, sizeof(h.text), "%u min %02u s", (unsigned)(s / 60), (unsigned)(s % 60));
	else
		snprintf(h.text, sizeof(h.text), "%llu h %02u min", (unsigned long long)(s / 3600), (unsigned)(s / 60 % 60));
	return h;
}

struct human human_suffix(uint64_t bytes)
{
	static const char suffixes[] = "KMGT";
	struct human h;
	int times = 0;
	while (bytes && bytes % 1024 == 0 && times < 4) {
		bytes /= 1024;
		times++;
	}
	snprintf(h.text, sizeof(h.text), "%llu%.*s", (unsigned long long)bytes, times ? 1 : 0,
	         times ? suffixes + times - 1 : "");
	return h;
}
