/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/bench/aging/sizes.h"

#include <math.h>

#include "tests/bench/common/random.h"

#define BODY_MU 9.48
#define BODY_SIGMA 2.46
#define TAIL_SHARE (1.0 - 0.99994)
#define TAIL_EXPONENT 0.91

/* In (0, 1). */
static double uniform(uint64_t *random)
{
	return ((double)(bench_random(random) >> 12) + 0.5) * 0x1p-52;
}

/* Box and Muller. */
static double normal(uint64_t *random)
{
	return sqrt(-2 * log(uniform(random))) * cos(2 * M_PI * uniform(random));
}

uint64_t aging_size(uint64_t *random, uint64_t cap)
{
	double size;

	if (uniform(random) < TAIL_SHARE)
		size = (double)cap / 8 * pow(uniform(random), -1 / TAIL_EXPONENT);
	else
		size = exp(BODY_MU + BODY_SIGMA * normal(random));
	if (size > (double)cap)
		return cap;
	return size < 1 ? 1 : (uint64_t)size;
}
