/* fallback_math.h: the three functions of libm that jemalloc calls, so that the library needs no libm.
 *
 * Only its profiler does (MALLOC_CONF=prof:true, and its statistics): log for the distance to the next sample, exp and round
 * for the estimate of what was not sampled. Nobody should call them for speed. Errors are relative, in the default
 * rounding; errno and the exception flags are not kept to the standard.
 */
#ifndef SLUICE_FALLBACK_MATH_H
#define SLUICE_FALLBACK_MATH_H

/* e^x, within 2^-50; gradually less exact below e^-708, where doubles are, 0 below e^-746, infinite above e^709.79. */
double sluice_math_exp(double x);

/* Natural logarithm, within 2^-50. -infinity of 0, NaN below. */
double sluice_math_log(double x);

/* To the nearest whole number, halves away from zero; exact. */
double sluice_math_round(double x);

#endif
