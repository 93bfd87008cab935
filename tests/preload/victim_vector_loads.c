/* Vector loads and stores that fault on a misaligned address never do so on our blocks: 16 bytes (SSE) on every block, 32
 * (AVX) and 64 (AVX-512) on every block of a multiple of 64 and on every block that memalign aligned. What the CPU lacks
 * is left out; argument "say" prints what ran, "sse avx avx512", instead of ok. On glibc, argument "memalign" leaves out the
 * blocks that only sluice aligns.
 */
#include "victim.h"

#include <immintrin.h>
#include <malloc.h>
#include <stdbool.h>

/* Written in assembly, since a compiler may choose the unaligned form of an instruction. */
static void touch_sse(char *p)
{
	__asm__ volatile("movaps (%0), %%xmm0\n\tmovaps %%xmm0, (%0)" : : "r"(p) : "xmm0", "memory");
}

__attribute__((target("avx"))) static void touch_avx(char *p)
{
	__asm__ volatile("vmovaps (%0), %%ymm0\n\tvmovaps %%ymm0, (%0)\n\tvzeroupper" : : "r"(p) : "xmm0", "memory");
}

__attribute__((target("avx512f"))) static void touch_avx512(char *p)
{
	__asm__ volatile("vmovaps (%0), %%zmm0\n\tvmovaps %%zmm0, (%0)\n\tvzeroupper" : : "r"(p) : "xmm0", "memory");
}

static bool have_avx, have_avx512;

static void touch(void *block, size_t n, size_t alignment)
{
	char *p = block;
	for (size_t i = 0; i + 16 <= n; i += 16) {
		touch_sse(p + i);
	}
	for (size_t i = 0; have_avx && alignment >= 32 && i + 32 <= n; i += 32) {
		touch_avx(p + i);
	}
	for (size_t i = 0; have_avx512 && alignment >= 64 && i + 64 <= n; i += 64) {
		touch_avx512(p + i);
	}
}

enum { LIVE = 20 };

int main(int argc, char **argv)
{
	bool only_memalign = argc > 1 && strcmp(argv[1], "memalign") == 0;
	__builtin_cpu_init();
	have_avx = __builtin_cpu_supports("avx");
	have_avx512 = __builtin_cpu_supports("avx512f");
	void *p[LIVE];
	FOR_SIZES(n, 64 * KIB)
	{
		for (int i = 0; i < LIVE; i++) {
			p[i] = malloc(n);
			size_t usable = malloc_usable_size(p[i]);
			touch(p[i], usable, !only_memalign && usable % 64 == 0 ? 64 : 16);
		}
		for (int i = 0; i < LIVE; i++) {
			free(p[i]);
			p[i] = memalign((size_t)16 << (i % 9), n);
			touch(p[i], malloc_usable_size(p[i]), (size_t)16 << (i % 9));
		}
		for (int i = 0; i < LIVE; i++) {
			free(p[i]);
		}
	}
	if (argc > 1 && strcmp(argv[1], "say") == 0) {
		printf("sse%s%s\n", have_avx ? " avx" : "", have_avx512 ? " avx512" : "");
		return 0;
	}
	return victim_ok();
}
