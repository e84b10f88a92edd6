/* SPDX-License-Identifier: BSD-3-Clause */
/* Whatever lies on a poisoned page is EIO, and nothing else is; no store to such a
 * page may be made either. */
#include <linux/falloc.h>
#include <sys/stat.h>

#include "poison.h"

enum { UNITS = 24 };

static char buf[3 << 20];

static int setup(void **state)
{
	memset(buf, 'x', sizeof(buf));
	*state = pool_new(UNITS);
	return 0;
}

static void check_data(struct pool *pool, uint64_t size)
{
	struct fs *fs = pool->fs;
	uint64_t ino = make_file(pool, "data"), at = size / 2 / DXF_BLOCK_SIZE * DXF_BLOCK_SIZE,
		 bad;
	struct fs_setattr set = { .valid = FS_SET_SIZE, .size = at + 100 };
	struct fs_attr attr;

	assert_int_equal(fs_write(fs, NULL, ino, buf, size, 0, 0), size);
	bad = device_offset(pool, ino, at);
	poison(pool, bad);
	assert_int_equal(fs_pread(fs, ino, buf, 10, at + 5), -EIO);
	assert_int_equal(fs_pread(fs, ino, buf, at, 0), at);
	assert_int_equal(fs_pread(fs, ino, buf, 10, at + DXF_BLOCK_SIZE), 10);
	assert_int_equal(fs_write(fs, NULL, ino, buf, 10, at + 5, 0), -EIO);
	assert_int_equal(fs_write(fs, NULL, ino, buf, DXF_BLOCK_SIZE, at, 0), -EIO);
	assert_int_equal(fs_fallocate(fs, NULL, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				      at + 1, 10),
			 -EIO);
	assert_int_equal(fs_fallocate(fs, NULL, ino, FALLOC_FL_COLLAPSE_RANGE, 0, DXF_BLOCK_SIZE),
			 -EIO);
	assert_int_equal(fs_setattr(fs, ino, &set, &attr), 0);
	assert_int_equal(fs_write(fs, NULL, ino, buf, 10, size, 0),
			 -EIO); /* the tail can't be zeroed */
	set.size = 100;
	assert_int_equal(fs_setattr(fs, ino, &set, &attr), 0);
	assert_int_equal(fs_write(fs, NULL, ino, buf, 10, 50, 0), 10);
	remove_file(pool, ROOT, "data", ino);
	heal(pool, bad);
}

static void test_data(void **state)
{
	check_data(*state, 5 * DXF_BLOCK_SIZE);
	check_data(*state, 40 * DXF_BLOCK_SIZE); /* a table */
	check_data(*state, 2 << 20);             /* a unit */
}

/* What is free and bad is noticed when it is about to be given out. */
static void test_new_space(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "a"), other = make_file(pool, "b"), bad[4];

	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, sizeof(bad) / 8 * DXF_BLOCK_SIZE, 0, 0),
			 sizeof(bad) / 8 * DXF_BLOCK_SIZE);
	for (unsigned i = 0; i < 4; i++)
		bad[i] = device_offset(pool, ino, i * DXF_BLOCK_SIZE);
	assert_int_equal(fs_write(pool->fs, NULL, other, buf, DXF_BLOCK_SIZE, 0, 0),
			 DXF_BLOCK_SIZE);
	remove_file(pool, ROOT, "a", ino);
	for (unsigned i = 0; i < 4; i++)
		poison(pool, bad[i]);
	assert_int_equal(fs_write(pool->fs, NULL, other, buf, 60 * DXF_BLOCK_SIZE, 0, 0),
			 60 * DXF_BLOCK_SIZE);
	assert_int_equal(fs_pread(pool->fs, other, buf, 60 * DXF_BLOCK_SIZE, 0),
			 60 * DXF_BLOCK_SIZE);
	for (unsigned i = 0; i < 4; i++)
		heal(pool, bad[i]);
}

/* A unit that is to hold inodes, and can't: that creation fails, and later ones don't. */
static void test_new_chunk(void **state)
{
	struct pool *pool = *state;
	const struct dxf_super *super = fs_super(pool->fs);
	const uint64_t *word = pmem_at(pool->pm, super->unit_offset);
	uint64_t dir = make_dir(pool, ROOT, "dir"), bad[UNITS], count = 0;
	unsigned refused = 0, made = 0;
	struct fs_attr attr;
	char name[16];

	/* those for inodes come from the high end */
	for (uint64_t unit = UNITS; unit-- > super->data_offset / DXF_UNIT_SIZE + 6;)
		if (word[unit] == DXF_UNIT_FREE)
			bad[count++] = unit * DXF_UNIT_SIZE;
	for (unsigned i = 0; i < count; i++)
		poison(pool, bad[i]);
	for (unsigned i = 0; made <= DXF_CHUNK_INODES; i++) {
		int err;

		snprintf(name, sizeof(name), "%u", i);
		err = fs_mknod(pool->fs, &root_request, dir, name, S_IFREG | 0644, 0, &attr);
		assert_true(!err || err == -EIO);
		refused += !!err;
		made += !err;
	}
	assert_in_range(refused, 1, count);
	for (unsigned i = 0; i < count; i++)
		heal(pool, bad[i]);
}

