/* table.h: text in aligned columns. Filled cell by cell, printed once; the last column gives way on a narrow terminal. */
#ifndef SLUICE_TABLE_H
#define SLUICE_TABLE_H

#include "analytics/terminal.h"

enum { TABLE_COLUMNS_MAX = 16 };

struct table_column {
	const char *title;
	bool right; /* numbers stand at the right */
};

struct table {
	const struct table_column *columns;
	size_t columns_count;
	char **cells; /* row by row */
	size_t cells_count, cells_room;
};

/* The columns, at most TABLE_COLUMNS_MAX, must outlive the table. */
void table_open(struct table *t, const struct table_column *columns, size_t columns_count);
void table_close(struct table *t);

/* Adds a cell, left to right and then the next row. The text is copied; control characters become "?". */
void table_cell(struct table *t, const char *text);

/* Prints titles and rows, each line after `indent` spaces, no blanks at the ends of lines. */
void table_print(const struct table *t, const struct terminal *terminal, unsigned indent);

#endif
