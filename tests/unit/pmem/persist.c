/* SPDX-License-Identifier: BSD-3-Clause */
/* What the persist layer stores, at every size and alignment of a few lines.
 * That it flushes and fences enough is shown by tests/crash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/pmem/memory.h"

#define POOL_SIZE (UINT64_C(4) << 20)
#define AREA 512

static int setup(void **state)
{
	struct pmem *pm;

	if (pmem_memory_new(POOL_SIZE, 0, &pm))
		return -1;
	*state = pm;
	return 0;
}

static int teardown(void **state)
{
	pmem_memory_free(*state);
	return 0;
}

static void test_geometry(void **state)
{
	struct pmem *pm = *state;

	assert_int_equal((uintptr_t)pm->base & ((2 << 20) - 1), 0);
	assert_int_equal(pm->size, POOL_SIZE);
	assert_int_equal(pm->bad_count, 0);
	assert_false(pm->read_only);
	assert_true(pmem_contains(pm, POOL_SIZE - 8, 8));
	assert_true(pmem_contains(pm, POOL_SIZE, 0));
	assert_false(pmem_contains(pm, POOL_SIZE - 8, 9));
	assert_false(pmem_contains(pm, UINT64_MAX - 1, 8));
	assert_false(pmem_contains(pm, 8, UINT64_MAX));
	assert_int_equal(pmem_offset(pm, pmem_at(pm, 12345)), 12345);
}

static void test_refused_sizes(void **state)
{
	struct pmem *pm;

	assert_int_equal(pmem_memory_new(0, 0, &pm), -22);
	assert_int_equal(pmem_memory_new(POOL_SIZE + 4096, 0, &pm), -22);
}

typedef void (*copy_fn)(const struct pmem *pm, void *dst, const void *src, size_t len);

static void zero(const struct pmem *pm, void *dst, const void *src, size_t len)
{
	pmem_zero_nt(pm, dst, len);
}

/* Nothing but the range changes, and the range changes wholly. */
static void check_copies(struct pmem *pm, copy_fn copy, bool zeroes)
{
	char source[AREA], expected[AREA];
	char *area = pm->base + 4096;

	for (size_t i = 0; i < AREA; i++)
		source[i] = zeroes ? 0 : (char)(i * 7 + 1);
	for (size_t offset = 0; offset < 72; offset++) {
		for (size_t len = 0; offset + len <= 260; len++) {
			memset(area, 0x55, AREA);
			memset(expected, 0x55, AREA);
			memcpy(expected + offset, source, len);
			copy(pm, area + offset, source, len);
			pmem_flush(pm, area + offset, len);
			pmem_fence(pm);
			assert_memory_equal(area, expected, AREA);
		}
	}
}

static void test_store(void **state)
{
	check_copies(*state, pmem_store, false);
}

static void test_copy_nt(void **state)
{
	check_copies(*state, pmem_copy_nt, false);
}

static void test_zero_nt(void **state)
{
	check_copies(*state, zero, true);
}

static void test_large_copy(void **state)
{
	struct pmem *pm = *state;

	for (size_t i = 0; i < POOL_SIZE / 2; i++)
		pm->base[i] = (char)(i * 13 >> 3);
	pmem_copy_nt(pm, pm->base + POOL_SIZE / 2, pm->base, POOL_SIZE / 2);
	pmem_fence(pm);
	assert_memory_equal(pm->base + POOL_SIZE / 2, pm->base, POOL_SIZE / 2);
	pmem_zero_nt(pm, pm->base, POOL_SIZE);
	pmem_fence(pm);
	for (size_t i = 0; i < POOL_SIZE; i++)
		assert_int_equal(pm->base[i], 0);
}

static void test_words(void **state)
{
	struct pmem *pm = *state;
	uint64_t *word = pmem_at(pm, 64);

	pmem_store64(pm, word, UINT64_C(0x1122334455667788));
	assert_true(*word == UINT64_C(0x1122334455667788));
	pmem_set_bits(pm, word, UINT64_C(0xff));
	assert_true(*word == UINT64_C(0x11223344556677ff));
	pmem_clear_bits(pm, word, UINT64_C(0xff00));
	assert_true(*word == UINT64_C(0x11223344556600ff));
}

static void test_sparse(void **state)
{
	struct pmem *pm;

	assert_int_equal(pmem_memory_new(UINT64_C(1) << 40, 0, &pm), 0);
	pmem_store64(pm, pmem_at(pm, (UINT64_C(1) << 40) - 8), 1);
	pmem_memory_free(pm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_geometry), cmocka_unit_test(test_refused_sizes),
		cmocka_unit_test(test_store),    cmocka_unit_test(test_copy_nt),
		cmocka_unit_test(test_zero_nt),  cmocka_unit_test(test_large_copy),
		cmocka_unit_test(test_words),    cmocka_unit_test(test_sparse),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
