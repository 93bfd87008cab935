/* The chances of sampling by bytes: gaps are exponential, and a stretch that was drawn stands for its bytes over its chance. */
#include "shim/chance.h"

#include <criterion/criterion.h>
#include <math.h>

enum { GAPS = 200000 };

/* At quantiles of the distribution, and in the mean, within five standard errors. */
Test(chance, gaps_are_exponential)
{
	static const uint64_t means[] = {16, 4096, 512 << 10, UINT64_C(1) << 40};
	for (unsigned m = 0; m < sizeof(means) / sizeof(means[0]); m++) {
		uint64_t dice = m, beyond[5] = {0};
		double sum = 0, mean = (double)means[m];
		for (unsigned i = 0; i < GAPS; i++) {
			uint64_t gap = chance_gap(&dice, means[m]);
			cr_assert_gt(gap, 0);
			sum += (double)gap;
			for (unsigned k = 0; k < 5; k++)
				beyond[k] += (double)gap > mean * (1 << k) / 4;
		}
		cr_expect_float_eq(sum / GAPS / mean, 1, 5 / sqrt(GAPS) + .6 / mean, "mean %g: %g", mean, sum / GAPS);
		for (unsigned k = 0; k < 5; k++) {
			double at = floor(mean * (1 << k) / 4) / mean, p = exp(-at);
			cr_expect_float_eq((double)beyond[k] / GAPS, p, 5 * sqrt(p * (1 - p) / GAPS) + 1 / mean,
			                   "mean %g, beyond %g: %g, not %g", mean, at, (double)beyond[k] / GAPS, p);
		}
	}
}

Test(chance, weights_are_those_of_horvitz_and_thompson)
{
	static const uint64_t means[] = {1, 4096, 512 << 10, UINT64_C(1) << 40};
	for (unsigned m = 0; m < sizeof(means) / sizeof(means[0]); m++)
		for (double x = 1e-9; x < 1e6; x *= 1.7) {
			uint64_t bytes = (uint64_t)(x * (double)means[m]);
			if (!bytes)
				continue;
			double exact = (double)bytes / -expm1(-(double)bytes / (double)means[m]);
			cr_expect_float_eq((double)chance_weight(bytes, means[m]) / exact, 1, 1e-3 + 1 / exact,
			                   "%lu of %lu: %lu, not %g", bytes, means[m], chance_weight(bytes, means[m]), exact);
		}
	cr_expect_eq(chance_weight(UINT64_MAX, 1), UINT64_MAX);
}
