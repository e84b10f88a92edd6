/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Metadata that is poisoned when the pool is mounted costs what it describes at
 * most, and never the mount: unit words, bitmaps, the inode map, a chunk's header,
 * quota records. The checker names what is poisoned, and puts the accounts right.
 */
#include <linux/falloc.h>
#include <sys/stat.h>

#include "daxfuse/base/bits.h"
#include "poison.h"
#include "../one_cpu.h"

enum { WORDS_IN_PAGE = 512, BITMAPS_IN_PAGE = 64 };

static char buf[2 << 20];

static struct pool *make(unsigned units)
{
	stay_on_cpu();
	memset(buf, 'x', sizeof(buf));
	return pool_new(units);
}

static void count_poison(const struct check_finding *finding, void *arg)
{
	*(unsigned *)arg += finding->problem == CHECK_POISON;
}

/* Unmount, poison, and mount again; the checker has seen it, and only that. */
static void remount_poisoned(struct pool *pool, uint64_t offset)
{
	unsigned found = 0;
	struct check_options options = { .found = count_poison, .arg = &found };
	struct check_result result;

	fs_unmount(pool->fs);
	poison(pool, offset);
	assert_int_equal(check_pool(pool->pm, &options, &result), 0);
	assert_in_range(found, 1, result.found);
	pool_mount(pool, false);
}

/* The media is as it was before the poison: repaired, the pool is whole. */
static void remount_healed(struct pool *pool, uint64_t offset)
{
	struct check_options options = { .repair = true };
	struct check_result result;

	fs_unmount(pool->fs);
	heal(pool, offset);
	assert_int_equal(check_pool(pool->pm, &options, &result), 0);
	assert_int_equal(result.found, result.repaired);
	pool_check(pool);
	pool_mount(pool, false);
}

static void end(struct pool *pool)
{
	pool_free(pool);
	free(pool);
}

static struct fs_space space_of(struct pool *pool)
{
	struct fs_statfs statfs;
	struct fs_space space;

	fs_get_space(pool->fs, &space);
	assert_int_equal(fs_statfs(pool->fs, ROOT, &statfs), 0);
	assert_int_equal(statfs.free_blocks,
			 space.free_units * DXF_UNIT_BLOCKS + space.free_blocks);
	return space;
}

/* How many units of the data area share a page of `per_page` of something with unit. */
static uint64_t units_in_page(struct pool *pool, uint64_t unit, uint64_t per_page)
{
	const struct dxf_super *super = fs_super(pool->fs);
	uint64_t first = super->data_offset / DXF_UNIT_SIZE,
		 end = super->pool_size / DXF_UNIT_SIZE - 1;
	uint64_t from = unit / per_page * per_page;

	return MIN(end, from + per_page) - MAX(first, from);
}

/* Give out all units that are said to be free: none shares the page with bad's. */
static void take_all_units(struct pool *pool, uint64_t bad, uint64_t per_page)
{
	char name[16];

	for (unsigned i = 0;; i++) {
		uint64_t ino, entry;

		snprintf(name, sizeof(name), "all%u", i);
		ino = make_file(pool, name);
		if (!space_of(pool).free_units)
			break;
		assert_int_equal(fs_fallocate(pool->fs, NULL, ino, 0, 0, DXF_UNIT_SIZE), 0);
		memcpy(&entry, media_inode(pool, ino)->data, 8);
		assert_true(entry & DXF_ENTRY_UNIT);
		assert_int_not_equal(entry / DXF_UNIT_SIZE / per_page, bad / per_page);
	}
}

static void test_unit_words(void **state)
{
	struct pool *pool = make(2 * WORDS_IN_PAGE);
	uint64_t ino = make_file(pool, "data"), bad, at, in_page;
	struct fs_space before, after;

	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, DXF_UNIT_SIZE, 0, 0), DXF_UNIT_SIZE);
	bad = device_offset(pool, ino, 0) / DXF_UNIT_SIZE;
	at = fs_super(pool->fs)->unit_offset + bad * 8;
	in_page = units_in_page(pool, bad, WORDS_IN_PAGE);
	before = space_of(pool);
	remount_poisoned(pool, at);

	after = space_of(pool);
	assert_int_equal(after.units, before.units);
	assert_int_equal(after.bad_blocks, in_page * DXF_UNIT_BLOCKS);
	/* what of the page was not free: the file, maybe the inodes and the root's bucket */
	assert_in_range(before.free_units - after.free_units, in_page - 3, in_page - 1);
	assert_int_equal(fs_pread(pool->fs, ino, buf, DXF_UNIT_SIZE, 0), DXF_UNIT_SIZE);
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 10, 100, 0), 10);
	remove_file(pool, ROOT, "data", ino);
	assert_int_equal(space_of(pool).free_units, after.free_units);
	assert_int_equal(space_of(pool).bad_blocks, after.bad_blocks);
	take_all_units(pool, bad, WORDS_IN_PAGE);
	remount_healed(pool, at);
	assert_int_equal(space_of(pool).bad_blocks, 0);
	end(pool);
}

