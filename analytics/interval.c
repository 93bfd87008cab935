/* interval.c: see interval.h. */
#include "analytics/interval.h"

#include <math.h>

struct interval interval_of_share(double p, double n)
{
	static const double z = 1.959964; /* of the normal distribution, at 95 % */
	double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
	double half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
	return (struct interval){.least = fmax(0, middle - half), .most = fmin(1, middle + half)};
}
