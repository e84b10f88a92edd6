/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Repairs under adverse conditions: of poisoned metadata, and cut short at any
 * store and begun again.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daxfuse/check/check.h"
#include "daxfuse/core/fs.h"
#include "daxfuse/format.h"
#include "daxfuse/media/inode.h"
#include "tests/fuzz/exercise.h"
#include "tests/fuzz/media.h"
#include "tests/fuzz/population.h"

static struct pmem pool;

static int make_pool(void **state)
{
	media_new(POPULATION_SIZE, &pool);
	assert_int_equal(population_make(&pool, true), 0);
	media_keep(&pool);
	return 0;
}

static int fresh_copy(void **state)
{
	media_copy(&pool);
	return 0;
}

static const struct dxf_super *super(void)
{
	return pmem_at(&pool, 0);
}

static struct dxf_chunk *chunk(void)
{
	return pmem_at(&pool, *(uint64_t *)pmem_at(&pool, super()->inode_map_offset));
}

static struct dxf_inode *inode_at(uint32_t ino)
{
	return (void *)((char *)chunk() + ino * DXF_INODE_SIZE);
}

static struct check_result check(bool repair)
{
	struct check_options options = { .repair = repair };
	struct check_result result = { 0 };

	assert_int_equal(check_pool(&pool, &options, &result), 0);
	return result;
}

static struct dxf_bucket *root_bucket(void)
{
	return pmem_at(&pool, *(uint64_t *)(void *)inode_at(DXF_ROOT_INO)->data & DXF_ENTRY_OFFSET);
}

/* The inode that the root's slot names. */
static struct dxf_inode *named(const char *name)
{
	const struct dxf_bucket *bucket = root_bucket();

	for (unsigned i = 0; i < DXF_BUCKET_SLOTS; i++) {
		const struct dxf_slot *slot = &bucket->slot[i];

		if (bucket->first >> i & 1 && slot->name_length == strlen(name) &&
		    memcmp(slot->name, name, slot->name_length) == 0)
			return inode_at(slot->ino);
	}
	fail_msg("no %s", name);
	return NULL;
}

/* ---- poison --------------------------------------------------------------- */

static void poison_and_repair(uint64_t offset)
{
	struct check_result result;

	media_poison(offset);
	assert_true(check(false).found > 0);
	result = check(true);
	assert_int_equal(result.found, result.repaired);
	assert_int_equal(check(false).found, 0);
	assert_int_equal(exercise(&pool), 0);
	assert_int_equal(check(false).found, 0);
}

static void poisoned_first_super(void **state)
{
	poison_and_repair(64);
	assert_false(media_is_poisoned());
}

static void poisoned_second_super(void **state)
{
	poison_and_repair(super()->pool_size - DXF_UNIT_SIZE);
}

static void poisoned_journal(void **state)
{
	poison_and_repair(super()->journal_offset);
}

static void poisoned_unit_words(void **state)
{
	poison_and_repair(super()->unit_offset);
}

static void poisoned_bitmap(void **state)
{
	const uint64_t *word = pmem_at(&pool, super()->unit_offset);
	uint64_t unit = 0;

	while (word[unit] != DXF_UNIT_SPLIT)
		unit++;
	poison_and_repair(super()->bitmap_offset + unit * 64);
}

static void poisoned_inode_map(void **state)
{
	poison_and_repair(super()->inode_map_offset);
}

static void poisoned_chunk_header(void **state)
{
	poison_and_repair(pmem_offset(&pool, chunk()));
}

static void poisoned_used_bitmap(void **state)
{
	uint64_t inodes = check(false).inodes;

	/* the nameless ones can't be told from free ones */
	poison_and_repair(pmem_offset(&pool, chunk()->used));
	assert_in_range(check(false).inodes, inodes - 10, inodes);
}

static void poisoned_orphan_bitmap(void **state)
{
	poison_and_repair(pmem_offset(&pool, chunk()->orphan));
}

static void poisoned_inode(void **state)
{
	poison_and_repair(pmem_offset(&pool, named("direct")));
}

static void poisoned_root(void **state)
{
	poison_and_repair(pmem_offset(&pool, inode_at(DXF_ROOT_INO)));
}

static void poisoned_table(void **state)
{
	const struct dxf_inode *inode = named("table");

	poison_and_repair(*(const uint64_t *)(const void *)inode->data & DXF_ENTRY_OFFSET);
}

static void poisoned_bucket(void **state)
{
	poison_and_repair(pmem_offset(&pool, root_bucket()) + 1024);
}

static void poisoned_quota(void **state)
{
	const struct dxf_quota *quota = pmem_at(&pool, super()->quota_offset);

	while (!quota->project)
		quota++;
	poison_and_repair(pmem_offset(&pool, quota));
}

static void poisoned_data_is_left_alone(void **state)
{
	const struct dxf_inode *inode = named("direct");

	media_poison(*(const uint64_t *)(const void *)inode->data & DXF_ENTRY_OFFSET);
	assert_int_equal(check(true).found, 0);
	assert_int_equal(exercise(&pool), -EIO);
}

/* ---- cut short ------------------------------------------------------------ */

/* What the child of fork() stores, the parent sees. */
static void share_memory(void)
{
	char *copy = malloc(pool.size);

	assert_non_null(copy);
	memcpy(copy, pool.base, pool.size);
	assert_ptr_equal(mmap(pool.base, pool.size, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 pool.base);
	memcpy(pool.base, copy, pool.size);
	free(copy);
}

/* Whether the repair came to its end before that store. */
static bool repair_until(unsigned stores)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		media_exit_after(stores);
		check(true);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status) == 0;
}