static void test_bitmaps(void **state)
{
	struct pool *pool = make(4 * BITMAPS_IN_PAGE);
	uint64_t ino = make_file(pool, "data"), other, bad, at, in_page, unit;
	struct fs_space before, after;

	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 5 * DXF_BLOCK_SIZE, 0, 0),
			 5 * DXF_BLOCK_SIZE);
	bad = device_offset(pool, ino, 0) / DXF_UNIT_SIZE;
	at = fs_super(pool->fs)->bitmap_offset + bad * 64;
	in_page = units_in_page(pool, bad, BITMAPS_IN_PAGE);
	before = space_of(pool);
	remount_poisoned(pool, at);

	after = space_of(pool);
	assert_in_range(after.bad_blocks / DXF_UNIT_BLOCKS, in_page - 1, in_page); /* but inodes */
	assert_int_equal(before.free_units - after.free_units,
			 after.bad_blocks / DXF_UNIT_BLOCKS - 1);
	assert_int_equal(fs_pread(pool->fs, ino, buf, 5 * DXF_BLOCK_SIZE, 0), 5 * DXF_BLOCK_SIZE);
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 10, 100, 0), 10);
	other = make_file(pool, "other");
	assert_int_equal(fs_write(pool->fs, NULL, other, buf, DXF_BLOCK_SIZE, 0, 0),
			 DXF_BLOCK_SIZE);
	unit = device_offset(pool, other, 0) / DXF_UNIT_SIZE;
	assert_int_not_equal(unit / BITMAPS_IN_PAGE, bad / BITMAPS_IN_PAGE);
	after = space_of(pool);
	remove_file(pool, ROOT, "data", ino);
	assert_int_equal(space_of(pool).free_blocks, after.free_blocks);
	assert_int_equal(space_of(pool).bad_blocks, after.bad_blocks);
	take_all_units(pool, bad, BITMAPS_IN_PAGE);
	remount_healed(pool, at);
	assert_int_equal(space_of(pool).bad_blocks, 0);
	end(pool);
}

static void make_files(struct pool *pool, uint64_t dir, unsigned count)
{
	struct fs_attr attr;
	char name[16];

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(fs_mknod(pool->fs, &root_request, dir, name, 0100644, 0, &attr),
				 0);
	}
}

/* The map's chunks are found all the same; a new one goes to another page of it. */
static void test_inode_map(void **state)
{
	struct pool *pool = make(WORDS_IN_PAGE + 100);
	uint64_t dir = make_dir(pool, ROOT, "dir"), at = fs_super(pool->fs)->inode_map_offset;
	unsigned per_chunk = DXF_CHUNK_INODES - DXF_CHUNK_FIRST;
	struct fs_space before, after;
	struct fs_attr attr;

	make_files(pool, dir, per_chunk + 10); /* into a second chunk */
	before = space_of(pool);
	remount_poisoned(pool, at);
	after = space_of(pool);
	assert_int_equal(after.inodes, before.inodes);
	assert_int_equal(after.inodes_max, 102 * per_chunk); /* two, and those of the other page */
	assert_int_equal(after.free_units, before.free_units);
	assert_int_equal(fs_lookup(pool->fs, dir, "f4090", &attr), 0);
	dir = make_dir(pool, ROOT, "more");
	make_files(pool, dir, 2 * per_chunk);
	assert_int_equal(fs_lookup(pool->fs, dir, "f8000", &attr), 0);
	assert_int_equal(attr.ino / DXF_CHUNK_INODES, 512);
	assert_int_equal(fs_getattr(pool->fs, 5 * DXF_CHUNK_INODES + 5, &attr), -EIO);
	assert_int_equal(fs_getattr(pool->fs, 600 * DXF_CHUNK_INODES + 5, &attr), -ESTALE);
	remount_healed(pool, at);
	assert_int_equal(fs_lookup(pool->fs, dir, "f8000", &attr), 0);
	end(pool);
}

