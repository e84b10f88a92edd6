/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mounting: read-only, after a crash that left orphans, and pools that are
 * malformed. For these a valid pool is damaged at one place, with its checksums
 * made right again, and then walked and changed all over: any error will do, but
 * no crash, no hang and no wrong access (the tests run under ASan, too).
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/media/inode.h"
#include "daxfuse/media/volume.h"
#include "pool.h"

enum { UNITS = 16 };

static char buf[1 << 20];

/* Something of everything. */
static void populate(struct pool *pool)
{
	uint64_t dir, ino;
	struct fs_attr attr;
	char name[64];

	dir = make_dir(pool, ROOT, "dir");
	make_dir(pool, dir, "sub");
	ino = make_file(pool, "inline");
	assert_int_equal(fs_write(pool->fs, NULL, ino, "tiny", 4, 0, 0), 4);
	ino = make_file(pool, "direct");
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 30000, 0, 0), 30000);
	assert_int_equal(fs_setxattr(pool->fs, NULL, ino, "user.a", buf, 9000, 0), 0);
	ino = make_file(pool, "table");
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 200000, 0, 0), 200000);
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 1, UINT64_C(1) << 40, 0), 1);
	assert_int_equal(fs_setxattr(pool->fs, NULL, ino, "user.a", buf, 30, 0), 0);
	ino = make_file(pool, "unit");
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, sizeof(buf), 0, 0), sizeof(buf));
	assert_int_equal(fs_symlink(pool->fs, &root_request, ROOT, "short", "to", &attr), 0);
	memset(buf, 't', 1000);
	assert_int_equal(fs_symlink(pool->fs, &root_request, ROOT, "long",
				    (strcpy(buf + 900, "end"), buf), &attr),
			 0);
	assert_int_equal(fs_mknod(pool->fs, &root_request, ROOT, "fifo", S_IFIFO | 0600, 0, &attr),
			 0);
	for (unsigned i = 0; i < 150; i++) {
		snprintf(name, sizeof(name), "a name of some length, number %u", i);
		assert_int_equal(
			fs_mknod(pool->fs, &root_request, dir, name, S_IFREG | 0600, 0, &attr), 0);
	}
}

/* ---- read-only ------------------------------------------------------------ */

static void test_read_only(void **state)
{
	struct fs_setattr set = { .valid = FS_SET_MODE };
	struct fs_xflags xflags = { 0 };
	struct fs_attr attr;
	struct pool pool;
	char *before;
	struct fs *fs;

	pool_make(&pool, UNITS);
	populate(&pool);
	fs_unmount(pool.fs);
	before = malloc(pool.pm->size);
	memcpy(before, pool.pm->base, pool.pm->size);
	pool_mount(&pool, true);
	fs = pool.fs;
	assert_int_equal(fs_lookup(fs, ROOT, "direct", &attr), 0);
	assert_int_equal(fs_open(fs, attr.ino, O_RDWR, NULL), -EROFS);
	assert_int_equal(fs_open(fs, attr.ino, O_RDONLY, NULL), 0);
	assert_int_equal(fs_pread(fs, attr.ino, buf, sizeof(buf), 0), 30000);
	assert_int_equal(fs_write(fs, NULL, attr.ino, buf, 1, 0, 0), -EROFS);
	assert_int_equal(fs_fallocate(fs, NULL, attr.ino, 0, 0, 1), -EROFS);
	assert_int_equal(fs_setattr(fs, attr.ino, &set, NULL), -EROFS);
	assert_int_equal(fs_set_xflags(fs, attr.ino, &xflags), -EROFS);
	assert_int_equal(fs_setxattr(fs, NULL, attr.ino, "user.b", "x", 1, 0), -EROFS);
	assert_int_equal(fs_removexattr(fs, NULL, attr.ino, "user.a"), -EROFS);
	assert_int_equal(fs_copy_range(fs, NULL, attr.ino, 0, attr.ino, 1 << 20, 10), -EROFS);
	assert_int_equal(fs_unlink(fs, NULL, ROOT, "direct"), -EROFS);
	assert_int_equal(fs_rmdir(fs, NULL, ROOT, "dir"), -EROFS);
	assert_int_equal(fs_link(fs, NULL, attr.ino, ROOT, "x", &attr), -EROFS);
	assert_int_equal(fs_rename(fs, &root_request, ROOT, "direct", ROOT, "x", 0), -EROFS);
	assert_int_equal(fs_mknod(fs, &root_request, ROOT, "x", S_IFREG, 0, &attr), -EROFS);
	assert_int_equal(fs_mkdir(fs, &root_request, ROOT, "x", 0755, &attr), -EROFS);
	assert_int_equal(fs_symlink(fs, &root_request, ROOT, "x", "y", &attr), -EROFS);
	assert_int_equal(fs_tmpfile(fs, &root_request, ROOT, 0600, &attr), -EROFS);
	assert_int_equal(fs_quota_set(fs, 1, 1, 1), -EROFS);
	assert_int_equal(fs_set_label(fs, "x"), -EROFS);
	fs_release(fs, attr.ino);
	fs_forget(fs, attr.ino);
	fs_unmount(fs);
	assert_memory_equal(before, pool.pm->base, pool.pm->size);
	free(before);
	pmem_memory_free(pool.pm);
}

