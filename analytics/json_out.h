/* json_out.h: a JSON writer for a dying process.
 *
 * The caller owns the struct and its buffer and gives a function that takes full buffers away. The writer keeps no
 * other state: it never allocates, takes no lock, touches no stdio, locale or errno of its own, so that it may run at
 * `_exit`, before an `exec`, and in a program whose heap is broken. Output is always valid UTF-8; commas and nesting
 * are the writer's business, so a caller that pairs begin and end cannot write invalid JSON.
 *
 * The first failure of the flush function sticks in `error`; everything after it is swallowed. So callers write on
 * and look once, at json_out_close().
 */
#ifndef SLUICE_JSON_OUT_H
#define SLUICE_JSON_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	JSON_OUT_DEPTH_MAX = 32, /* objects and arrays inside one another */
	JSON_OUT_BUFFER_MIN = 64 /* bytes; the longest piece that is written in one go is a number of 20 digits */
};

/* Takes `count` bytes away, all of them. Returns 0, or an errno value, after which it is not called again. */
typedef int json_out_flush(void *context, const char *bytes, size_t count);

struct json_out {
	char *buffer;
	size_t buffer_bytes;
	size_t used;
	json_out_flush *flush;
	void *context;
	uint64_t written; /* bytes that flush has taken */
	uint64_t filled;  /* bit d: the object or array at depth d has a member already */
	unsigned depth;
	int error;      /* 0, or the first errno value */
	bool after_key; /* a key was written, its value is due */
	bool line_due;  /* the next member, or the closing bracket, starts a line */
};

/* Starts a document. `buffer_bytes` must be at least JSON_OUT_BUFFER_MIN; bigger means fewer flushes. */
void json_out_open(struct json_out *out, char *buffer, size_t buffer_bytes, json_out_flush *flush, void *context);

/* Flushes what is left. Returns 0, or the errno value of the first failure (EINVAL: begin and end did not pair). */
int json_out_close(struct json_out *out);

/* A flush function for a file descriptor: `context` is an `int *`. Repeats on EINTR and on short writes, and waits where
 * the descriptor does not block (EAGAIN). */
int json_out_to_fd(void *context, const char *bytes, size_t count);

void json_out_object_begin(struct json_out *out);
void json_out_object_end(struct json_out *out);
void json_out_array_begin(struct json_out *out);
void json_out_array_end(struct json_out *out);

/* Names the next value; only inside an object. */
void json_out_key(struct json_out *out, const char *key);

/* Puts a line break before the next member or closing bracket, so that a report can be read with grep and diff. */
void json_out_line(struct json_out *out);

void json_out_string(struct json_out *out, const char *text);                  /* up to its NUL */
void json_out_string_n(struct json_out *out, const char *bytes, size_t count); /* exactly so many bytes */
void json_out_u64(struct json_out *out, uint64_t value);
void json_out_i64(struct json_out *out, int64_t value);
void json_out_bool(struct json_out *out, bool value);
void json_out_null(struct json_out *out);

/* numerator / denominator with `decimals` (0 to 9) digits after the point, rounded down; 0 when the denominator is. */
void json_out_ratio(struct json_out *out, uint64_t numerator, uint64_t denominator, unsigned decimals);

/* An address, as the string "0x1f". A string because readers with doubles would round it. */
void json_out_hex(struct json_out *out, uint64_t value);

/* Bytes, two hexadecimal digits each, as a string: a build-id. */
void json_out_hex_bytes(struct json_out *out, const uint8_t *bytes, size_t count);

#endif