static void test_chunk_header(void **state)
{
	struct pool *pool = make(24);
	uint64_t dir = make_dir(pool, ROOT, "dir"), more, at;
	unsigned per_chunk = DXF_CHUNK_INODES - DXF_CHUNK_FIRST;
	struct fs_space before, after;
	struct fs_attr attr;

	make_files(pool, dir, per_chunk + 10);
	at = ((uint64_t *)pmem_at(pool->pm, fs_super(pool->fs)->inode_map_offset))[1];
	assert_int_not_equal(at, 0);
	before = space_of(pool);
	remount_poisoned(pool, at);
	after = space_of(pool);
	assert_int_equal(after.inodes, per_chunk);
	assert_int_equal(after.inodes_max, before.inodes_max - per_chunk);
	assert_int_equal(after.free_units, before.free_units);
	assert_int_equal(fs_lookup(pool->fs, dir, "f0", &attr), 0);
	assert_int_equal(fs_lookup(pool->fs, dir, "f4095", &attr), -EIO);
	assert_int_equal(fs_getattr(pool->fs, DXF_CHUNK_INODES + 4, &attr), -EIO);
	assert_int_equal(fs_unlink(pool->fs, NULL, dir, "f4095"), -EIO);
	assert_int_equal(fs_rename(pool->fs, &root_request, dir, "f0", dir, "f4095", 0), -EIO);
	more = make_dir(pool, ROOT, "more");
	assert_int_equal(more / DXF_CHUNK_INODES, 2);
	make_files(pool, more, 10);
	remount_healed(pool, at);
	assert_int_equal(fs_lookup(pool->fs, dir, "f4095", &attr), 0);
	end(pool);
}

/* A bitmap of inodes that is lost while mounted: new ones are made elsewhere. */
static void test_chunk_header_in_use(void **state)
{
	struct pool *pool = make(24);
	uint64_t dir = make_dir(pool, ROOT, "dir"), at;
	struct fs_attr attr;

	make_files(pool, dir, DXF_CHUNK_INODES);
	at = ((uint64_t *)pmem_at(pool->pm, fs_super(pool->fs)->inode_map_offset))[1];
	poison(pool, at);
	assert_int_equal(fs_mknod(pool->fs, &root_request, dir, "new", S_IFREG | 0644, 0, &attr),
			 0);
	assert_int_equal(attr.ino / DXF_CHUNK_INODES, 2);
	assert_int_equal(fs_getattr(pool->fs, DXF_CHUNK_INODES + 20, &attr), -EIO);
	heal(pool, at);
	pool_remount(pool);
	end(pool);
}

/* What the pool was when a record of it was live. */
static struct {
	struct pool *pool;
	char *bytes;
} live;

static void keep_live(const struct tx_request *request, int64_t result)
{
	memcpy(live.bytes, live.pool->pm->base, live.pool->pm->size);
}

/* A record that is to be replayed over poison: the mount is refused, nothing is lost, and
 * once the media is well the record is carried out. */
static void test_replay_over_poison(void **state)
{
	const struct fs_request asked = { .once = { 1, 1, keep_live } };
	struct pool *pool = make(24);
	uint64_t dir = make_dir(pool, ROOT, "dir"), at;
	struct fs_report report;
	struct fs_attr attr;

	assert_int_equal(fs_mknod(pool->fs, &root_request, dir, "old", S_IFREG | 0644, 0, &attr),
			 0);
	memcpy(&at, media_inode(pool, dir)->data, sizeof(at));
	at &= DXF_ENTRY_OFFSET; /* its first bucket */
	fs_unmount(pool->fs);
	assert_int_equal(fs_mount(pool->pm, NULL, &pool->fs, NULL), 0);
	live.pool = pool;
	live.bytes = malloc(pool->pm->size);
	assert_int_equal(fs_mknod(pool->fs, &asked, dir, "new", S_IFREG | 0644, 0, &attr), 0);
	fs_unmount(pool->fs);
	memcpy(pool->pm->base, live.bytes, pool->pm->size);
	free(live.bytes);
	poison(pool, at);
	assert_int_equal(fs_mount(pool->pm, NULL, &pool->fs, &report), -EIO);
	heal(pool, at);
	assert_int_equal(fs_mount(pool->pm, NULL, &pool->fs, &report), 0);
	assert_int_equal(report.replayed, 1);
	assert_int_equal(fs_lookup(pool->fs, dir, "new", &attr), 0);
	end(pool);
}

