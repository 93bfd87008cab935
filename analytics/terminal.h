/* terminal.h: what a stream can show. On a terminal there are columns and perhaps colours; piped, neither. */
#ifndef SLUICE_TERMINAL_H
#define SLUICE_TERMINAL_H

#include <stdbool.h>
#include <stdio.h>

struct terminal {
	FILE *stream;
	bool colour;
	unsigned columns; /* 0: as wide as it gets */
	unsigned rows;    /* 0: not a terminal */
};

/* Asks the stream. Colours: on a terminal, unless NO_COLOR is set and not empty, or TERM is dumb. */
struct terminal terminal_of(FILE *stream);

/* The escape sequence that begins bold or dim text, or ends both; "" where there are no colours. */
const char *terminal_bold(const struct terminal *t);
const char *terminal_dim(const struct terminal *t);
const char *terminal_plain(const struct terminal *t);

#endif