/* ---- after a crash -------------------------------------------------------- */

static void test_orphans(void **state)
{
	struct fs_report report;
	struct fs_attr attr;
	struct pool pool;
	uint64_t space, ino;

	pool_make(&pool, UNITS);
	make_file(&pool, "stays");
	space = free_space(&pool);
	ino = make_file(&pool, "goes");
	assert_int_equal(fs_write(pool.fs, NULL, ino, buf, sizeof(buf), 0, 0), sizeof(buf));
	assert_int_equal(fs_setxattr(pool.fs, NULL, ino, "user.a", buf, 5000, 0), 0);
	assert_int_equal(fs_unlink(pool.fs, NULL, ROOT, "goes"), 0);
	assert_int_equal(fs_tmpfile(pool.fs, &root_request, ROOT, 0600, &attr), 0);
	assert_int_equal(fs_write(pool.fs, NULL, attr.ino, buf, sizeof(buf), 0, 0), sizeof(buf));
	fs_unmount(pool.fs);
	assert_int_equal(fs_mount(pool.pm, NULL, &pool.fs, &report), 0);
	assert_int_equal(report.orphans, 2);
	assert_int_equal(free_space(&pool), space);
	assert_int_equal(fs_getattr(pool.fs, ino, &attr), -ESTALE);
	pool_free(&pool);
}

static struct dxf_inode *inode_at(struct pool *pool, uint64_t ino)
{
	struct dxf_super super;
	bool spare;

	assert_int_equal(super_load(pool->pm, &super, &spare), 0);
	return pmem_at(pool->pm, super.data_offset + ino * DXF_INODE_SIZE);
}

/* Blocks past the end that a truncation has not come to free. */
static void test_truncating(void **state)
{
	struct dxf_inode *inode;
	struct dxf_chunk *chunk;
	struct fs_report report;
	struct fs_attr attr;
	struct pool pool;
	uint64_t ino;

	pool_make(&pool, UNITS);
	ino = make_file(&pool, "file");
	assert_int_equal(fs_write(pool.fs, NULL, ino, memset(buf, 'x', sizeof(buf)), 200000, 0, 0),
			 200000);
	fs_unmount(pool.fs);
	inode = inode_at(&pool, ino);
	inode->size = 5000;
	inode->flags |= DXF_FLAG_TRUNCATING;
	inode->crc = inode_crc(inode);
	chunk = (void *)((char *)inode - ino * DXF_INODE_SIZE);
	chunk->orphan[0] |= UINT64_C(1) << ino;
	assert_int_equal(fs_mount(pool.pm, NULL, &pool.fs, &report), 0);
	assert_int_equal(report.orphans, 1);
	assert_int_equal(fs_getattr(pool.fs, ino, &attr), 0);
	assert_true(attr.blocks <= 3 * 8);
	assert_int_equal(fs_write(pool.fs, NULL, ino, "y", 1, 100000, 0), 1);
	assert_int_equal(fs_pread(pool.fs, ino, buf, 4, 50000), 4);
	assert_memory_equal(buf, "\0\0\0\0", 4);
	pool_free(&pool);
}

