/* interval.h: how far a share that was estimated from samples can be off. */
#ifndef SLUICE_INTERVAL_H
#define SLUICE_INTERVAL_H

struct interval {
	double least, most;
};

/* Where the true share lies at 95 %, when `n` samples of one weight (at least 1) had the share `p`: E. B. Wilson, Probable
 * Inference, 1927. */
struct interval interval_of_share(double p, double n);

#endif
