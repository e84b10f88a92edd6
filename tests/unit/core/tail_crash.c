/* SPDX-License-Identifier: BSD-3-Clause */
/* Files that grow past the filesystem, and what becomes of them after a crash, or where the media say
 * what nobody has stored, or can't be read. Each pool is checked when its test is over. */
#include <fcntl.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/media/inode.h"
#include "poison.h"
#include "tail.h"

enum { UNITS = 40 };

/* ---- after a crash ---------------------------------------------------------------------------- */

/* A mount that only reads would not show what was appended: it is refused, as with a journal. */
static void test_mounts(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f"), gone = make_file(pool, "g"), space = free_space(pool);
	struct fs_options options = { .read_only = true };
	struct holder *holder = holder_set(pool);
	struct fs_report report;
	struct fs_attr attr;
	char *copy = malloc(pool->pm->size);

	assert_non_null(copy);
	assert_int_equal(fs_open(pool->fs, gone, O_RDWR, &attr), 0);
	assert_int_equal(fs_unlink(pool->fs, NULL, ROOT, "g"), 0);
	assert_int_equal(fs_tail_begin(pool->fs, gone, 0, 5000, holder), 0);
	holder_append(holder, 0, 5000, 'a');
	assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 5000, holder), 0);
	holder_append(holder, 0, 5000, 'a');
	memcpy(copy, pool->pm->base, pool->pm->size);
	fs_unmount(pool->fs);
	for (int keep = 0; keep < 2; keep++) {
		memcpy(pool->pm->base, copy, pool->pm->size);
		options = (struct fs_options){ .read_only = true };
		assert_int_equal(fs_mount(pool->pm, &options, &pool->fs, &report), -EROFS);
		options = (struct fs_options){ .keep_orphans = keep };
		assert_int_equal(fs_mount(pool->pm, &options, &pool->fs, &report), 0);
		assert_int_equal(report.orphans, keep ? 1 : 2);
		assert_bytes(pool, ino, 0, 5000, 'a');
		if (keep) {
			assert_bytes(pool, gone, 0, 5000, 'a');
			fs_forget(pool->fs, gone);
		}
		assert_int_equal(free_space(pool), space - 2);
		if (!keep)
			fs_unmount(pool->fs);
	}
	free(copy);
}

/* As after a crash: the pool as it was while the tail was given, with the inode changed by change(). */
static void crash(struct pool *pool, uint64_t ino, void (*change)(struct dxf_inode *inode))
{
	struct dxf_inode *inode = media_inode(pool, ino);
	struct dxf_chunk *chunk = pmem_at(pool->pm, fs_super(pool->fs)->data_offset);
	char *copy = malloc(pool->pm->size);

	assert_non_null(copy);
	memcpy(copy, pool->pm->base, pool->pm->size);
	fs_unmount(pool->fs);
	memcpy(pool->pm->base, copy, pool->pm->size);
	free(copy);
	change(inode);
	inode->crc = inode_crc(inode);
	chunk->orphan[ino / 64] |= UINT64_C(1) << ino % 64;
}

static void nothing(struct dxf_inode *inode)
{
}

static void far_size(struct dxf_inode *inode)
{
	inode->tail_size = UINT64_MAX;
}

static void next_unit(struct dxf_inode *inode)
{
	inode->tail_size = UNIT + 1;
}

static void unreserved(struct dxf_inode *inode)
{
	inode->tail_size = 17 * PAGE;
}

static void smaller(struct dxf_inode *inode)
{
	inode->tail_size = 2999;
}

static void from_nowhere(struct dxf_inode *inode)
{
	inode->tail_first = UINT16_MAX;
	inode->tail_size = 2999;
}

static void truncating(struct dxf_inode *inode)
{
	inode->flags |= DXF_FLAG_TRUNCATING;
	inode->tail_size = 2999;
}

static void no_entry(struct dxf_inode *inode)
{
	uint64_t *entry = (uint64_t *)(void *)inode->data;

	entry[1] = 12345;
}

