/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bad blocks: what is asked of libpmem2, whose functions for them are replaced here
 * (the linker prefers ours), as no machine of ours has a device that is bad.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <libpmem2.h>

#include "daxfuse/pmem/memory.h"

#define POOL_SIZE (UINT64_C(4) << 20)

struct pmem2_badblock_context {
	unsigned next;
};

static struct {
	int no_context; /* the error of pmem2_badblock_context_new() */
	int no_clear;
	unsigned count, cleared;
	struct pmem2_badblock bad[4], was_cleared[4];
	struct pmem2_badblock_context context;
} device;

int pmem2_badblock_context_new(struct pmem2_badblock_context **context,
			       const struct pmem2_source *source)
{
	device.context.next = 0;
	*context = &device.context;
	return device.no_context;
}

void pmem2_badblock_context_delete(struct pmem2_badblock_context **context)
{
	assert_ptr_equal(*context, &device.context);
}

int pmem2_badblock_next(struct pmem2_badblock_context *context, struct pmem2_badblock *block)
{
	if (context->next == device.count)
		return PMEM2_E_NO_BAD_BLOCK_FOUND;
	*block = device.bad[context->next++];
	return 0;
}

int pmem2_badblock_clear(struct pmem2_badblock_context *context, const struct pmem2_badblock *block)
{
	device.was_cleared[device.cleared++] = *block;
	return device.no_clear;
}

static struct pmem *make(void)
{
	struct pmem *pm;

	assert_int_equal(pmem_memory_new(POOL_SIZE, 0, &pm), 0);
	return pm;
}

static void add(uint64_t offset, uint64_t length)
{
	device.bad[device.count++] = (struct pmem2_badblock){ .offset = offset, .length = length };
}

static int reset(void **state)
{
	memset(&device, 0, sizeof(device));
	return 0;
}

/* Ascending, and none behind the end. */
static void test_load(void **state)
{
	struct pmem *pm;

	add(1 << 20, 512);
	add(512, 1024);
	add(POOL_SIZE, 512);
	add(POOL_SIZE - 512, 4096);
	pm = make();
	assert_int_equal(pm->bad_count, 3);
	assert_int_equal(pm->bad[0].offset, 512);
	assert_int_equal(pm->bad[0].length, 1024);
	assert_int_equal(pm->bad[1].offset, 1 << 20);
	assert_int_equal(pm->bad[2].length, 512);
	pmem_memory_free(pm);
}

/* What turns bad later is known beside what the device has said; as much as there is room for. */
static void test_add(void **state)
{
	struct pmem *pm;
	unsigned added = 0;

	add(8192, 512);
	pm = make();
	assert_true(pmem_is_bad(pm, 8192, 1) && !pmem_is_bad(pm, 8192 + 512, 512));
	assert_int_equal(pmem_add_bad(pm, 4096, 4096), 0);
	assert_true(pmem_is_bad(pm, 8191, 1) && pmem_is_bad(pm, 0, 4097) &&
		    !pmem_is_bad(pm, 0, 4096));
	assert_int_equal(pm->bad_count, 2);
	assert_int_equal(pmem_add_bad(pm, 4096, 4096), 0);
	assert_int_equal(pm->bad_count, 2);
	assert_int_equal(pmem_add_bad(pm, POOL_SIZE, 4096), -EINVAL);
	assert_int_equal(pmem_add_bad(pm, POOL_SIZE - 4096, 8192), -EINVAL);
	assert_int_equal(pmem_add_bad(pm, 4096, UINT64_MAX), -EINVAL);
	while (pmem_add_bad(pm, 16384 + added * 8192, 4096) == 0)
		added++;
	assert_int_equal(pmem_add_bad(pm, 16384 + added * 8192, 4096), -ENOSPC);
	assert_true(added > 100 && pmem_is_bad(pm, 16384 + (added - 1) * 8192, 1));
	pmem_memory_free(pm);
}

/* What is bad of the range, and nothing else; the data around it stays. */
static void test_clear(void **state)
{
	struct pmem *pm = make();

	memset(pm->base, 'x', 32768);
	add(0, 512);
	add(4096 - 1024, 2048); /* reaches into the range */
	add(6144, 512);
	add(12288, 512);
	assert_int_equal(pmem_clear_bad(pm, pm->base + 4096, 4096), 0);
	assert_int_equal(device.cleared, 2);
	assert_int_equal(device.was_cleared[0].offset, 4096);
	assert_int_equal(device.was_cleared[0].length, 1024);
	assert_int_equal(device.was_cleared[1].offset, 6144);
	assert_int_equal(device.was_cleared[1].length, 512);
	for (unsigned i = 0; i < 32768; i++)
		assert_int_equal(pm->base[i], 'x');
	pmem_memory_free(pm);
}

static void test_refused(void **state)
{
	struct pmem *pm = make();

	assert_int_equal(pmem_clear_bad(pm, pm->base, 4096), -EOPNOTSUPP);
	add(8192, 512);
	assert_int_equal(pmem_clear_bad(pm, pm->base, 8192), -EOPNOTSUPP);
	assert_int_equal(device.cleared, 0);
	device.no_clear = -ENXIO;
	assert_int_equal(pmem_clear_bad(pm, pm->base, 12288), -EIO);
	device.no_context = PMEM2_E_NOSUPP;
	assert_int_equal(pmem_clear_bad(pm, pm->base, 12288), -EOPNOTSUPP);
	pm->clear_bad = NULL;
	assert_int_equal(pmem_clear_bad(pm, pm->base, 12288), -EOPNOTSUPP);
	pmem_memory_free(pm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_load, reset),
		cmocka_unit_test_setup(test_add, reset),
		cmocka_unit_test_setup(test_clear, reset),
		cmocka_unit_test_setup(test_refused, reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
