/* json_out.c: the JSON writer of a dying process; see json_out.h for the contract.
 *
 * Everything passes through put(), which fills the caller's buffer and hands it to flush when it is full. The state
 * that makes commas right is one bit per open bracket (`filled`) and one flag for "a key is waiting for its value".
 *
 * Text comes from outside (argv, paths, symbols, thread names) and may be anything. A byte that does not begin a valid
 * UTF-8 sequence becomes U+FFFD, one for one: the report stays readable by every JSON reader, and the rest of the text
 * survives. NUL cannot occur in a C string; through json_out_string_n() it is escaped like every control character.
 */
#include "json_out.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

static const char digits_hex[] = "0123456789abcdef";

static void drain(struct json_out *out)
{
	if (!out->error && out->used) {
		out->error = out->flush(out->context, out->buffer, out->used);
		if (!out->error)
			out->written += out->used;
	}
	out->used = 0;
}

static void put(struct json_out *out, const char *bytes, size_t count)
{
	while (count && !out->error) {
		if (out->used == out->buffer_bytes)
			drain(out);
		size_t room = out->buffer_bytes - out->used;
		size_t piece = count < room ? count : room;
		memcpy(out->buffer + out->used, bytes, piece);
		out->used += piece;
		bytes += piece;
		count -= piece;
	}
}

static void put_char(struct json_out *out, char c)
{
	put(out, &c, 1);
}

