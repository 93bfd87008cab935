/* message.c: the one place that writes to standard error in the command's own name; see message.h. */
#include "analytics/message.h"

#include <stdarg.h>
#include <stdio.h>

char *message_safe(char *text)
{
	for (unsigned char *c = (unsigned char *)text; *c; c++)
		if (*c < 0x20 || *c == 0x7f)
			*c = '?';
	return text;
}

void message(const char *format, ...)
{
	char text[2048];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "sluice: %s\n", message_safe(text));
}