static uint64_t quota_offset(struct pool *pool, uint32_t project)
{
	const struct dxf_super *super = fs_super(pool->fs);

	return super->quota_offset +
	       (project * UINT32_C(0x9e3779b1) & (super->quota_count - 1)) * 64;
}

static void test_quotas(void **state)
{
	struct pool *pool = make(24);
	uint64_t bad = make_file(pool, "bad"), good = make_file(pool, "good");
	uint64_t at = quota_offset(pool, 7), before;
	struct fs_xflags in_7 = { .project = 7 }, in_8 = { .project = 8 };
	struct fs_quota quota;

	assert_int_not_equal(at / DXF_BLOCK_SIZE, quota_offset(pool, 8) / DXF_BLOCK_SIZE);
	assert_int_equal(fs_quota_set(pool->fs, 7, 100, 100), 0);
	assert_int_equal(fs_quota_set(pool->fs, 8, 7, 100), 0);
	assert_int_equal(fs_set_xflags(pool->fs, bad, &in_7), 0);
	assert_int_equal(fs_set_xflags(pool->fs, good, &in_8), 0);
	assert_int_equal(fs_write(pool->fs, NULL, bad, buf, 5 * DXF_BLOCK_SIZE, 0, 0),
			 5 * DXF_BLOCK_SIZE);
	remount_poisoned(pool, at);

	before = free_space(pool);
	assert_int_equal(fs_pread(pool->fs, bad, buf, DXF_BLOCK_SIZE, 0), DXF_BLOCK_SIZE);
	assert_int_equal(fs_write(pool->fs, NULL, bad, buf, DXF_BLOCK_SIZE, 0, 0), DXF_BLOCK_SIZE);
	assert_int_equal(fs_write(pool->fs, NULL, bad, buf, DXF_BLOCK_SIZE, 5 * DXF_BLOCK_SIZE, 0),
			 -EIO);
	assert_int_equal(free_space(pool), before);
	assert_int_equal(fs_quota_get(pool->fs, 7, &quota), -EIO);
	assert_int_equal(fs_quota_set(pool->fs, 7, 1, 1), -EIO);
	assert_int_equal(fs_set_xflags(pool->fs, good, &in_7), -EIO);
	assert_int_equal(fs_write(pool->fs, NULL, good, buf, 7 * DXF_BLOCK_SIZE, 0, 0),
			 7 * DXF_BLOCK_SIZE);
	assert_int_equal(fs_write(pool->fs, NULL, good, buf, DXF_BLOCK_SIZE, 20 * DXF_BLOCK_SIZE,
				  0),
			 -EDQUOT);
	assert_int_equal(fs_quota_get(pool->fs, 8, &quota), 0);
	assert_int_equal(quota.blocks, 7);
	/* what only frees goes on */
	before = free_space(pool);
	assert_int_equal(fs_fallocate(pool->fs, NULL, bad,
				      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				      2 * DXF_BLOCK_SIZE),
			 0);
	assert_int_equal(free_space(pool), before + 2);
	assert_int_equal(fs_quota_set(pool->fs, 8, 0, 0), 0);
	assert_int_equal(fs_set_xflags(pool->fs, bad, &in_8), 0);
	assert_int_equal(fs_set_xflags(pool->fs, bad, &in_7), -EIO);
	remove_file(pool, ROOT, "bad", bad);
	assert_int_equal(free_space(pool), before + 5);
	remount_healed(pool, at);
	assert_int_equal(fs_quota_get(pool->fs, 7, &quota), 0);
	assert_int_equal(quota.blocks, 0);
	end(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unit_words),          cmocka_unit_test(test_bitmaps),
		cmocka_unit_test(test_inode_map),           cmocka_unit_test(test_chunk_header),
		cmocka_unit_test(test_chunk_header_in_use), cmocka_unit_test(test_quotas),
		cmocka_unit_test(test_replay_over_poison),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
