/* terminal.c: what a stream can show; see terminal.h. */
#include "analytics/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct terminal terminal_of(FILE *stream)
{
	struct terminal t = {.stream = stream};
	const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
	struct winsize size;
	if (!isatty(fileno(stream)))
		return t;
	t.colour = !(no_colour && *no_colour) && term && *term && strcmp(term, "dumb") != 0;
	t.columns = 80;
	t.rows = 24;
	if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col && size.ws_row) {
		t.columns = size.ws_col;
		t.rows = size.ws_row;
	}
	return t;
}

const char *terminal_bold(const struct terminal *t)
{
	return t->colour ? "\033[1m" : "";
}

const char *terminal_dim(const struct terminal *t)
{
	return t->colour ? "\033[2m" : "";
}

const char *terminal_plain(const struct terminal *t)
{
	return t->colour ? "\033[0m" : "";
}
