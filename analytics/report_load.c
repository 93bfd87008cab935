/* report_load.c: reads a report file and says what is wrong with a bad one; see report_load.h.
 *
 * jansson parses; report_sections.c moves the values. Here the file as a whole is judged: is it there, whole, ours, of
 * a version that we know?
 */
#include "analytics/report_load.h"

#include "analytics/memory.h"
#include "analytics/message.h"
#include "analytics/render.h"
#include "analytics/report_memory.h"
#include "analytics/report_sections.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum report_result say(enum report_result result, char *message, const char *path, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static enum report_result say(enum report_result result, char *message, const char *path, const char *format, ...)
{
	va_list args;
	int used = snprintf(message, REPORT_MESSAGE_MAX, "%.*s: ", REPORT_MESSAGE_MAX / 2, path);
	va_start(args, format);
	vsnprintf(message + used, REPORT_MESSAGE_MAX - (size_t)used, format, args);
	va_end(args);
	message_safe(message); /* the parser quotes what it stumbled over */
	return result;
}

static size_t leading_blanks(const char *bytes, size_t count)
{
	size_t n = 0;
	while (n < count && (bytes[n] == ' ' || bytes[n] == '\t' || bytes[n] == '\r' || bytes[n] == '\n'))
		n++;
	return n;
}

/* What kind of bad file jansson's error stands for. */
static enum report_result say_bad_json(const json_error_t *error, const char *bytes, size_t count, const char *path,
                                       char *message)
{
	size_t blanks = leading_blanks(bytes, count);
	if (blanks == count)
		return say(REPORT_TRUNCATED, message, path, "the file is empty");
	if (bytes[blanks] != '{' || json_error_code(error) == json_error_null_character)
		return say(REPORT_FOREIGN, message, path, "not a report of sluice");
	if (json_error_code(error) == json_error_premature_end_of_input || error->position >= (int)count) /* in a number */
		return say(REPORT_TRUNCATED, message, path, "the file is cut short: it ends in the middle of the report");
	return say(REPORT_DAMAGED, message, path, "damaged, not JSON any more at line %d: %s", error->line, error->text);
}

/* The major version, or -1 when the text is no version. */
static long major_of(const char *version)
{
	char *end;
	long major = strtol(version, &end, 10);
	return end != version && *end == '.' && version[0] >= '0' && version[0] <= '9' ? major : -1;
}

static enum report_result check_version(const json_t *root, const char *path, char *message)
{
	const char *schema = json_string_value(json_object_get(root, "schema"));
	const char *version = json_string_value(json_object_get(root, "schema_version"));
	if (!schema || strcmp(schema, REPORT_SCHEMA) != 0)
		return say(REPORT_FOREIGN, message, path, "not a report of sluice");
	if (!version || major_of(version) < 0)
		return say(REPORT_DAMAGED, message, path, "damaged: schema_version is not a version");
	if (major_of(version) <= major_of(REPORT_SCHEMA_VERSION))
		return REPORT_GOOD;
	return say(REPORT_NEWER, message, path, "written by a newer sluice (report version %.20s; this one reads %ld.x)",
	           version, major_of(REPORT_SCHEMA_VERSION));
}

enum report_result report_parse(struct report *r, const char *bytes, size_t count, const char *path, char *message)
{
	char wrong[REPORT_MESSAGE_MAX];
	json_error_t error;
	memset(r, 0, sizeof(*r));
	r->document = report_memory_begin();
	r->bytes = count;
	const json_t *root = json_loadb(bytes, count, 0, &error);
	report_memory_end();
	if (!root) {
		report_close(r);
		return say_bad_json(&error, bytes, count, path, message);
	}
	enum report_result result = check_version(root, path, message);
	if (result == REPORT_GOOD && !report_read_sections(r, root, wrong, sizeof(wrong)))
		result = say(REPORT_DAMAGED, message, path, "damaged: %s", wrong);
	if (result != REPORT_GOOD)
		report_close(r);
	return result;
}

/* Reads all of a descriptor, or as much as shows that it cannot be a report. Returns the bytes, or NULL with the reason
 * in `result` and errno. */
static char *read_file(int fd, size_t *count, enum report_result *result)
{
	size_t room = 1 << 16;
	char *bytes = memory_resize(NULL, room);
	ssize_t n;
	*result = REPORT_UNREADABLE;
	for (*count = 0; (n = read(fd, bytes + *count, room - *count)) != 0;) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		*count += (size_t)n;
		size_t blanks = leading_blanks(bytes, *count);
		if (blanks < *count && bytes[blanks] != '{')
			return bytes;
		*result = *count > REPORT_BYTES_MAX ? REPORT_TOO_LARGE : REPORT_UNREADABLE;
		if (*count > REPORT_BYTES_MAX)
			break;
		if (*count == room)
			bytes = memory_resize(bytes, room *= 2);
	}
	if (n == 0)
		return bytes;
	int error = errno;
	free(bytes);
	errno = error;
	return NULL;
}

enum report_result report_load(struct report *r, const char *path, char *message)
{
	enum report_result result = REPORT_UNREADABLE;
	bool standard = strcmp(path, "-") == 0;
	int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	size_t count;
	if (fd < 0)
		return say(result, message, path, "%s", strerror(errno));
	char *bytes = read_file(fd, &count, &result);
	int error = errno;
	if (!standard)
		close(fd);
	if (!bytes)
		return say(result, message, path, "%s", result == REPORT_TOO_LARGE ? "larger than 1 GiB" : strerror(error));
	result = report_parse(r, bytes, count, standard ? "standard input" : path, message);
	free(bytes);
	return result;
}

void report_close(struct report *r)
{
	free((void *)r->run.argv);
	free(r->classes);
	free(r->mappings);
	for (size_t i = 0; i < r->sites_count; i++)
		free(r->sites[i].sampled.stacks);
	free(r->sites);
	free(r->threads);
	free(r->frames);
	for (size_t i = 0; i < r->stacks_count; i++)
		free(r->stacks[i].frames);
	free(r->stacks);
	free(r->requests);
	free(r->request_sites.sites);
	report_memory_release(r->document);
	memset(r, 0, sizeof(*r));
}
