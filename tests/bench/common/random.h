/* SPDX-License-Identifier: BSD-3-Clause */
/* Cheap random numbers, the same ones for the same seed (splitmix64). */
#ifndef BENCH_COMMON_RANDOM_H
#define BENCH_COMMON_RANDOM_H

#include <stdint.h>

uint64_t bench_random(uint64_t *state);

#endif