/* A directory's bucket. */
static void test_bucket(void **state)
{
	struct pool *pool = *state;
	uint64_t dir = make_dir(pool, ROOT, "dir"), entry, bad;
	const struct dxf_inode *inode;
	struct fs_attr attr;

	make_dir(pool, dir, "child");
	inode = media_inode(pool, dir);
	memcpy(&entry, inode->data, 8);
	bad = entry & DXF_ENTRY_OFFSET;
	poison(pool, bad);
	assert_int_equal(fs_lookup(pool->fs, dir, "child", &attr), -EIO);
	assert_int_equal(fs_unlink(pool->fs, NULL, dir, "child"), -EIO);
	assert_int_equal(fs_mknod(pool->fs, &root_request, dir, "new", S_IFREG | 0644, 0, &attr),
			 -EIO);
	assert_int_equal(fs_rename(pool->fs, &root_request, dir, "child", ROOT, "x", 0), -EIO);
	assert_int_equal(fs_lookup(pool->fs, ROOT, "dir", &attr), 0);
	heal(pool, bad);
	assert_int_equal(fs_lookup(pool->fs, dir, "child", &attr), 0);
}

/* Inodes: eight of them lie in a page. */
static void test_inode(void **state)
{
	struct pool *pool = *state;
	uint64_t bad = fs_super(pool->fs)->data_offset + 16 * DXF_INODE_SIZE;
	struct fs_attr attr;
	char name[8];

	for (unsigned i = 0; i < 16; i++) {
		snprintf(name, sizeof(name), "%u", i);
		make_file(pool, name);
	}
	/* once as they are in use, once as they are met for the first time */
	for (unsigned round = 0; round < 2; round++) {
		poison(pool, bad);
		for (unsigned i = 0; i < 16; i++) {
			unsigned ino = DXF_ROOT_INO + 1 + i;
			int want = ino >= 16 ? -EIO : 0;

			snprintf(name, sizeof(name), "%u", i);
			assert_int_equal(fs_lookup(pool->fs, ROOT, name, &attr), want);
			assert_int_equal(fs_getattr(pool->fs, ino, &attr), want);
			assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 1, 0, 0),
					 want ? want : 1);
			assert_int_equal(
				fs_rename(pool->fs, &root_request, ROOT, name, ROOT, "x", 0), want);
			assert_int_equal(fs_rename(pool->fs, &root_request, ROOT, "x", ROOT, name,
						   0),
					 want ? -ENOENT : 0);
		}
		heal(pool, bad);
		fs_unmount(pool->fs);
		pool_mount(pool, false);
	}
}

/* A table of blocks, and an xattr's block. */
static void test_table(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "file"), entry, bad;
	const struct dxf_inode *inode;
	struct fs_attr attr;

	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 100, 30 * DXF_BLOCK_SIZE, 0), 100);
	assert_int_equal(fs_setxattr(pool->fs, NULL, ino, "user.a", buf, 3000, 0), 0);
	inode = media_inode(pool, ino);
	memcpy(&entry, inode->data, 8);
	assert_true(entry & DXF_ENTRY_TABLE);
	bad = entry & DXF_ENTRY_OFFSET;
	poison(pool, bad);
	assert_int_equal(fs_pread(pool->fs, ino, buf, 100, 0), -EIO);
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 100, 0, 0), -EIO);
	assert_int_equal(fs_unlink(pool->fs, NULL, ROOT, "file"), 0);
	fs_forget(pool->fs, ino);
	assert_int_equal(fs_getattr(pool->fs, ino, &attr),
			 0); /* an orphan, until it can be freed */
	heal(pool, bad);
	memcpy(&entry, inode->xattr, 8);
	bad = entry & DXF_ENTRY_OFFSET;
	poison(pool, bad);
	assert_int_equal(fs_getxattr(pool->fs, ino, "user.a", buf, 3000), -EIO);
	heal(pool, bad);
	fs_forget(pool->fs, ino);
	assert_int_equal(fs_getattr(pool->fs, ino, &attr), -ESTALE);
}

/* A truncation that can't free all of it: what it left must not come back when the
 * file grows again. */
