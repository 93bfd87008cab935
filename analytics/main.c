/* main.c: the command `sluice`. Everything is in command.c, so that tests can link it; here is only the entry. */
#include "analytics/command.h"

int main(int argc, char **argv)
{
	return command_main(argv + (argc > 0));
}
