/* victim.h: what the victims share. A victim is a plain program, built without sluice and without knowing of it; it
 * shows one behaviour of the allocator it runs on. It prints "ok" and exits 0, or prints one line that says what is
 * wrong and exits 1. Nothing here allocates, so that a victim's own counts stay its own.
 */
#ifndef VICTIM_H
#define VICTIM_H

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)

__attribute__((noreturn, format(printf, 3, 4), unused)) static void victim_fail(const char *file, int line,
                                                                                const char *format, ...)
{
	char text[1024];
	int n = snprintf(text, sizeof(text) / 2, "%s:%d: ", strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line);
	va_list args;
	va_start(args, format);
	n += vsnprintf(text + n, sizeof(text) / 2 - 2, format, args);
	va_end(args);
	n = (int)strlen(text);
	text[n] = '\n';
	if (write(1, text, (size_t)n + 1) < 0) {
		_exit(2);
	}
	_exit(1);
}

/* Stops the victim with the line when the condition does not hold. */
#define CHECK(condition, ...)                                                                                          \
	do {                                                                                                               \
		if (!(condition)) {                                                                                            \
			victim_fail(__FILE__, __LINE__, __VA_ARGS__);                                                              \
		}                                                                                                              \
	} while (0)

__attribute__((unused)) static int victim_ok(void)
{
	return write(1, "ok\n", 3) == 3 ? 0 : 1;
}

/* The compiler must neither see through a size nor drop a block that nobody reads. */
__attribute__((unused)) static size_t opaque(size_t n)
{
	__asm__ volatile("" : "+r"(n));
	return n;
}

__attribute__((unused)) static void *kept(void *p)
{
	__asm__ volatile("" : "+r"(p) : : "memory");
	return p;
}

/* A function that the C library's headers do not declare, or that only the preload may have. */
__attribute__((unused)) static void *victim_symbol(const char *name)
{
	return dlsym(RTLD_DEFAULT, name);
}

/* A small generator of numbers, the same on every machine. */
__attribute__((unused)) static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* A pattern that depends on the position and the seed, a word at a time since victims fill many megabytes. `fill` writes
 * it, `first_wrong` finds the first byte that differs from it, or returns n.
 */
static inline uint64_t pattern(uint64_t seed, size_t word)
{
	return (seed + word + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

__attribute__((unused)) static void fill(void *p, size_t n, uint64_t seed)
{
	char *at = (char *)p;
	for (size_t i = 0; i < n; i += 8) {
		uint64_t word = pattern(seed, i / 8);
		memcpy(at + i, &word, n - i < 8 ? n - i : 8);
	}
}

__attribute__((unused)) static size_t first_wrong(const void *p, size_t n, uint64_t seed)
{
	const char *at = (const char *)p;
	for (size_t i = 0; i < n; i += 8) {
		uint64_t word = pattern(seed, i / 8), found = word;
		memcpy(&found, at + i, n - i < 8 ? n - i : 8);
		if (found != word) {
			return i + (size_t)__builtin_ctzll(found ^ word) / 8;
		}
	}
	return n;
}

/* The sizes that every test of all ranges visits: each one to 2 KiB, then around every power of two and its eighths. */
#define FOR_SIZES(n, limit) for (size_t n = 0; n <= (limit); n = next_size(n))

__attribute__((unused)) static size_t next_size(size_t n)
{
	if (n < 2048) {
		return n + 1;
	}
	size_t step = (size_t)1 << (63 - __builtin_clzll(n)); /* the power of two below */
	step /= 8;
	size_t at = n % step;
	return at == 0 ? n + 1 : at == 1 ? n + step / 2 : at < step - 1 ? n + (step - 1 - at) : n + 1;
}

#endif
