/* forked.h: a part of a test in a child process: because it spoils what the process needs, or because fork is the test.
 */
#ifndef FORKED_H
#define FORKED_H

/* The wait status of a child that exits with what `run` returns; 0: all was well. */
int forked(int (*run)(void));

/* The same between two fork handlers. `run` calls that of the child itself. */
int forked_between(void (*prepare)(void), int (*run)(void), void (*parent)(void));

/* In a function for `forked`: returns the line whose condition does not hold, so that it is the child's exit status. */
#define HOLDS(what)                                                                                                    \
	do {                                                                                                               \
		if (!(what))                                                                                                   \
			return __LINE__ % 255 + 1;                                                                                 \
	} while (0)

#endif
