/* The JSON writer: what it writes, at every size of buffer, and how it fails. Read back by jansson, which is strict. */
#include "analytics/json_out.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

struct sink {
	char bytes[1 << 16];
	size_t used;
	int calls;
	int fail_at; /* the call that fails, from 1; 0: none */
};

static struct sink sink;
static char buffer[4096];

static int to_sink(void *context, const char *bytes, size_t count)
{
	struct sink *s = context;
	if (++s->calls == s->fail_at)
		return ENOSPC;
	memcpy(s->bytes + s->used, bytes, count);
	s->used += count;
	return 0;
}

static struct json_out open_sized(size_t buffer_bytes)
{
	struct json_out out;
	memset(&sink, 0, sizeof(sink));
	json_out_open(&out, buffer, buffer_bytes, to_sink, &sink);
	return out;
}

static void everything(struct json_out *out)
{
	json_out_object_begin(out);
	json_out_key(out, "empty");
	json_out_array_begin(out);
	json_out_array_end(out);
	json_out_line(out);
	json_out_key(out, "mixed");
	json_out_array_begin(out);
	json_out_u64(out, 0);
	json_out_line(out);
	json_out_u64(out, UINT64_MAX);
	json_out_i64(out, INT64_MIN);
	json_out_bool(out, true);
	json_out_null(out);
	json_out_hex(out, 0xdeadbeef);
	json_out_hex_bytes(out, (const uint8_t *)"\x01\xfe", 2);
	json_out_ratio(out, 1, 3, 4);
	json_out_object_begin(out);
	json_out_object_end(out);
	json_out_line(out);
	json_out_array_end(out);
	json_out_key(out, "text");
	json_out_string(out, "a \"quoted\"\\ line\n\ttab \x01 \x7f \xc3\xa9");
	json_out_object_end(out);
}

static const char everything_text[] =
	"{\"empty\":[],\n\"mixed\":[0,\n18446744073709551615,-9223372036854775808,true,null,\"0xdeadbeef\",\"01fe\",0.3333,{}\n],"
	"\"text\":\"a \\\"quoted\\\"\\\\ line\\n\\ttab \\u0001 \x7f \xc3\xa9\"}";

Test(json_out, same_bytes_at_every_buffer_size)
{
	for (size_t size = JSON_OUT_BUFFER_MIN; size <= 300; size++) {
		struct json_out out = open_sized(size);
		everything(&out);
		cr_assert_eq(json_out_close(&out), 0);
		cr_assert_eq(out.written, sink.used);
		cr_assert_eq(sink.used, strlen(everything_text));
		cr_assert_eq(memcmp(sink.bytes, everything_text, sink.used), 0, "%.*s", (int)sink.used, sink.bytes);
	}
}

/* Writes one string and returns what a strict reader makes of it. */
static const char *string_read_back(const char *bytes, size_t count)
{
	static json_t *root;
	struct json_out out = open_sized(sizeof(buffer));
	json_error_t error;
	json_out_array_begin(&out);
	json_out_string_n(&out, bytes, count);
	json_out_array_end(&out);
	cr_assert_eq(json_out_close(&out), 0);
	json_decref(root);
	root = json_loadb(sink.bytes, sink.used, JSON_ALLOW_NUL, &error);
	cr_assert_not_null(root, "%s: %.*s", error.text, (int)sink.used, sink.bytes);
	return json_string_value(json_array_get(root, 0));
}

#define REPLACED "\xef\xbf\xbd"

