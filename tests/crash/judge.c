/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/crash/judge.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daxfuse/check/check.h"
#include "tests/crash/compare.h"

static const struct fs_request request = { .uid = 0, .gid = 0, .in_group = true };
static const struct fs_options options = { .atime = FS_ATIME_NEVER };

__attribute__((format(printf, 2, 3))) static int fails(struct judge *judge, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(judge->diff, sizeof(judge->diff), format, args);
	va_end(args);
	return -1;
}

/* other NULL: nothing may be torn. */
static int check_model(struct judge *judge, struct fs *fs, const struct model *model,
		       const struct model *other, char *diff, size_t diff_size)
{
	struct compare compare = { .fs = fs,
				   .model = model,
				   .other = other,
				   .torn_node = judge->torn_node,
				   .torn_anywhere = judge->torn_anywhere,
				   .read_time = judge->read_time,
				   .inode_units = judge->inode_units };

	return compare_run(&compare, diff, diff_size);
}

void judge_add(struct judge *judge, const struct model *model, const struct model *other,
	       unsigned verdict)
{
	if (judge->candidates < JUDGE_CANDIDATES_MAX)
		judge->candidate[judge->candidates++] = (struct judge_candidate){ model, other,
										  verdict };
}

/* Why it is not the first candidate, and not the last, is what people ask. */
static unsigned look(struct judge *judge, struct fs *fs)
{
	char first[256] = "", last[256] = "";
	unsigned i;

	for (i = 0; i < judge->candidates; i++) {
		const struct judge_candidate *candidate = &judge->candidate[i];

		if (check_model(judge, fs, candidate->model, candidate->other, i ? last : first,
				sizeof(last)) == 0) {
			fails(judge, "not what it must be (%s)", first);
			return candidate->verdict;
		}
	}
	fails(judge, "neither after (%s) nor before (%s)", first, last);
	return 0;
}

/* Names come and go in a directory. */
static int use_directory(struct judge *judge, struct fs *fs, uint64_t dir)
{
	static const char text[100] = "used";
	bool tight = judge->tight;
	struct fs_attr attr;
	ssize_t written;
	int err = fs_mknod(fs, &request, dir, "~file", S_IFREG | 0600, 0, &attr);

	if (err)
		return tight && (err == -ENOSPC || err == -EDQUOT)
			       ? 0
			       : fails(judge, "use: mknod says %d", err);
	written = fs_write(fs, NULL, attr.ino, text, sizeof(text), 5000, 0);
	if (written != (ssize_t)sizeof(text) && !tight)
		return fails(judge, "use: write says %zd", written);
	err = fs_unlink(fs, NULL, dir, "~file");
	if (err)
		return fails(judge, "use: unlink says %d", err);
	fs_forget(fs, attr.ino);
	return 0;
}

static ssize_t emit_zeroes(const struct iovec *iov, int count, size_t bytes, void *arg)
{
	int i;

	for (i = 0; i < count; i++) {
		const char *at = iov[i].iov_base;

		if (iov[i].iov_len && (at[0] || memcmp(at, at + 1, iov[i].iov_len - 1) != 0))
			return -EBADMSG;
	}
	return (ssize_t)bytes;
}

/* What lies behind the end of a file is zeroes once it is inside. */
static int use_file(struct judge *judge, struct fs *fs, uint64_t ino)
{
	struct fs_setattr set = { .valid = FS_SET_SIZE };
	struct fs_attr attr;
	uint64_t size;
	ssize_t got;
	int err = fs_getattr(fs, ino, &attr);

	if (err)
		return fails(judge, "use: getattr says %d", err);
	size = attr.size;
	set.size = size + 9000;
	err = fs_setattr(fs, ino, &set, &attr);
	if (err)
		return judge->tight ? 0 : fails(judge, "use: growing says %d", err);
	got = fs_read(fs, ino, size, 9000, emit_zeroes, NULL);
	if (got != 9000)
		return fails(judge, "use: behind the old end at %llu: %zd",
			     (unsigned long long)size, got);
	return 0;
}

static int use_flags(struct fs *fs, uint64_t ino)
{
	struct fs_xflags xflags;
	int err = fs_get_xflags(fs, ino, &xflags);

	if (err || !(xflags.flags & (DXF_FLAG_IMMUTABLE | DXF_FLAG_APPEND)))
		return err;
	xflags.flags &= ~(DXF_FLAG_IMMUTABLE | DXF_FLAG_APPEND);
	return fs_set_xflags(fs, ino, &xflags);
}

static int use_tree(struct judge *judge, struct fs *fs, uint64_t dir);

