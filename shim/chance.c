/* chance.c: see chance.h. */
#include "chance.h"

__extension__ typedef unsigned __int128 wide;

enum {
	LOG_BITS = 16,
	LN2 = 45426, /* ln 2 * 2^16 */
	ONE_BITS = 60,
	HALVINGS = 10, /* the series is of an exponent below 32 / 2^10: its fourth term is 4e-8, after ten squarings 4e-5 */
	SURE_PERIODS = 32 /* exp(-32) is 1e-14 */
};

/* splitmix64: Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, 2014. */
uint64_t chance_roll(uint64_t *dice)
{
	uint64_t z = *dice += UINT64_C(0x9E3779B97F4A7C15);
	z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
	return z ^ z >> 31;
}

/* -log2(u / 2^64) * 2^16, a binary digit for each squaring (Knuth, TAOCP 1, 1.2.2). */
static uint64_t minus_log2(uint64_t u)
{
	unsigned lead = (unsigned)__builtin_clzl(u);
	uint64_t fraction = 0;
	u <<= lead;
	for (unsigned i = 0; i < LOG_BITS; i++) {
		wide square = (wide)u * u;
		unsigned bit = (unsigned)(square >> 127);
		fraction = fraction << 1 | bit;
		u = (uint64_t)(square >> (63 + bit));
	}
	return ((uint64_t)(lead + 1) << LOG_BITS) - fraction;
}

uint64_t chance_gap(uint64_t *dice, uint64_t mean)
{
	uint64_t times = minus_log2(chance_roll(dice) | 1) * LN2; /* the mean, * 2^32 */
	wide gap = (wide)mean * times >> 2 * LOG_BITS;
	return gap ? (uint64_t)gap : 1;
}

/* exp(-bytes / mean) * 2^60, for fewer than SURE_PERIODS means. */
static uint64_t exp_minus(uint64_t bytes, uint64_t mean)
{
	const uint64_t one = UINT64_C(1) << ONE_BITS;
	uint64_t y = (uint64_t)(((wide)bytes << (ONE_BITS - HALVINGS)) / mean);
	uint64_t y2 = (uint64_t)((wide)y * y >> ONE_BITS), y3 = (uint64_t)((wide)y2 * y >> ONE_BITS);
	uint64_t e = one - y + y2 / 2 - y3 / 6;
	for (unsigned i = 0; i < HALVINGS; i++)
		e = (uint64_t)((wide)e * e >> ONE_BITS);
	return e;
}

uint64_t chance_weight(uint64_t bytes, uint64_t mean)
{
	const uint64_t one = UINT64_C(1) << ONE_BITS;
	if (bytes / SURE_PERIODS >= mean)
		return bytes;
	uint64_t drawn = one - exp_minus(bytes, mean);
	wide weight = drawn ? ((wide)bytes << ONE_BITS) / drawn : mean;
	return weight < mean ? mean : (uint64_t)weight;
}
