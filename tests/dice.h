/* dice.h: random numbers that are the same on every run.
 *
 * A test makes its dice from a seed it names, and names the seed when it fails; so every failure can be had again.
 * xorshift64* (S. Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016): a test needs
 * spread, not secrecy.
 */
#ifndef DICE_H
#define DICE_H

#include <stdint.h>

struct dice {
	uint64_t state; /* never 0 */
};

static inline struct dice dice_of(uint64_t seed)
{
	return (struct dice){(seed + 1) * UINT64_C(0x9E3779B97F4A7C15) | 1};
}

static inline uint64_t dice_roll(struct dice *dice)
{
	dice->state ^= dice->state >> 12;
	dice->state ^= dice->state << 25;
	dice->state ^= dice->state >> 27;
	return dice->state * UINT64_C(0x2545F4914F6CDD1D);
}

/* A number in [0, limit), limit > 0. */
static inline uint64_t dice_below(struct dice *dice, uint64_t limit)
{
	return (dice_roll(dice) >> 11) % limit;
}

/* true `percent` times of a hundred. */
static inline int dice_chance(struct dice *dice, unsigned percent)
{
	return dice_below(dice, 100) < percent;
}

/* Bytes of a large block, 2 KiB to 4 MiB, each doubling as likely as another; now and then 5 MiB, past every class. */
static inline uint64_t dice_large_size(struct dice *dice)
{
	return dice_chance(dice, 3) ? 5 << 20 : dice_below(dice, (uint64_t)4096 << dice_below(dice, 11)) + 2048;
}

#endif
