/* table.c: text in aligned columns; see table.h. A running-out of memory ends the command with one line, as everywhere
 * in it: there is nothing to save.
 */
#include "analytics/table.h"

#include "analytics/memory.h"
#include "analytics/message.h"

#include <stdlib.h>
#include <string.h>

enum { COLUMN_GAP = 2, LAST_COLUMN_MIN = 16 };

void table_open(struct table *t, const struct table_column *columns, size_t columns_count)
{
	*t = (struct table){.columns = columns, .columns_count = columns_count};
}

void table_close(struct table *t)
{
	for (size_t i = 0; i < t->cells_count; i++)
		free(t->cells[i]);
	free(t->cells);
	*t = (struct table){0};
}

void table_cell(struct table *t, const char *text)
{
	if (t->cells_count == t->cells_room) {
		t->cells_room = t->cells_room * 2 + 64;
		t->cells = memory_resize(t->cells, t->cells_room * sizeof(t->cells[0]));
	}
	t->cells[t->cells_count++] = message_safe(memory_text(text));
}

/* Columns that a text takes on the screen: its code points, which is right for what symbols and paths consist of. */
static size_t width(const char *text)
{
	size_t n = 0;
	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

/* Bytes of the first `columns` code points. */
static int prefix_bytes(const char *text, size_t columns)
{
	const char *end = text;
	while (*end && (columns || ((unsigned char)*end & 0xc0) == 0x80)) {
		if (((unsigned char)*end & 0xc0) != 0x80)
			columns--;
		end++;
	}
	return (int)(end - text);
}

static void print_row(const struct table *t, FILE *stream, const char *const *cells, const size_t *widths,
                      unsigned indent)
{
	size_t pending = indent; /* blanks owed: written only when text follows */
	for (size_t i = 0; i < t->columns_count; i++) {
		size_t text = width(cells[i]), shown = text < widths[i] ? text : widths[i];
		if (i)
			pending += COLUMN_GAP;
		if (t->columns[i].right)
			pending += widths[i] - shown;
		if (text)
			fprintf(stream, "%*s", (int)pending, "");
		if (text > shown && shown > 3)
			fprintf(stream, "%.*s...", prefix_bytes(cells[i], shown - 3), cells[i]);
		else
			fprintf(stream, "%.*s", prefix_bytes(cells[i], shown), cells[i]);
		pending = (text ? 0 : pending) + (t->columns[i].right ? 0 : widths[i] - shown);
	}
	fputc('\n', stream);
}

void table_print(const struct table *t, const struct terminal *terminal, unsigned indent)
{
	size_t widths[TABLE_COLUMNS_MAX], total = indent, last = t->columns_count - 1;
	const char *titles[TABLE_COLUMNS_MAX];
	for (size_t i = 0; i < t->columns_count; i++) {
		titles[i] = t->columns[i].title;
		widths[i] = width(titles[i]);
		for (size_t cell = i; cell < t->cells_count; cell += t->columns_count)
			widths[i] = widths[i] > width(t->cells[cell]) ? widths[i] : width(t->cells[cell]);
		total += widths[i] + (i ? COLUMN_GAP : 0);
	}
	if (terminal->columns && total > terminal->columns && !t->columns[last].right) {
		size_t excess = total - terminal->columns;
		size_t most = widths[last] > LAST_COLUMN_MIN ? widths[last] - LAST_COLUMN_MIN : 0;
		widths[last] -= excess < most ? excess : most;
	}
	fputs(terminal_dim(terminal), terminal->stream);
	print_row(t, terminal->stream, titles, widths, indent);
	fputs(terminal_plain(terminal), terminal->stream);
	for (size_t row = 0; row + t->columns_count <= t->cells_count; row += t->columns_count)
		print_row(t, terminal->stream, (const char *const *)t->cells + row, widths, indent);
}
