/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/fuzz/population.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/core/fs.h"
#include "daxfuse/media/inode.h"

enum { NAMES = 300, PROJECT = 42, BLOB = 5000 };
#define ROOT DXF_ROOT_INO

static const struct fs_request request = {
	.uid = 1000, .gid = 1000, .umask = 022, .in_group = true
};

static int64_t ticking(void)
{
	static int64_t now = INT64_C(1700000000000000000);

	return now += 1000;
}

static int make_file(struct fs *fs, uint64_t parent, const char *name, uint64_t offset,
		     size_t bytes)
{
	struct fs_attr attr;
	char *buf = malloc(bytes + 1);
	ssize_t n;
	int err = buf ? fs_mknod(fs, &request, parent, name, S_IFREG | 0644, 0, &attr) : -ENOMEM;

	if (!err && bytes) {
		memset(buf, name[0], bytes);
		n = fs_write(fs, NULL, attr.ino, buf, bytes, offset, 0);
		err = n < 0 ? (int)n : (size_t)n == bytes ? 0 : -ENOSPC;
	}
	free(buf);
	return err;
}

static int make_files(struct fs *fs)
{
	static const struct {
		const char *name;
		uint64_t offset;
		size_t bytes;
	} files[] = {
		{ "empty", 0, 0 },
		{ "inline", 0, 100 },
		{ "direct", 0, 5000 },
		{ "sparse", 40960, 4096 },
		{ "table", 0, 200000 },
		{ "units", 0, 5 << 20 },
		{ "far", UINT64_C(1) << 40, 4096 },
		{ "hole", 3 << 20, 300000 },
	};
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_SIZE(files); i++)
		err = make_file(fs, ROOT, files[i].name, files[i].offset, files[i].bytes);
	return err;
}

static int make_specials(struct fs *fs)
{
	char target[3000];
	struct fs_attr attr;
	int err;

	memset(target, 't', sizeof(target) - 1);
	target[sizeof(target) - 1] = '\0';
	err = fs_symlink(fs, &request, ROOT, "short-link", "inline", &attr);
	if (!err)
		err = fs_symlink(fs, &request, ROOT, "long-link", target, &attr);
	if (!err)
		err = fs_mknod(fs, &request, ROOT, "fifo", S_IFIFO | 0600, 0, &attr);
	if (!err)
		err = fs_mknod(fs, &request, ROOT, "device", S_IFCHR | 0600, 1 << 20 | 3, &attr);
	if (!err)
		err = fs_lookup(fs, ROOT, "direct", &attr);
	if (!err)
		err = fs_link(fs, NULL, attr.ino, ROOT, "hard-link", &attr);
	if (!err)
		err = fs_mknod(fs, &request, ROOT, "allocated", S_IFREG | 0644, 0, &attr);
	if (!err)
		err = fs_fallocate(fs, NULL, attr.ino, FALLOC_FL_KEEP_SIZE, 0, 300000);
	return err;
}

static int make_directories(struct fs *fs)
{
	struct fs_attr many, deep, attr;
	char name[DXF_NAME_MAX + 1];
	int err = fs_mkdir(fs, &request, ROOT, "many", 0755, &many);

	for (unsigned i = 0; !err && i < NAMES; i++) {
		snprintf(name, sizeof(name), "%0*u", i % 2 ? 8 : (int)(i % 200) + 50, i);
		err = fs_mknod(fs, &request, many.ino, name, S_IFREG | 0644, 0, &attr);
	}
	if (!err)
		err = fs_mkdir(fs, &request, ROOT, "a", 0755, &deep);
	for (unsigned i = 0; !err && i < 4; i++)
		err = fs_mkdir(fs, &request, deep.ino, "a", 0755, &deep);
	if (!err)
		err = make_file(fs, deep.ino, "leaf", 0, 1000);
	return err ? err : fs_mkdir(fs, &request, ROOT, "empty-directory", 0755, &attr);
}

