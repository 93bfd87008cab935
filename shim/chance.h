/* chance.h: the chances of sampling by bytes, in integers: floating point would leave marks in the program's own. */
#ifndef SLUICE_CHANCE_H
#define SLUICE_CHANCE_H

#include <stdint.h>

/* The next of a sequence of random numbers, whose state is `dice`. */
uint64_t chance_roll(uint64_t *dice);

/* Bytes to the next sampling point: exponential with this mean, at least 1. */
uint64_t chance_gap(uint64_t *dice, uint64_t mean);

/* What a stretch of so many bytes stands for when a point fell into it: bytes / (1 - exp(-bytes / mean)). */
uint64_t chance_weight(uint64_t bytes, uint64_t mean);

#endif
