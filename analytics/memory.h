/* memory.h: the command's heap. Running out ends the command with one line and EXIT_WRONG: it holds nothing to save. */
#ifndef SLUICE_MEMORY_H
#define SLUICE_MEMORY_H

#include <stddef.h>

/* Zeroed room for `count` records of `bytes` each; never NULL. Released by free(). */
void *memory_room(size_t count, size_t bytes);

/* As realloc, never NULL. */
void *memory_resize(void *block, size_t bytes);

/* A copy of the text. */
char *memory_text(const char *text);

/* The formatted text, as long as it gets. */
char *memory_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