Test(json_out, invalid_utf8_is_replaced_byte_by_byte)
{
	static const char *const cases[][2] = {
		{"\xff", REPLACED},
		{"a\x80z", "a" REPLACED "z"},
		{"\xc3", REPLACED},                                        /* cut short */
		{"\xc3\xa9\xc3", "\xc3\xa9" REPLACED},                     /* good, then cut short */
		{"\xc0\xaf", REPLACED REPLACED},                           /* overlong */
		{"\xe0\x80\xaf", REPLACED REPLACED REPLACED},              /* overlong */
		{"\xed\xa0\x80", REPLACED REPLACED REPLACED},              /* surrogate */
		{"\xf4\x90\x80\x80", REPLACED REPLACED REPLACED REPLACED}, /* past U+10FFFF */
		{"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},                  /* four bytes, valid */
		{"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},                  /* the last code point */
		{"\xef\xbf\xbf\xed\x9f\xbf", "\xef\xbf\xbf\xed\x9f\xbf"},  /* beside the surrogates */
		{"\xe2\x82\"", REPLACED REPLACED "\""},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_str_eq(string_read_back(cases[i][0], strlen(cases[i][0])), cases[i][1], "case %zu", i);
}

Test(json_out, every_pair_of_bytes_reads_back)
{
	for (int a = 0; a < 256; a++)
		for (int b = 0; b < 256; b += a < 0x80 ? 17 : 1) {
			const char bytes[2] = {(char)a, (char)b};
			string_read_back(bytes, 2); /* asserts that it is valid JSON and UTF-8 */
			if (a > 0 && a < 0x80 && b > 0 && b < 0x80)
				cr_assert_eq(memcmp(string_read_back(bytes, 2), bytes, 2), 0);
		}
}

static void expect_ratio(uint64_t numerator, uint64_t denominator, unsigned decimals, const char *expected)
{
	struct json_out out = open_sized(sizeof(buffer));
	json_out_ratio(&out, numerator, denominator, decimals);
	json_out_close(&out);
	cr_expect_str_eq(sink.bytes, expected);
}

Test(json_out, ratio)
{
	expect_ratio(0, 0, 4, "0.0000");
	expect_ratio(5, 0, 2, "0.00");
	expect_ratio(0, 7, 3, "0.000");
	expect_ratio(7, 7, 4, "1.0000");
	expect_ratio(2, 3, 6, "0.666666");
	expect_ratio(22, 7, 0, "3");
	expect_ratio(12345, 100, 2, "123.45");
	expect_ratio(UINT64_MAX, 1, 1, "18446744073709551615.0");
	expect_ratio(UINT64_MAX - 1, UINT64_MAX, 4, "0.9999");
	expect_ratio(UINT64_MAX / 2, UINT64_MAX, 4, "0.4999");
	expect_ratio(1, UINT64_MAX, 9, "0.000000000");
}

Test(json_out, first_error_sticks_and_flush_is_not_called_again)
{
	struct json_out out = open_sized(JSON_OUT_BUFFER_MIN);
	sink.fail_at = 2;
	json_out_array_begin(&out);
	for (int i = 0; i < 1000; i++)
		json_out_string(&out, "some text that fills buffers");
	json_out_array_end(&out);
	cr_assert_eq(json_out_close(&out), ENOSPC);
	cr_assert_eq(sink.calls, 2);
	cr_assert_eq(out.written, JSON_OUT_BUFFER_MIN);
	cr_assert_eq(sink.used, JSON_OUT_BUFFER_MIN);
}

Test(json_out, misuse_is_an_error_not_a_crash)
{
	struct json_out out = open_sized(sizeof(buffer));
	json_out_object_begin(&out);
	cr_expect_eq(json_out_close(&out), EINVAL, "an open object");
	out = open_sized(sizeof(buffer));
	json_out_array_end(&out);
	cr_expect_eq(json_out_close(&out), EINVAL, "an end without a begin");
	out = open_sized(sizeof(buffer));
	for (int i = 0; i < 1000; i++)
		json_out_array_begin(&out);
	for (int i = 0; i < 1000; i++)
		json_out_array_end(&out);
	cr_expect_eq(json_out_close(&out), EINVAL, "too deep");
	for (size_t size = 0; size < JSON_OUT_BUFFER_MIN; size += 21) {
		out = open_sized(size);
		everything(&out);
		cr_expect_eq(json_out_close(&out), EINVAL, "a buffer of %zu bytes", size);
		cr_expect_eq(sink.calls, 0);
	}
}

Test(json_out, full_device)
{
	int fd = open("/dev/full", O_WRONLY);
	struct json_out out;
	cr_assert_geq(fd, 0);
	json_out_open(&out, buffer, JSON_OUT_BUFFER_MIN, json_out_to_fd, &fd);
	everything(&out);
	cr_assert_eq(json_out_close(&out), ENOSPC);
	close(fd);
	json_out_open(&out, buffer, JSON_OUT_BUFFER_MIN, json_out_to_fd, &fd);
	everything(&out);
	cr_assert_eq(json_out_close(&out), EBADF);
}

static void on_alarm(int signal)
{
	(void)signal;
}

/* A pipe takes less than is written at once, and a timer interrupts the waits: every byte must arrive, once. */
Test(json_out, short_writes_and_interrupts)
{
	int ends[2];
	cr_assert_eq(pipe(ends), 0);
	fcntl(ends[1], F_SETPIPE_SZ, 4096);
	pid_t child = fork();
	if (child == 0) {
		static char big[1 << 20];
		struct json_out out;
		sigaction(SIGALRM, &(struct sigaction){.sa_handler = on_alarm}, NULL); /* no SA_RESTART */
		setitimer(ITIMER_REAL, &(struct itimerval){{0, 500}, {0, 500}}, NULL);
		close(ends[0]);
		json_out_open(&out, big, sizeof(big), json_out_to_fd, &ends[1]);
		json_out_array_begin(&out);
		for (uint64_t i = 0; i < 300000; i++)
			json_out_u64(&out, i);
		json_out_array_end(&out);
		_exit(json_out_close(&out));
	}
	close(ends[1]);
	FILE *f = fdopen(ends[0], "r");
	json_error_t error;
	json_t *root = json_loadf(f, 0, &error);
	cr_assert_not_null(root, "%s", error.text);
	cr_assert_eq(json_array_size(root), 300000);
	for (size_t i = 0; i < 300000; i++)
		cr_assert_eq(json_integer_value(json_array_get(root, i)), (json_int_t)i);
	int status;
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
}