static int use_entry(struct judge *judge, struct fs *fs, uint64_t dir,
		     const struct compare_entry *entry)
{
	int err;

	if (entry->type == DT_LNK)
		err = 0;
	else
		err = use_flags(fs, entry->ino);
	if (err)
		return fails(judge, "use: flags of %s say %d", entry->name, err);
	if (entry->type == DT_DIR) {
		err = use_tree(judge, fs, entry->ino);
		if (err)
			return err;
		err = fs_rmdir(fs, NULL, dir, entry->name);
	} else {
		err = entry->type == DT_REG ? use_file(judge, fs, entry->ino) : 0;
		if (err)
			return err;
		err = fs_unlink(fs, NULL, dir, entry->name);
	}
	if (err)
		return fails(judge, "use: removing %s says %d", entry->name, err);
	if (fs_is_orphan(fs, entry->ino))
		fs_forget(fs, entry->ino);
	return 0;
}

/* Use everything below dir, and delete it. */
static int use_tree(struct judge *judge, struct fs *fs, uint64_t dir)
{
	struct compare_list list;
	size_t i;
	int err = use_directory(judge, fs, dir);

	if (err)
		return err;
	err = compare_list(fs, dir, &list);
	for (i = 0; i < list.count && !err; i++)
		err = use_entry(judge, fs, dir, &list.entry[i]);
	compare_list_free(&list);
	return err;
}

static uint64_t free_blocks(struct fs *fs, uint64_t *ret_inodes)
{
	struct fs_space space;

	fs_get_space(fs, &space);
	*ret_inodes = space.inodes;
	return space.free_units * DXF_UNIT_BLOCKS + space.free_blocks;
}

static int use(struct judge *judge, struct fs *fs)
{
	uint64_t blocks, inodes, lost;
	int err = use_flags(fs, DXF_ROOT_INO);

	if (!err)
		err = use_tree(judge, fs, DXF_ROOT_INO);
	if (err)
		return err;
	blocks = free_blocks(fs, &inodes);
	lost = judge->empty_blocks - blocks;
	if (inodes != 1 || lost % DXF_UNIT_BLOCKS || lost / DXF_UNIT_BLOCKS >= judge->inode_units)
		return fails(judge, "emptied: %llu inodes, %lld blocks are lost",
			     (unsigned long long)inodes, (long long)lost);
	return 0;
}

static int mount(struct judge *judge, struct fs **ret_fs, const char *when)
{
	struct fs_report report;
	int err = fs_mount(&judge->image->pm, &options, ret_fs, &report);

	judge->mount_error = err;
	return err ? fails(judge, "%s mount says %d: %s", when, err, report.what) : 0;
}

static void found(const struct check_finding *finding, void *arg)
{
	struct judge *judge = arg;

	if (finding->problem == CHECK_SUPER && judge->super_differs)
		return;
	judge->problems++;
	fails(judge, "check: %s", finding->text);
}

/* The checker, which knows the format alone, has nothing to say. */
static int check(struct judge *judge)
{
	struct check_options check_options = { .settled = true, .found = found, .arg = judge };
	struct check_result result = { 0 };
	int err;

	judge->problems = 0;
	err = check_pool(&judge->image->pm, &check_options, &result);
	return err ? fails(judge, "check says %d", err) : judge->problems ? -1 : 0;
}

/* What was recovered needs no second recovery, and can be used. */
static int mount_again(struct judge *judge)
{
	size_t mark = image_mark(judge->image);
	struct fs *fs;
	int err = mount(judge, &fs, "second");

	if (err)
		return err;
	if (image_hash_delta(judge->image, mark))
		err = fails(judge, "the second mount changes the pool");
	if (!err)
		err = use(judge, fs);
	fs_unmount(fs);
	return err;
}

unsigned judge_state(struct judge *judge)
{
	size_t mark = image_mark(judge->image);
	unsigned verdict = 0;
	struct fs *fs;
	int err;

	judge->image->log = judge->recovery;
	err = mount(judge, &fs, "the");
	judge->image->log = NULL;
	if (err && judge->no_pool &&
	    (judge->mount_error == -EINVAL || judge->mount_error == -EUCLEAN))
		verdict = judge->no_pool;
	if (err == 0) {
		verdict = look(judge, fs);
		fs_unmount(fs);
		if (verdict && (check(judge) || mount_again(judge)))
			verdict = 0;
	}
	image_rollback(judge->image, mark);
	return verdict;
}

int judge_calibrate(struct judge *judge)
{
	size_t mark = image_mark(judge->image);
	uint64_t inodes;
	struct fs *fs;
	int err = mount(judge, &fs, "the first");

	if (!err) {
		err = use_directory(judge, fs, DXF_ROOT_INO);
		judge->empty_blocks = free_blocks(fs, &inodes);
		fs_unmount(fs);
	}
	image_rollback(judge->image, mark);
	return err;
}