/* ---- superblocks ---------------------------------------------------------- */

static int mount_error(struct pool *pool)
{
	struct fs_report report;
	int err = fs_mount(pool->pm, NULL, &pool->fs, &report);

	if (err)
		assert_true(report.what[0]);
	else
		fs_unmount(pool->fs);
	return err;
}

static void test_superblocks(void **state)
{
	struct dxf_super *first, *second, good;
	struct fs_report report;
	struct pool pool;

	pool_make(&pool, UNITS);
	assert_int_equal(fs_set_label(pool.fs, "new"), 0);
	fs_unmount(pool.fs);
	first = pmem_at(pool.pm, 0);
	second = pmem_at(pool.pm, (UNITS - 1) * DXF_UNIT_SIZE);
	good = *first;
	assert_string_equal((char *)good.label, "new");
	first->pool_size++;
	assert_int_equal(fs_mount(pool.pm, NULL, &pool.fs, &report), 0);
	assert_true(report.spare_super);
	assert_string_equal((char *)fs_super(pool.fs)->label, "new");
	fs_unmount(pool.fs);
	*first = good;
#define BREAK(change, want)                                 \
	do {                                                \
		*first = *second = good;                    \
		change;                                     \
		first->crc = super_crc(first);              \
		*second = *first;                           \
		assert_int_equal(mount_error(&pool), want); \
	} while (0)
	BREAK(first->magic[0]++, -EINVAL);
	BREAK(first->version++, -EOPNOTSUPP);
	BREAK(first->incompat = 1 << 9, -EOPNOTSUPP);
	BREAK(first->ro_compat = 1, -EROFS);
	BREAK(first->compat = 1, 0);
	BREAK(first->data_offset += DXF_UNIT_SIZE, -EUCLEAN);
	BREAK(first->journal_count = 1000, -EUCLEAN);
	BREAK(first->inode_chunks++, -EUCLEAN);
	BREAK(first->quota_count = 0, -EUCLEAN);
	BREAK(first->root_ino = 9, -EUCLEAN);
	BREAK(first->label[63] = 'x', -EUCLEAN);
	BREAK(first->pool_size = 12345, -EUCLEAN);
	BREAK((first->pool_size = 2 * UNITS * DXF_UNIT_SIZE, super_layout(first)), -EFBIG);
#undef BREAK
	*first = *second = good;
	first->uuid[0]++;
	second->uuid[0]++;
	assert_int_equal(mount_error(&pool), -EUCLEAN);
	pmem_memory_free(pool.pm);
}

/* ---- malformed ------------------------------------------------------------ */

struct walk {
	char names[64][DXF_NAME_MAX + 1];
	unsigned count;
};

static int keep_name(const struct fs_dirent *entry, void *arg)
{
	struct walk *walk = arg;

	if (walk->count == 64)
		return 1;
	if (entry->name[0] != '.')
		strcpy(walk->names[walk->count++], entry->name);
	return 0;
}

static ssize_t ignore(const struct iovec *iov, int count, size_t bytes, void *arg)
{
	volatile char sum = 0;

	for (int i = 0; i < count; i++)
		for (size_t at = 0; at < iov[i].iov_len; at += 512)
			sum += ((char *)iov[i].iov_base)[at];
	return (ssize_t)bytes;
}

/* All that can be asked of an inode. */
static void ask(struct pool *pool, uint64_t ino)
{
	struct fs_xflags xflags;
	struct fs_iomap map;
	struct fs_attr attr;

	fs_getattr(pool->fs, ino, &attr);
	fs_get_xflags(pool->fs, ino, &xflags);
	fs_readlink(pool->fs, ino, buf, sizeof(buf));
	fs_listxattr(pool->fs, ino, buf, sizeof(buf));
	fs_getxattr(pool->fs, ino, "user.a", buf, sizeof(buf));
	fs_seek(pool->fs, ino, 0, SEEK_HOLE);
	fs_seek(pool->fs, ino, 0, SEEK_DATA);
	fs_seek(pool->fs, ino, 4096, SEEK_DATA);
	fs_iomap(pool->fs, ino, 0, 1 << 30, &map);
	fs_read(pool->fs, ino, 0, 1 << 20, ignore, NULL);
	fs_read(pool->fs, ino, (UINT64_C(1) << 40) - 4096, 8192, ignore, NULL);
}

