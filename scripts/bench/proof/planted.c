/* planted.c: a program that spends nearly all of its time in known work: `planted ROUNDS TURNS` calls malloc and free
 * once for every TURNS turns of spin(), so that slow_malloc.c can slow it down by a share that is known beforehand.
 */
#include "spin.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	if (argc != 3) {
		fputs("usage: planted ROUNDS TURNS\n", stderr);
		return 2;
	}
	unsigned long rounds = strtoul(argv[1], NULL, 10), turns = strtoul(argv[2], NULL, 10);
	for (unsigned long i = 0; i < rounds; i++) {
		volatile char *p = malloc(i % 100 + 1);
		*p = 1;
		spin(turns);
		free((void *)p);
	}
	printf("%lu rounds of %lu turns\n", rounds, turns);
	return 0;
}
