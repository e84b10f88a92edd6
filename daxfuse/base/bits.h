/* SPDX-License-Identifier: BSD-3-Clause */
/* Small arithmetic on words. `to` and `by` that are powers of two say so. */
#ifndef DAXFUSE_BASE_BITS_H
#define DAXFUSE_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define MIN(a, b)                                  \
	({                                         \
		__typeof__(a) min_a_ = (a);        \
		__typeof__(b) min_b_ = (b);        \
		min_a_ < min_b_ ? min_a_ : min_b_; \
	})
#define MAX(a, b)                                  \
	({                                         \
		__typeof__(a) max_a_ = (a);        \
		__typeof__(b) max_b_ = (b);        \
		max_a_ > max_b_ ? max_a_ : max_b_; \
	})

/* clang-format off: it takes the minus for a sign */
#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))
/* clang-format on */

static inline bool is_power_of_two(uint64_t value)
{
	return value && !(value & (value - 1));
}

/* to: a power of two */
static inline uint64_t round_down(uint64_t value, uint64_t to)
{
	return value & ~(to - 1);
}

/* to: a power of two; value + to must not overflow */
static inline uint64_t round_up(uint64_t value, uint64_t to)
{
	return round_down(value + to - 1, to);
}

/* to: a power of two */
static inline bool is_aligned(uint64_t value, uint64_t to)
{
	return !(value & (to - 1));
}

/* No overflow, whatever value is. */
static inline uint64_t div_round_up(uint64_t value, uint64_t by)
{
	return value / by + !!(value % by);
}

static inline unsigned bits_count(uint64_t word)
{
	return (unsigned)__builtin_popcountll(word);
}

/* The lowest set bit's number; word must not be 0. */
static inline unsigned bits_first(uint64_t word)
{
	return (unsigned)__builtin_ctzll(word);
}

/* The highest set bit's number; word must not be 0. */
static inline unsigned bits_last(uint64_t word)
{
	return 63 - (unsigned)__builtin_clzll(word);
}

/* `count` bits from `first` on; first + count <= 64. */
static inline uint64_t bits_mask(unsigned first, unsigned count)
{
	if (!count)
		return 0;
	return (UINT64_MAX >> (64 - count)) << first;
}

#endif