/* Repair the damage again and again, each time cut short one store later. The
 * files that are left must be those of an uninterrupted repair. */
static void cut_short(void (*damage)(void))
{
	uint64_t inodes;
	bool done = false;

	damage();
	check(true);
	inodes = check(false).inodes;
	for (unsigned stores = 1; !done; stores++) {
		struct check_result result;

		media_copy(&pool);
		damage();
		share_memory();
		done = repair_until(stores);
		result = check(true);
		assert_int_equal(result.found, result.repaired);
		result = check(false);
		assert_int_equal(result.found, 0);
		/* a lost+found that was made, but not named yet, is put into another */
		assert_in_range(result.inodes, inodes, inodes + 1);
	}
}

static void damage_root_bucket(void)
{
	root_bucket()->magic = 0;
}

static void damage_shared(void)
{
	struct dxf_inode *inode = named("sparse");
	const uint64_t *table = pmem_at(&pool, *(uint64_t *)(void *)named("table")->data &
						       DXF_ENTRY_OFFSET);

	/* as a direct file, with a block of another one */
	memset(inode->data, 0, sizeof(inode->data));
	memcpy(inode->data, table, sizeof(*table));
	inode->data_format = DXF_DATA_DIRECT;
	inode->crc = inode_crc(inode);
}

static void damage_counts(void)
{
	struct dxf_inode *inode = named("direct");
	uint64_t *word = pmem_at(&pool, super()->unit_offset);

	inode->nlink = 7;
	inode->blocks = 7;
	inode->crc = inode_crc(inode);
	for (uint64_t unit = 0; unit < super()->pool_size / DXF_UNIT_SIZE; unit++)
		if (word[unit] == DXF_UNIT_DATA)
			word[unit] = DXF_UNIT_FREE;
}

static void cut_short_lost_files(void **state)
{
	cut_short(damage_root_bucket);
}

static void cut_short_shared(void **state)
{
	cut_short(damage_shared);
}

static void cut_short_counts(void **state)
{
	cut_short(damage_counts);
}

/* ---- no space ------------------------------------------------------------- */

static void fill_pool(void)
{
	static const struct fs_request request;
	static char buf[1 << 20];
	struct fs_options options = { 0 };
	struct fs_attr attr;
	size_t step = sizeof(buf);
	uint64_t end = 0;
	struct fs *fs;

	assert_int_equal(fs_mount(&pool, &options, &fs, NULL), 0);
	assert_int_equal(fs_mknod(fs, &request, DXF_ROOT_INO, "full", S_IFREG | 0600, 0, &attr), 0);
	while (step >= DXF_BLOCK_SIZE) {
		ssize_t n = fs_write(fs, NULL, attr.ino, buf, step, end, 0);

		if (n > 0)
			end += (uint64_t)n;
		else
			step /= 2;
	}
	fs_unmount(fs);
}

/* The later one of two files loses the block, the other one keeps it. */
static void shared_without_space(void **state)
{
	struct dxf_inode *sparse, *direct;
	uint64_t *first, blocks;

	fill_pool();
	sparse = named("sparse");
	direct = named("direct");
	first = (uint64_t *)(void *)sparse->data;
	assert_int_equal(sparse->data_format, DXF_DATA_DIRECT);
	assert_int_equal(*first, 0);
	blocks = sparse->blocks;
	memcpy(first, direct->data, sizeof(*first));
	sparse->blocks++;
	sparse->crc = inode_crc(sparse);
	assert_int_equal(check(true).found, 1);
	assert_int_equal(check(false).found, 0);
	assert_int_equal(*first, 0);
	assert_int_equal(sparse->blocks, blocks);
	assert_int_not_equal(*(uint64_t *)(void *)direct->data, 0);
}

/* What needs space that there is not is left as it is, and said. */
static void directory_without_space(void **state)
{
	struct check_result result;

	fill_pool();
	root_bucket()->slot[0].type ^= 1;
	result = check(true);
	assert_true(result.repaired < result.found);
	assert_int_equal(check(false).found, 1);
}

#define ON_A_COPY(test) cmocka_unit_test_setup(test, fresh_copy)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		ON_A_COPY(poisoned_first_super),
		ON_A_COPY(poisoned_second_super),
		ON_A_COPY(poisoned_journal),
		ON_A_COPY(poisoned_unit_words),
		ON_A_COPY(poisoned_bitmap),
		ON_A_COPY(poisoned_inode_map),
		ON_A_COPY(poisoned_chunk_header),
		ON_A_COPY(poisoned_used_bitmap),
		ON_A_COPY(poisoned_orphan_bitmap),
		ON_A_COPY(poisoned_inode),
		ON_A_COPY(poisoned_root),
		ON_A_COPY(poisoned_table),
		ON_A_COPY(poisoned_bucket),
		ON_A_COPY(poisoned_quota),
		ON_A_COPY(poisoned_data_is_left_alone),
		ON_A_COPY(cut_short_lost_files),
		ON_A_COPY(cut_short_shared),
		ON_A_COPY(cut_short_counts),
		ON_A_COPY(shared_without_space),
		ON_A_COPY(directory_without_space),
	};

	return cmocka_run_group_tests(tests, make_pool, NULL);
}
