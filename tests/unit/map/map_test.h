/* SPDX-License-Identifier: BSD-3-Clause */
/* What the mapping engine's tests share. */
#ifndef TESTS_UNIT_MAP_TEST_H
#define TESTS_UNIT_MAP_TEST_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

/* splitmix64 */
static inline uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Poll until condition holds; fails after ten seconds. */
#define wait_until(condition)                          \
	do {                                           \
		for (int i_ = 0; !(condition); i_++) { \
			assert_true(i_ < 10000);       \
			usleep(1000);                  \
		}                                      \
	} while (0)

#endif