static int make_attributes(struct fs *fs)
{
	struct fs_xflags flags = { .project = PROJECT, .flags = DXF_FLAG_PROJINHERIT };
	struct fs_attr attr;
	char blob[BLOB];
	int err = fs_lookup(fs, ROOT, "inline", &attr);

	memset(blob, 'x', sizeof(blob));
	if (!err)
		err = fs_setxattr(fs, NULL, attr.ino, "user.small", "value", 5, 0);
	if (!err)
		err = fs_setxattr(fs, NULL, attr.ino, "user.other", "", 0, 0);
	if (!err)
		err = fs_lookup(fs, ROOT, "table", &attr);
	if (!err)
		err = fs_setxattr(fs, NULL, attr.ino, "user.large", blob, sizeof(blob), 0);
	if (!err)
		err = fs_mkdir(fs, &request, ROOT, "project", 0755, &attr);
	if (!err)
		err = fs_set_xflags(fs, attr.ino, &flags);
	if (!err)
		err = make_file(fs, attr.ino, "counted", 0, 20000);
	return err ? err : fs_quota_set(fs, PROJECT, 100000, 1000);
}

/* Nobody calls fs_forget(), so they wait for the next mount. */
static int leave_orphans(struct fs *fs)
{
	struct fs_attr attr;
	int err = make_file(fs, ROOT, "gone", 0, 50000);

	if (!err)
		err = fs_lookup(fs, ROOT, "gone", &attr);
	if (!err)
		err = fs_open(fs, attr.ino, O_RDONLY, &attr);
	if (!err)
		err = fs_unlink(fs, NULL, ROOT, "gone");
	return err ? err : fs_tmpfile(fs, &request, ROOT, 0600, &attr);
}

/* A file that has grown over space behind its end, past the filesystem: as if it had, and the machine
 * had crashed then. */
static int make_tail(struct fs *fs, uint64_t *ret_ino)
{
	struct fs_attr attr;
	int err = make_file(fs, ROOT, "tail", 0, 5000);

	if (!err)
		err = fs_lookup(fs, ROOT, "tail", &attr);
	if (!err)
		err = fs_fallocate(fs, NULL, attr.ino, FALLOC_FL_KEEP_SIZE, 8192, 16384);
	if (!err)
		*ret_ino = attr.ino;
	return err;
}

static void leave_tail(const struct pmem *pm, uint64_t ino)
{
	const struct dxf_super *super = pmem_at(pm, 0);
	struct dxf_chunk *chunk = pmem_at(pm, super->data_offset);
	struct dxf_inode *inode = pmem_at(pm, super->data_offset + ino * DXF_INODE_SIZE);

	inode->flags |= DXF_FLAG_TAIL;
	inode->tail_first = 2;
	inode->tail_size = 12000;
	inode->crc = inode_crc(inode);
	chunk->orphan[ino / 64] |= UINT64_C(1) << ino % 64;
}

int population_make(const struct pmem *pm, bool orphans)
{
	struct fs_format format = {
		.uuid = { 1 },
		.label = "population",
		.hash_seed = 1,
		.now = 1,
		.root_uid = 1000,
		.root_gid = 1000,
	};
	int64_t (*clock)(void) = fs_clock;
	struct fs_options options = { 0 };
	uint64_t tail = 0;
	struct fs *fs;
	int err;

	fs_clock = ticking;
	err = fs_mkfs(pm, &format);
	if (!err)
		err = fs_mount(pm, &options, &fs, NULL);
	if (err)
		return err;
	err = make_files(fs);
	if (!err)
		err = make_specials(fs);
	if (!err)
		err = make_directories(fs);
	if (!err)
		err = make_attributes(fs);
	if (!err && orphans)
		err = leave_orphans(fs);
	if (!err && orphans)
		err = make_tail(fs, &tail);
	fs_unmount(fs);
	if (tail)
		leave_tail(pm, tail);
	fs_clock = clock;
	return err;
}
