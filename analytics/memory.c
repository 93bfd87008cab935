/* memory.c: the command's heap; see memory.h. */
#include "analytics/memory.h"

#include "analytics/message.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *or_end(void *block)
{
	if (!block) {
		message("out of memory");
		exit(EXIT_WRONG);
	}
	return block;
}

void *memory_room(size_t count, size_t bytes)
{
	return or_end(calloc(count ? count : 1, bytes));
}

void *memory_resize(void *block, size_t bytes)
{
	return or_end(realloc(block, bytes ? bytes : 1));
}

char *memory_text(const char *text)
{
	return or_end(strdup(text));
}

char *memory_format(const char *format, ...)
{
	char *text = NULL;
	va_list args;
	va_start(args, format);
	int length = vasprintf(&text, format, args);
	va_end(args);
	return or_end(length < 0 ? NULL : text);
}