/* All that can be done to it. */
static void change(struct pool *pool, uint64_t ino)
{
	struct fs_setattr set = { .valid = FS_SET_SIZE | FS_SET_MODE, .mode = 0700 };
	static const uint64_t sizes[] = { 5000, 100, 1 << 20, 0, 300 };
	struct fs_attr attr;

	fs_open(pool->fs, ino, O_RDWR, &attr);
	fs_write(pool->fs, NULL, ino, buf, 10, 50, 0);
	fs_write(pool->fs, NULL, ino, buf, 100000, 3000, 0);
	fs_write(pool->fs, NULL, ino, buf, 10, 0, FS_WRITE_APPEND);
	fs_fallocate(pool->fs, NULL, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 50000);
	fs_fallocate(pool->fs, NULL, ino, FALLOC_FL_ZERO_RANGE, 0, 3 << 20);
	fs_fallocate(pool->fs, NULL, ino, FALLOC_FL_COLLAPSE_RANGE, 4096, 4096);
	fs_setxattr(pool->fs, NULL, ino, "user.b", buf, 5000, 0);
	fs_removexattr(pool->fs, NULL, ino, "user.a");
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		set.size = sizes[i];
		fs_setattr(pool->fs, ino, &set, &attr);
	}
	fs_release(pool->fs, ino);
}

static void use_dir(struct pool *pool, uint64_t dir, unsigned depth, bool change_it)
{
	struct walk *walk = calloc(1, sizeof(*walk));
	struct fs_attr attr;

	fs_readdir(pool->fs, dir, 0, keep_name, walk);
	if (change_it) {
		fs_mknod(pool->fs, &root_request, dir, "new", S_IFREG | 0600, 0, &attr);
		fs_mkdir(pool->fs, &root_request, dir, "newdir", 0700, &attr);
	}
	for (unsigned i = 0; i < walk->count; i++) {
		if (fs_lookup(pool->fs, dir, walk->names[i], &attr))
			continue;
		ask(pool, attr.ino);
		if (change_it)
			change(pool, attr.ino);
		if (S_ISDIR(attr.mode) && depth < 3)
			use_dir(pool, attr.ino, depth + 1, change_it);
		if (change_it && i % 3 == 0)
			fs_rename(pool->fs, &root_request, dir, walk->names[i], ROOT, "moved",
				  i % 2 ? RENAME_EXCHANGE : 0);
		else if (change_it && (S_ISDIR(attr.mode) ? fs_rmdir : fs_unlink)(
					      pool->fs, NULL, dir, walk->names[i]) == 0)
			fs_forget(pool->fs, attr.ino);
	}
	free(walk);
}

struct malformed {
	char *image; /* a good pool */
	uint64_t size;
	uint64_t rng;
	struct pool pool;
};

