/* message.h: what the command says when something is wrong: one line on standard error that begins with "sluice: ". */
#ifndef SLUICE_MESSAGE_H
#define SLUICE_MESSAGE_H

/* What the command returns. `sluice run` returns the program's own status instead. */
enum {
	EXIT_OK = 0,
	EXIT_WRONG = 1, /* the file is no good, or doctor says no */
	EXIT_USAGE = 2, /* the command line is wrong; nothing was done */
	EXIT_NOT_RUNNABLE = 126,
	EXIT_NOT_FOUND = 127,
	EXIT_SIGNAL = 128 /* plus the signal's number */
};

/* Writes "sluice: ", the formatted text and a line break to standard error. Control characters in it become "?". */
void message(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Replaces control characters, so that a name out of a report cannot move the cursor. Returns `text`. */
char *message_safe(char *text);

#endif
