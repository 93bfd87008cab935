/* A plain program with a bit of everything: threads, stdio, strdup, getline, qsort, realloc. For runs in odd company. */
#include "victim.h"

#include <pthread.h>

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void *body(void *arg)
{
	enum { LINES = 2000 };
	char **lines = NULL, *line = NULL, *text = NULL;
	size_t room = 0, bytes = 0;
	FILE *f = open_memstream(&text, &bytes);
	for (int i = 0; i < LINES; i++) {
		fprintf(f, "%d line %d of thread %p\n", i * 7919 % LINES, i, arg);
	}
	fclose(f);
	f = fmemopen(text, bytes, "r");
	for (size_t i = 0; getline(&line, &room, f) > 0; i++) {
		lines = realloc(lines, (i + 1) * sizeof(*lines));
		lines[i] = strdup(line);
	}
	fclose(f);
	qsort(lines, LINES, sizeof(*lines), by_text);
	for (int i = 0; i < LINES; i++) {
		CHECK(i == 0 || strcmp(lines[i - 1], lines[i]) < 0, "the lines are not sorted");
		if (i) {
			free(lines[i - 1]);
		}
	}
	free(lines[LINES - 1]);
	free(lines);
	free(line);
	free(text);
	return NULL;
}

int main(void)
{
	pthread_t t[4];
	for (intptr_t i = 0; i < 4; i++) {
		CHECK(pthread_create(&t[i], NULL, body, (void *)i) == 0, "pthread_create");
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
	}
	return victim_ok();
}
