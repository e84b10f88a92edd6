/* SPDX-License-Identifier: BSD-3-Clause */
/* Project quotas: charged in the transaction, enforced at its commit. */
#include <sys/stat.h>

#include "daxfuse/media/quota.h"
#include "pool.h"

enum { UNITS = 16 };

static int setup(void **state)
{
	*state = pool_new(UNITS);
	return 0;
}

/* Change an inode's blocks and project in one transaction. */
static int change(struct pool *pool, struct dxf_inode *media, uint64_t blocks, uint32_t project)
{
	struct tx *tx = begin(pool);
	struct dxf_inode *di = tx_edit_inode(tx, media);

	di->blocks = blocks;
	di->project = project;
	return tx_commit(tx);
}

static void expect(struct pool *pool, uint32_t project, uint64_t blocks, uint64_t inodes)
{
	struct dxf_quota quota;

	assert_int_equal(quota_read(pool->vol, project, &quota), 0);
	assert_int_equal(quota.project, project);
	assert_int_equal(quota.blocks, blocks);
	assert_int_equal(quota.inodes, inodes);
}

static void test_charge(void **state)
{
	struct pool *pool = *state;
	struct dxf_inode *a = make_inode(pool, S_IFREG | 0644),
			 *b = make_inode(pool, S_IFREG | 0644);
	struct dxf_quota quota;

	assert_int_equal(quota_read(pool->vol, 5, &quota), -ENOENT);
	assert_int_equal(quota_read(pool->vol, 0, &quota), -ENOENT);
	assert_int_equal(change(pool, a, 10, 0), 0);
	assert_int_equal(change(pool, a, 12, 5), 0);
	expect(pool, 5, 12, 1);
	assert_int_equal(change(pool, b, 3, 5), 0);
	expect(pool, 5, 15, 2);
	assert_int_equal(change(pool, a, 2, 5), 0);
	expect(pool, 5, 5, 2);
	assert_int_equal(change(pool, a, 4, 6), 0);
	expect(pool, 5, 3, 1);
	expect(pool, 6, 4, 1);
	pool_reopen(pool);
	expect(pool, 5, 3, 1);
	expect(pool, 6, 4, 1);
}

static void test_limits(void **state)
{
	struct pool *pool = *state;
	struct dxf_inode *a = make_inode(pool, S_IFREG | 0644),
			 *b = make_inode(pool, S_IFREG | 0644);

	assert_int_equal(quota_set_limits(pool->vol, 0, 1, 1), -EINVAL);
	assert_int_equal(quota_set_limits(pool->vol, 5, 10, 1), 0);
	assert_int_equal(change(pool, a, 11, 5), -EDQUOT);
	assert_int_equal(a->project, 0); /* nothing of it has happened */
	assert_int_equal(a->blocks, 0);
	expect(pool, 5, 0, 0);
	assert_int_equal(change(pool, a, 10, 5), 0);
	assert_int_equal(change(pool, b, 0, 5), -EDQUOT);
	assert_int_equal(quota_set_limits(pool->vol, 5, 4, 2), 0);
	assert_int_equal(change(pool, a, 11, 5), -EDQUOT);
	assert_int_equal(change(pool, a, 8, 5), 0); /* less is fine, though above the limit */
	assert_int_equal(change(pool, b, 0, 5), 0);
	assert_int_equal(quota_set_limits(pool->vol, 5, 0, 0), 0);
	assert_int_equal(change(pool, a, 1000, 5), 0);
	expect(pool, 5, 1000, 2);
}

/* What is given back was never counted: the count ends at 0. */
static void test_underflow(void **state)
{
	struct pool *pool = *state;
	struct dxf_inode *a = make_inode(pool, S_IFREG | 0644);

	assert_int_equal(change(pool, a, 10, 5), 0);
	for (uint32_t i = 0; i < pool->super.quota_count; i++)
		if (pool->vol->quota[i].project == 5)
			pool->vol->quota[i].blocks = 3;
	assert_int_equal(change(pool, a, 2, 5), 0);
	expect(pool, 5, 0, 1);
}

/* One transaction over several projects: all of it, or nothing. */
static void test_several(void **state)
{
	struct pool *pool = *state;
	struct dxf_inode *inode[4];
	struct tx *tx = begin(pool);

	for (unsigned i = 0; i < 4; i++)
		inode[i] = make_inode(pool, S_IFREG | 0644);
	assert_int_equal(quota_set_limits(pool->vol, 12, 7, 0), 0);
	for (unsigned i = 0; i < 4; i++) {
		struct dxf_inode *di = tx_edit_inode(tx, inode[i]);

		di->project = 10 + i;
		di->blocks = 8;
	}
	assert_int_equal(tx_commit(tx), -EDQUOT);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(inode[i]->project, 0);
	expect(pool, 10, 0, 0);
	expect(pool, 12, 0, 0);
	assert_int_equal(quota_set_limits(pool->vol, 12, 8, 0), 0);
	assert_int_equal(change(pool, inode[2], 8, 12), 0);
	expect(pool, 12, 8, 1);
}

/* The table never loses a record, and says when it is full. */
static void test_full_table(void **state)
{
	struct pool *pool = *state;
	uint32_t count = pool->super.quota_count;
	struct dxf_inode *inode = make_inode(pool, S_IFREG | 0644);
	struct dxf_quota quota;

	for (uint32_t i = 1; i <= count; i++)
		assert_int_equal(quota_set_limits(pool->vol, i * 256, i, 0), 0);
	assert_int_equal(quota_set_limits(pool->vol, 1, 1, 1), -ENOSPC);
	assert_int_equal(change(pool, inode, 1, 1), -ENOSPC);
	assert_int_equal(inode->project, 0);
	pool_reopen(pool);
	for (uint32_t i = 1; i <= count; i++) {
		assert_int_equal(quota_read(pool->vol, i * 256, &quota), 0);
		assert_int_equal(quota.block_limit, i);
	}
	assert_int_equal(quota_read(pool->vol, 1, &quota), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_charge, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_underflow, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_several, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_full_table, setup, pool_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
