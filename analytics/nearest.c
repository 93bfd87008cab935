/* nearest.c: the nearest match by optimal string alignment distance, the textbook table kept to three rows. */
#include "analytics/nearest.h"

#include <string.h>

enum { WORD_MAX = 63 }; /* no flag, option or command is longer; longer words match nothing */

static unsigned min(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Single-letter changes from a to b, both at most WORD_MAX long. */
static unsigned distance(const char *a, const char *b)
{
	unsigned rows[3][WORD_MAX + 1];
	size_t a_length = strlen(a), b_length = strlen(b);
	for (unsigned j = 0; j <= b_length; j++)
		rows[0][j] = j;
	for (unsigned i = 1; i <= a_length; i++) {
		unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];
		row[0] = i;
		for (unsigned j = 1; j <= b_length; j++) {
			row[j] = above[j - 1] + (a[i - 1] != b[j - 1]);
			row[j] = min(row[j], min(above[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = min(row[j], two_above[j - 2] + 1);
		}
	}
	return rows[a_length % 3][b_length];
}

const char *nearest_match(const char *word, const char *const *candidates, size_t candidates_count)
{
	const char *best = NULL;
	unsigned best_distance = 0;
	if (strlen(word) > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < candidates_count; i++) {
		if (!candidates[i] || strlen(candidates[i]) > WORD_MAX)
			continue;
		unsigned d = distance(word, candidates[i]);
		unsigned allowed = (unsigned)strlen(candidates[i]) / 3;
		if (d <= (allowed ? allowed : 1) && (!best || d < best_distance)) {
			best = candidates[i];
			best_distance = d;
		}
	}
	return best;
}