static void put_u64(struct json_out *out, uint64_t value)
{
	char text[20];
	size_t at = sizeof(text);
	do {
		text[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	put(out, text + at, sizeof(text) - at);
}

static void break_line(struct json_out *out)
{
	if (out->line_due)
		put_char(out, '\n');
	out->line_due = false;
}

/* What stands before a value or a key: nothing after a key, else a comma where the bracket holds a member already. */
static void separate(struct json_out *out)
{
	if (out->after_key) {
		out->after_key = false;
		return;
	}
	uint64_t bit = UINT64_C(1) << out->depth;
	if (out->depth && (out->filled & bit))
		put_char(out, ',');
	out->filled |= bit;
	break_line(out);
}

static void begin(struct json_out *out, char bracket)
{
	separate(out);
	put_char(out, bracket);
	if (out->depth == JSON_OUT_DEPTH_MAX) {
		out->error = out->error ? out->error : EINVAL;
		return;
	}
	out->depth++;
	out->filled &= ~(UINT64_C(1) << out->depth);
}

static void end(struct json_out *out, char bracket)
{
	if (!out->depth || out->after_key) {
		out->error = out->error ? out->error : EINVAL;
		return;
	}
	break_line(out);
	put_char(out, bracket);
	out->depth--;
}

void json_out_open(struct json_out *out, char *buffer, size_t buffer_bytes, json_out_flush *flush, void *context)
{
	memset(out, 0, sizeof(*out));
	out->buffer = buffer;
	out->buffer_bytes = buffer_bytes;
	out->flush = flush;
	out->context = context;
	if (buffer_bytes < JSON_OUT_BUFFER_MIN)
		out->error = EINVAL;
}

int json_out_close(struct json_out *out)
{
	if (out->depth || out->after_key)
		out->error = out->error ? out->error : EINVAL;
	break_line(out);
	drain(out);
	return out->error;
}

/* A pipe that does not block and is full: its reader is slower than we are. */
static bool wait_for_room(int fd)
{
	struct pollfd wanted = {.fd = fd, .events = POLLOUT};
	return poll(&wanted, 1, -1) > 0 || errno == EINTR;
}

int json_out_to_fd(void *context, const char *bytes, size_t count)
{
	int fd = *(int *)context;
	while (count) {
		ssize_t taken = write(fd, bytes, count);
		if (taken < 0 && errno == EINTR)
			continue;
		if (taken < 0 && errno == EAGAIN && wait_for_room(fd))
			continue;
		if (taken <= 0) /* a write of nothing to a full device must not spin */
			return taken < 0 ? errno : ENOSPC;
		bytes += taken;
		count -= (size_t)taken;
	}
	return 0;
}

void json_out_object_begin(struct json_out *out)
{
	begin(out, '{');
}

void json_out_object_end(struct json_out *out)
{
	end(out, '}');
}

void json_out_array_begin(struct json_out *out)
{
	begin(out, '[');
}

void json_out_array_end(struct json_out *out)
{
	end(out, ']');
}

void json_out_line(struct json_out *out)
{
	out->line_due = true;
}

/* Length of the valid UTF-8 sequence at `s` (2 to 4 bytes), or 0. By the table 3-7 of the Unicode standard: the range
 * of the second byte alone excludes overlong forms, surrogates and what lies past U+10FFFF. */
static size_t sequence_length(const unsigned char *s, size_t left)
{
	unsigned char lead = s[0], low = 0x80, high = 0xbf;
	size_t length = lead >= 0xc2 && lead <= 0xdf ? 2 : (lead & 0xf0) == 0xe0 ? 3 : lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
	if (!length || length > left)
		return 0;
	if (lead == 0xe0)
		low = 0xa0;
	else if (lead == 0xed)
		high = 0x9f;
	else if (lead == 0xf0)
		low = 0x90;
	else if (lead == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

static void put_escaped(struct json_out *out, unsigned char c)
{
	static const char from[] = "\"\\\n\t\r\b\f", to[] = "\"\\ntrbf";
	const char *found = c ? strchr(from, c) : NULL;
	char text[6] = {'\\', 'u', '0', '0', digits_hex[c >> 4], digits_hex[c & 15]};
	if (found) {
		text[1] = to[found - from];
		put(out, text, 2);
	} else {
		put(out, text, 6);
	}
}

static void put_string(struct json_out *out, const char *bytes, size_t count)
{
	const unsigned char *s = (const unsigned char *)bytes;
	put_char(out, '"');
	for (size_t i = 0, run; i < count; i += run) {
		for (run = 0; i + run < count && is_plain(s[i + run]);)
			run++;
		if (!run && s[i] >= 0x80)
			run = sequence_length(s + i, count - i);
		if (run) {
			put(out, bytes + i, run);
			continue;
		}
		if (s[i] >= 0x80)
			put(out, "\xef\xbf\xbd", 3);
		else
			put_escaped(out, s[i]);
		run = 1;
	}
	put_char(out, '"');
}

void json_out_key(struct json_out *out, const char *key)
{
	separate(out);
	put_string(out, key, strlen(key));
	put_char(out, ':');
	out->after_key = true;
}

void json_out_string(struct json_out *out, const char *text)
{
	json_out_string_n(out, text, strlen(text));
}

void json_out_string_n(struct json_out *out, const char *bytes, size_t count)
{
	separate(out);
	put_string(out, bytes, count);
}

void json_out_u64(struct json_out *out, uint64_t value)
{
	separate(out);
	put_u64(out, value);
}

void json_out_i64(struct json_out *out, int64_t value)
{
	separate(out);
	if (value < 0)
		put_char(out, '-');
	put_u64(out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void json_out_bool(struct json_out *out, bool value)
{
	separate(out);
	put(out, value ? "true" : "false", value ? 4 : 5);
}

void json_out_null(struct json_out *out)
{
	separate(out);
	put(out, "null", 4);
}

void json_out_ratio(struct json_out *out, uint64_t numerator, uint64_t denominator, unsigned decimals)
{
	uint64_t rest = denominator ? numerator % denominator : 0;
	separate(out);
	put_u64(out, denominator ? numerator / denominator : 0);
	if (!decimals)
		return;
	while (denominator > UINT64_MAX / 10) { /* so that rest x 10 fits; the bit lost is past the ninth decimal */
		denominator >>= 1;
		rest >>= 1;
	}
	if (denominator && rest >= denominator) /* the halving may have made them equal */
		rest = denominator - 1;
	put_char(out, '.');
	for (unsigned i = 0; i < decimals; i++) {
		rest *= 10;
		put_char(out, (char)('0' + (denominator ? rest / denominator : 0)));
		rest = denominator ? rest % denominator : 0;
	}
}

void json_out_hex(struct json_out *out, uint64_t value)
{
	char text[18];
	size_t at = sizeof(text);
	separate(out);
	do {
		text[--at] = digits_hex[value & 15];
		value >>= 4;
	} while (value);
	text[--at] = 'x';
	text[--at] = '0';
	put_string(out, text + at, sizeof(text) - at);
}

void json_out_hex_bytes(struct json_out *out, const uint8_t *bytes, size_t count)
{
	separate(out);
	put_char(out, '"');
	for (size_t i = 0; i < count; i++) {
		put_char(out, digits_hex[bytes[i] >> 4]);
		put_char(out, digits_hex[bytes[i] & 15]);
	}
	put_char(out, '"');
}
