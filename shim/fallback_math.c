/* fallback_math.c: reduction of the range by powers of two, then a power series (Abramowitz and Stegun, Handbook of
 * Mathematical Functions, 4.2.1 and 4.1.27). See fallback_math.h.
 */
#include "fallback_math.h"

#include <math.h> /* two constants */
#include <stdint.h>
#include <string.h>

/* ln 2 in two parts, after Cody and Waite (Software Manual for the Elementary Functions, 1980): the first has 21 zeros at
 * its end, so its product with an exponent is exact. */
static const double ln2_high = 0x1.62e42feep-1, ln2_low = 0x1.a39ef35793c76p-33, ln2_inverse = 0x1.71547652b82fep0;

enum { EXPONENT_BITS = 52, EXPONENT_BIAS = 1023, SUBNORMAL_SHIFT = 54 };

/* 2^k of a normal number. */
static double power_of_two(int k)
{
	uint64_t bits = (uint64_t)(k + EXPONENT_BIAS) << EXPONENT_BITS;
	double power;
	memcpy(&power, &bits, sizeof(power));
	return power;
}

/* e^x = 2^k e^r with |r| <= ln(2) / 2, where r^14 / 14! is below 2^-57. */
double sluice_math_exp(double x)
{
	enum { TERMS = 13 };
	if (x != x || x > 710)
		return x != x ? x : INFINITY;
	if (x < -746)
		return 0;
	int k = (int)sluice_math_round(x * ln2_inverse), half = k / 2;
	double r = x - k * ln2_high - k * ln2_low, sum = 1;
	for (int n = TERMS; n; n--)
		sum = 1 + sum * r / n;
	return sum * power_of_two(half) * power_of_two(k - half); /* in two steps: the power may be beyond a double's */
}

/* ln x = k ln 2 + 2 atanh(s) with s = (m - 1) / (m + 1), x = 2^k m, m between the square roots of 1/2 and 2; then |s| < 0.172,
 * and s^24 / 25 is below 2^-65. */
double sluice_math_log(double x)
{
	enum { LAST_POWER = 23 };
	static const uint64_t fraction = (UINT64_C(1) << EXPONENT_BITS) - 1;
	if (!(x > 0) || x > 0x1.fffffffffffffp1023)
		return x == 0 ? -INFINITY : x < 0 ? NAN : x; /* NaN and infinity are their own */
	int k = 0;
	if (x < 0x1p-1022) {
		x *= power_of_two(SUBNORMAL_SHIFT);
		k = -SUBNORMAL_SHIFT;
	}
	uint64_t bits;
	memcpy(&bits, &x, sizeof(bits));
	k += (int)(bits >> EXPONENT_BITS) - EXPONENT_BIAS;
	bits = (bits & fraction) | (uint64_t)EXPONENT_BIAS << EXPONENT_BITS;
	double m, sum = 0;
	memcpy(&m, &bits, sizeof(m));
	if (m > 0x1.6a09e667f3bcdp0) {
		m /= 2;
		k++;
	}
	double s = (m - 1) / (m + 1), square = s * s;
	for (int n = LAST_POWER; n > 1; n -= 2)
		sum = square * (sum + 1.0 / n);
	return k * ln2_high + (k * ln2_low + 2 * (s + s * sum));
}

double sluice_math_round(double x)
{
	static const double whole = 0x1p52; /* from here on every double is a whole number */
	if (!(x > -whole && x < whole))
		return x;
	double cut = (double)(int64_t)x, rest = x - cut; /* exact */
	return __builtin_copysign(rest >= 0.5 ? cut + 1 : rest <= -0.5 ? cut - 1 : cut, x);
}
