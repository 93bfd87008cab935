/* Empties its environment and writes a title over its arguments and all of the old environment, as nginx and postgres
 * do. The report must have the arguments and the name of the start.
 */
#include "victim.h"

extern char **environ;

int main(int argc, char **argv)
{
	char *begin = argv[0], *end = argv[argc - 1] + strlen(argv[argc - 1]);
	for (char **e = environ; *e; e++) {
		char *last = *e + strlen(*e);
		end = last > end ? last : end;
	}
	kept(malloc(100));
	memset(begin, 'T', (size_t)(end - begin));
	argv[1] = NULL;
	environ[0] = NULL;
	clearenv();
	for (size_t i = 0; i < 2000; i++) {
		free(kept(malloc(i)));
	}
	return victim_ok();
}
