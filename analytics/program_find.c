/* program_find.c: which file will really run; see program_find.h.
 *
 * The rules are the kernel's and execvp's: a name with a slash is a path; otherwise the first executable regular file
 * of that name in PATH. A file that begins with "#!" hands over to its interpreter, which may be a script again, up to
 * the kernel's depth of 4. "/usr/bin/env NAME" is followed too, since that is how most scripts begin. A file that is
 * neither ELF nor "#!" is run by /bin/sh, as execvp does.
 */
#include "analytics/program_find.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SCRIPT_DEPTH_MAX = 5, FIRST_LINE_MAX = 256 };

/* 0 when the file can be executed, else the errno value. */
static int executable(const char *path)
{
	struct stat file;
	if (stat(path, &file) != 0)
		return errno;
	if (!S_ISREG(file.st_mode))
		return EACCES;
	return access(path, X_OK) == 0 ? 0 : errno;
}

static int search(const char *name, char *found)
{
	const char *list = getenv("PATH");
	int error = ENOENT;
	if (strchr(name, '/') || !*name) {
		snprintf(found, PATH_MAX, "%s", name);
		return *name ? executable(found) : ENOENT;
	}
	for (list = list ? list : "/bin:/usr/bin"; list;) {
		size_t length = strcspn(list, ":");
		snprintf(found, PATH_MAX, "%.*s/%s", length ? (int)length : 1, length ? list : ".", name);
		int why = executable(found);
		if (!why)
			return 0;
		if (why == EACCES)
			error = EACCES;
		list = list[length] ? list + length + 1 : NULL;
	}
	snprintf(found, PATH_MAX, "%s", name);
	return error;
}

/* The program that `env` would start: the first word that is neither a flag nor an assignment. */
static char *after_env(char *words)
{
	char *rest = words;
	for (char *word = strtok_r(words, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest))
		if (word[0] != '-' && !strchr(word, '='))
			return word;
	return NULL;
}

/* Reads the first line; sets `next` to the name of the interpreter. False when the file is not run by another. */
static bool interpreter(const char *path, char *next)
{
	char line[FIRST_LINE_MAX + 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return false; /* executable but not readable: take it for what it seems */
	ssize_t length = read(fd, line, FIRST_LINE_MAX);
	close(fd);
	line[length > 0 ? length : 0] = 0;
	if (length >= 4 && memcmp(line, "\177ELF", 4) == 0)
		return false;
	if (length < 2 || memcmp(line, "#!", 2) != 0) {
		strcpy(next, "/bin/sh");
		return true;
	}
	line[strcspn(line, "\n")] = 0;
	char *rest = NULL, *name = strtok_r(line + 2, " \t", &rest);
	if (!name) {
		strcpy(next, "/bin/sh");
		return true;
	}
	const char *base = strrchr(name, '/');
	char *started = strcmp(base ? base + 1 : name, "env") == 0 ? after_env(rest) : NULL;
	snprintf(next, PATH_MAX, "%s", started ? started : name);
	return true;
}

int program_find(const char *name, struct program *program)
{
	char next[PATH_MAX];
	memset(program, 0, sizeof(*program));
	program->searched = !strchr(name, '/');
	int error = search(name, program->path);
	strcpy(program->image, program->path);
	for (int depth = 0; !error && interpreter(program->image, next); depth++) {
		program->script = true;
		error = depth == SCRIPT_DEPTH_MAX ? ELOOP : search(next, program->image);
	}
	return error;
}
