/* The three functions that stand in for libm's, held to libm's over all magnitudes, and where jemalloc's profiler calls them:
 * log of what a random number in [0, 1) gives, 0 among them; exp of what is at most 0; round of what is at least 0. */
#define _GNU_SOURCE
#include "shim/fallback_math.h"
#include "tests/dice.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { NUMBERS = 2000000 };

static const double error_max = 0x1p-50; /* as fallback_math.h says */

/* Between 0 and 1. */
static double fraction(struct dice *dice)
{
	return (double)dice_below(dice, UINT64_C(1) << 53) * 0x1p-53;
}

/* Any double there is. */
static double any(struct dice *dice)
{
	uint64_t bits = dice_roll(dice);
	double x;
	memcpy(&x, &bits, sizeof(x));
	return x;
}

/* Their distance, relative to the second; 0 for two NaNs, and for two that are the same, zeros and infinities too. */
static double error(double found, double expected)
{
	if (found == expected || (isnan(found) && isnan(expected)))
		return 0;
	return fabs(found - expected) / fabs(expected);
}

#define WITHIN(function, x, bound)                                                                                     \
	do {                                                                                                               \
		double at = (x);                                                                                               \
		cr_assert_leq(error(sluice_math_##function(at), function(at)), bound, #function "(%a) is %a, not %a", at,      \
		              sluice_math_##function(at), function(at));                                                       \
	} while (0)

Test(fallback_math, log_of_every_magnitude)
{
	struct dice dice = dice_of(1);
	for (int i = 0; i < NUMBERS; i++) {
		WITHIN(log, any(&dice), error_max);                 /* half of them negative: NaN */
		WITHIN(log, fraction(&dice), error_max);            /* jemalloc's */
		WITHIN(log, 1 - fraction(&dice) * 1e-6, error_max); /* its divisor */
		WITHIN(log, 0.5 + 2 * fraction(&dice), error_max);
	}
}

Test(fallback_math, exp_of_every_magnitude)
{
	struct dice dice = dice_of(2);
	for (int i = 0; i < NUMBERS; i++) {
		WITHIN(exp, any(&dice), error_max); /* most are far out or close to 0 */
		WITHIN(exp, -708 + 1417 * fraction(&dice), error_max);
		WITHIN(exp, -fraction(&dice), error_max);
	}
	for (double x = -708; x > -746; x -= 0x1p-7) /* below normal: to two of what a double can tell there */
		cr_assert_leq(fabs(sluice_math_exp(x) - exp(x)), fmax(2 * 0x1p-1074, exp(x) * error_max), "exp(%a)", x);
}

Test(fallback_math, round_is_exact)
{
	struct dice dice = dice_of(3);
	for (int i = 0; i < NUMBERS; i++) {
		WITHIN(round, any(&dice), 0);
		WITHIN(round, (fraction(&dice) - 0.5) * 0x1p53, 0);
		WITHIN(round, (fraction(&dice) - 0.5) * 20, 0);
	}
	for (double half = -1000.5; half < 1000; half++) {
		WITHIN(round, half, 0);
		WITHIN(round, nextafter(half, 0), 0);
		WITHIN(round, nextafter(half, 2000 * half), 0);
	}
}

Test(fallback_math, the_ends_of_the_scale)
{
	static const double ends[] = {0.0,
	                              -0.0,
	                              1.0,
	                              -1.0,
	                              0.5,
	                              -0.5,
	                              INFINITY,
	                              -INFINITY,
	                              NAN,
	                              0x1p-1074,
	                              0x1p-1022,
	                              0x1p52,
	                              0x1p53,
	                              -0x1p52,
	                              1e308,
	                              709.78,
	                              709.79,
	                              710.1,
	                              -745.13,
	                              -745.14,
	                              -746.1,
	                              1e-300,
	                              -1e-300,
	                              0x1.fffffffffffffp1023,
	                              0x1.fffffffffffffp-2};
	for (unsigned i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		WITHIN(log, ends[i], error_max);
		WITHIN(round, ends[i], 0);
		if (ends[i] > -708 || isinf(ends[i]) || ends[i] < -746)
			WITHIN(exp, ends[i], error_max);
	}
	cr_assert(signbit(sluice_math_round(-0.2)) && !signbit(sluice_math_round(0.2)), "the sign stays");
	cr_assert(isinf(sluice_math_log(0)) && sluice_math_log(0) < 0);
}