/* Change a field of an inode to something that its type does not expect. */
static void damage_inode(struct malformed *m)
{
	uint64_t ino = DXF_ROOT_INO + next_random(&m->rng) % 14, r = next_random(&m->rng);
	struct dxf_inode *inode = inode_at(&m->pool, ino);
	static const uint32_t types[] = { S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFCHR, S_IFSOCK };
	uint64_t *entry = (uint64_t *)(void *)inode->data + r % 16,
		 *xattr = (uint64_t *)(void *)inode->xattr;
	uint64_t odd[] = {
		0, 1, 100, 4096, 5000, 1 << 20, 12288, UINT64_C(1) << 40, DXF_FILE_MAX, UINT64_MAX
	};
	uint64_t value = odd[r / 16 % ARRAY_SIZE(odd)];

	switch (next_random(&m->rng) % 16) {
	case 0:
		inode->mode = types[r % 6] | 0600;
		break;
	case 1:
		inode->data_format = (uint8_t)(r % 4);
		break;
	case 2:
		inode->table_level = (uint8_t)(r % 8);
		break;
	case 3:
		inode->size = value;
		break;
	case 4:
		inode->blocks = value;
		break;
	case 5:
		inode->nlink = (uint32_t)value;
		break;
	case 6:
		inode->entries = value;
		break;
	case 7:
		inode->parent = (uint32_t)(r % 20);
		break;
	case 8:
		inode->xattr_bytes = (uint32_t)value;
		break;
	case 9:
		*entry = value;
		break;
	case 10:
		*entry ^= UINT64_C(1) << r % 64;
		break;
	case 11:
		*entry = *(uint64_t *)(void *)inode_at(&m->pool, DXF_ROOT_INO + r % 14)->data;
		break;
	case 12:
		xattr[r % 32] ^= UINT64_C(1) << r / 32 % 64;
		break;
	case 13:
		inode->flags = (uint32_t)(r & 0x81ff);
		break;
	case 14:
		inode->project = (uint32_t)r;
		break;
	case 15:
		inode->data_format = (uint8_t)(r % 3), inode->size = value,
		inode->mode = types[r % 6];
		break;
	}
	inode->crc = inode_crc(inode);
}

/* Flip bits, or repeat words, in blocks that hold tables and buckets, in unit
 * words, in bitmaps and in the inode chunk. */
static void damage_any(struct malformed *m)
{
	uint64_t r = next_random(&m->rng), where[4], *word;
	struct dxf_super super;
	bool spare;

	assert_int_equal(super_load(m->pool.pm, &super, &spare), 0);
	where[0] = super.unit_offset + r % (UNITS * 8);
	where[1] = super.bitmap_offset + r % (UNITS * 64);
	where[2] = super.data_offset + r % (DXF_CHUNK_FIRST * DXF_INODE_SIZE);
	where[3] = super.data_offset + DXF_UNIT_SIZE + r % (60 * DXF_BLOCK_SIZE);
	word = pmem_at(m->pool.pm, where[next_random(&m->rng) % 4] / 8 * 8);
	if (r / 4096 % 2)
		*word ^= UINT64_C(1) << next_random(&m->rng) % 64;
	else
		*word = word[r % 3];
}

static void use_damaged(struct malformed *m)
{
	struct fs_statfs statfs;

	if (fs_mount(m->pool.pm, NULL, &m->pool.fs, NULL))
		return;
	use_dir(&m->pool, ROOT, 0, false);
	use_dir(&m->pool, ROOT, 0, true);
	fs_statfs(m->pool.fs, ROOT, &statfs);
	fs_unmount(m->pool.fs);
	if (fs_mount(m->pool.pm, NULL, &m->pool.fs, NULL) == 0)
		fs_unmount(m->pool.fs);
}

static void damaged_pools(void (*damage)(struct malformed *m), unsigned rounds)
{
	struct malformed m = { .rng = 4711 };

	pool_make(&m.pool, UNITS);
	populate(&m.pool);
	fs_unmount(m.pool.fs);
	m.size = m.pool.pm->size;
	m.image = malloc(m.size);
	memcpy(m.image, m.pool.pm->base, m.size);
	for (unsigned i = 0; i < rounds; i++) {
		for (uint64_t n = 1 + next_random(&m.rng) % 3; n; n--)
			damage(&m);
		use_damaged(&m);
		memcpy(m.pool.pm->base, m.image, m.size);
	}
	free(m.image);
	pmem_memory_free(m.pool.pm);
}

static void test_malformed_inodes(void **state)
{
	damaged_pools(damage_inode, 120);
}

static void test_malformed_words(void **state)
{
	damaged_pools(damage_any, 80);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_only),        cmocka_unit_test(test_orphans),
		cmocka_unit_test(test_truncating),       cmocka_unit_test(test_superblocks),
		cmocka_unit_test(test_malformed_inodes), cmocka_unit_test(test_malformed_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