static void test_truncation(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "file"), entry, bad;
	struct fs_setattr set = { .valid = FS_SET_SIZE };
	const struct dxf_inode *inode;
	char got[10];

	for (unsigned i = 0; i < 120; i++) /* a table for each */
		assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 10, i * DXF_UNIT_SIZE, 0), 10);
	inode = media_inode(pool, ino);
	memcpy(&entry, inode->data, 8);
	memcpy(&entry, pmem_at(pool->pm, (entry & DXF_ENTRY_OFFSET) + 10 * 8), 8);
	bad = entry & DXF_ENTRY_OFFSET;
	poison(pool, bad);
	assert_int_equal(fs_setattr(pool->fs, ino, &set, NULL), -EIO);
	assert_int_equal(inode->size, 0);
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 1, 5 * DXF_UNIT_SIZE + 100, 0), -EIO);
	set.size = 100 * DXF_UNIT_SIZE;
	assert_int_equal(fs_setattr(pool->fs, ino, &set, NULL), -EIO);
	assert_int_equal(fs_fallocate(pool->fs, NULL, ino, 0, 0, 100 * DXF_UNIT_SIZE), -EIO);
	heal(pool, bad);
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 1, 5 * DXF_UNIT_SIZE + 100, 0), 1);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(fs_pread(pool->fs, ino, got, 10, i * DXF_UNIT_SIZE), 10);
		assert_memory_equal(got, "\0\0\0\0\0\0\0\0\0", 10);
	}
}

/* As the mounted pool meets it: nothing is given out that can't be marked as taken,
 * data is there all the same; what would change a poisoned quota record is EIO; and
 * another journal takes over from a poisoned one. */
static void test_accounts(void **state)
{
	struct pool *pool = *state;
	const struct dxf_super copy = *fs_super(pool->fs), *super = &copy;
	uint64_t ino = make_file(pool, "a"), other = make_file(pool, "b"), free_before;
	struct fs_xflags x = { .project = 7 };

	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, DXF_BLOCK_SIZE, 0, 0), DXF_BLOCK_SIZE);
	poison(pool, super->bitmap_offset);
	assert_int_equal(fs_write(pool->fs, NULL, other, buf, DXF_BLOCK_SIZE, 0, 0), -ENOSPC);
	assert_int_equal(free_space(pool), 0);
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, DXF_BLOCK_SIZE, 0, 0), DXF_BLOCK_SIZE);
	heal(pool, super->bitmap_offset);
	pool_remount(pool);
	free_before = free_space(pool);
	assert_int_equal(fs_write(pool->fs, NULL, other, buf, DXF_BLOCK_SIZE, 0, 0),
			 DXF_BLOCK_SIZE);
	assert_int_equal(free_space(pool), free_before - 1);

	assert_int_equal(fs_quota_set(pool->fs, 7, 100, 100), 0);
	poison(pool, super->quota_offset + 7 * UINT32_C(0x9e3779b1) % super->quota_count * 64);
	assert_int_equal(fs_set_xflags(pool->fs, ino, &x), -EIO);
	heal(pool, super->quota_offset + 7 * UINT32_C(0x9e3779b1) % super->quota_count * 64);
	assert_int_equal(fs_set_xflags(pool->fs, ino, &x), 0);

	poison(pool, super->unit_offset);
	assert_int_equal(fs_pread(pool->fs, ino, buf, DXF_BLOCK_SIZE, 0), DXF_BLOCK_SIZE);
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, DXF_BLOCK_SIZE, DXF_BLOCK_SIZE, 0),
			 DXF_BLOCK_SIZE);
	assert_int_equal(fs_fallocate(pool->fs, NULL, other, 0, 0, 100 * DXF_BLOCK_SIZE), 0);
	assert_int_equal(fs_fallocate(pool->fs, NULL, other, 0, 0, 4 * DXF_UNIT_SIZE), -ENOSPC);
	heal(pool, super->unit_offset);
	pool_remount(pool);

	for (uint32_t i = 0; i + 1 < super->journal_count; i++)
		poison(pool, super->journal_offset + i * DXF_JOURNAL_SIZE);
	make_file(pool, "c");
	poison(pool, super->journal_offset + (super->journal_count - 1) * DXF_JOURNAL_SIZE);
	assert_int_equal(fs_unlink(pool->fs, NULL, ROOT, "c"), -EIO);
	for (uint32_t i = 0; i < super->journal_count; i++)
		heal(pool, super->journal_offset + i * DXF_JOURNAL_SIZE);
	pool_remount(pool);
	assert_int_equal(fs_unlink(pool->fs, NULL, ROOT, "c"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_data, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_new_space, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_new_chunk, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_bucket, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_inode, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_table, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_truncation, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_accounts, setup, pool_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
