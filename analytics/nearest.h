/* nearest.h: what a mistyped word was probably meant to be. */
#ifndef SLUICE_NEAREST_H
#define SLUICE_NEAREST_H

#include <stddef.h>

/* The candidate with the fewest single-letter changes (insert, delete, replace, swap of neighbours) from `word`, if at
 * most a third of its letters, but at least one, differ; else NULL. Candidates may be NULL and are skipped then. */
const char *nearest_match(const char *word, const char *const *candidates, size_t candidates_count);

#endif