/* The media say what no holder has stored: the file is as large as it was before the tail. */
static void test_not_believed(void **state)
{
	static void (*const changes[])(struct dxf_inode *) = { far_size, next_unit,  unreserved,
							       smaller,  truncating, from_nowhere };
	struct pool *pool = *state;

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		uint64_t ino = make_file(pool, "f");
		struct holder *holder = holder_set(pool);

		write_bytes(pool, ino, 0, 3000);
		assert_int_equal(fs_tail_begin(pool->fs, ino, 3000, 1, holder), 0);
		holder_append(holder, 3000, 2000, 'a');
		crash(pool, ino, changes[i]);
		pool_mount(pool, false);
		assert_int_equal(size_of(pool, ino), 3000);
		assert_bytes(pool, ino, 0, 3000, 'w');
		assert_int_equal(media_inode(pool, ino)->flags, 0);
		remove_file(pool, ROOT, "f", ino);
		pool_remount(pool);
	}
}

/* An entry that can't be: the space is not touched, and is fsck's. */
static void test_space_not_believed(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f");
	struct check_options options = { .repair = true };
	struct holder *holder = holder_set(pool);
	struct check_result result;

	write_bytes(pool, ino, 0, 3000);
	assert_int_equal(fs_tail_begin(pool->fs, ino, 3000, 1, holder), 0);
	holder_append(holder, 3000, 2000, 'a');
	crash(pool, ino, no_entry);
	pool_mount(pool, false);
	assert_int_equal(size_of(pool, ino), 3000);
	assert_bytes(pool, ino, 0, 3000, 'w');
	fs_unmount(pool->fs);
	assert_int_equal(check_pool(pool->pm, &options, &result), 0);
	assert_int_equal(result.found, result.repaired);
	pool_mount(pool, false);
}

/* A file with a table, which has grown by 2000 bytes past us; its table's entry. */
static uint64_t append_to_a_table(struct pool *pool, uint64_t ino, struct holder *holder)
{
	uint64_t table;

	write_bytes(pool, ino, 0, 20 * PAGE);
	assert_int_equal(fs_tail_begin(pool->fs, ino, 20 * PAGE, 1, holder), 0);
	holder_append(holder, 20 * PAGE, 2000, 'a');
	memcpy(&table, media_inode(pool, ino)->data, 8);
	return table;
}

/* A table that can't be read: the mount goes on, and the file is as it was. */
static void test_poisoned_table(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f"), table;
	struct holder *holder = holder_set(pool);

	table = append_to_a_table(pool, ino, holder);
	assert_true(table & DXF_ENTRY_TABLE);
	crash(pool, ino, nothing);
	poison(pool, table & DXF_ENTRY_OFFSET);
	pool_mount(pool, false);
	assert_int_equal(size_of(pool, ino), 20 * PAGE);
	fs_unmount(pool->fs);
	heal(pool, table & DXF_ENTRY_OFFSET);
	pool_mount(pool, false);
	assert_int_equal(size_of(pool, ino), 20 * PAGE);
	assert_bytes(pool, ino, 0, 20 * PAGE, 'w');
}

/* As long as the tail can't be ended nothing is said of the file, and nothing is lost. */
static void test_poisoned_while_given(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f"), table;
	struct holder *holder = holder_set(pool);

	table = append_to_a_table(pool, ino, holder);
	poison(pool, table & DXF_ENTRY_OFFSET);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fs_pread(pool->fs, ino, page, 1, 0), -EIO);
		assert_int_equal(fs_write(pool->fs, NULL, ino, "x", 1, 0, 0), -EIO);
		assert_int_equal(fs_rename(pool->fs, NULL, ROOT, "f", ROOT, "g", 0), -EIO);
		assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 1, holder), -EIO);
		assert_int_equal(size_of(pool, ino), 20 * PAGE + 2000);
		assert_int_equal(holder->taken, 1);
	}
	heal(pool, table & DXF_ENTRY_OFFSET);
	assert_bytes(pool, ino, 20 * PAGE, 20 * PAGE + 2000, 'a');
	assert_int_equal(holder->taken, 1);
}

static int new_pool(void **state)
{
	*state = pool_new(UNITS);
	return 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, new_pool, tail_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_mounts),
		TEST(test_not_believed),
		TEST(test_space_not_believed),
		TEST(test_poisoned_table),
		TEST(test_poisoned_while_given),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
