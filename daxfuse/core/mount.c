/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mounting: superblock, journals, allocators, then the orphans that a crash
 * left: inodes without a name are freed, truncations completed, tails ended. A
 * mount stores nothing else, and there is no "clean" flag: recovery is the same work always.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"
#include "daxfuse/media/ialloc.h"

static int64_t clock_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t (*fs_clock)(void) = clock_now;

const struct dxf_super *fs_super(const struct fs *fs)
{
	return &fs->vol->super;
}

const struct pmem *fs_pmem(const struct fs *fs)
{
	return fs->pm;
}

bool fs_is_read_only(const struct fs *fs)
{
	return atomic_load_explicit(&fs->read_only, memory_order_relaxed);
}

enum fs_dax_mode fs_dax(const struct fs *fs)
{
	return fs->options.dax;
}

enum fs_atime_mode fs_atime(const struct fs *fs)
{
	return atomic_load_explicit(&fs->atime, memory_order_relaxed);
}

errint_t fs_set_mode(struct fs *fs, bool read_only, enum fs_atime_mode atime)
{
	if (!read_only && fs->pm->read_only)
		return -EROFS;
	atomic_store_explicit(&fs->read_only, read_only, memory_order_relaxed);
	atomic_store_explicit(&fs->atime, atime, memory_order_relaxed);
	if (read_only)
		fs_tail_end_all(fs);
	return 0;
}

errint_t fs_set_label(struct fs *fs, const char *label)
{
	struct dxf_super *super = &fs->vol->super;
	size_t length = strlen(label);

	if (fs_is_read_only(fs))
		return -EROFS;
	if (length >= sizeof(super->label))
		return -EINVAL;
	lock_mutex(LOCK_SUPER, &fs->super_lock);
	memset(super->label, 0, sizeof(super->label));
	memcpy(super->label, label, length);
	super->generation++;
	super_store(fs->pm, super);
	unlock_mutex(LOCK_SUPER, &fs->super_lock);
	return 0;
}

static void explain(struct fs_report *report, int err)
{
	static const struct {
		int err;
		const char *what, *advice;
	} table[] = {
		{ EINVAL, "there is no daxfuse pool on it", "make one with mkfs.daxfuse" },
		{ EUCLEAN, "the pool is damaged",
		  "check it with fsck.daxfuse -n, repair it with -y" },
		{ EOPNOTSUPP, "the pool has a newer format", "use a newer daxfuse" },
		{ EFBIG, "the device is shorter than the pool on it",
		  "give it the whole device or image that mkfs.daxfuse was run on" },
		{ EROFS, "the pool can't be mounted this way",
		  "if it needs recovery mount it writable once; if it has newer features mount it -o ro" },
		{ EIO, "the media is poisoned where the pool's metadata lies",
		  "see which parts with fsck.daxfuse -n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (table[i].err == -err) {
			snprintf(report->what, sizeof(report->what), "%s", table[i].what);
			snprintf(report->advice, sizeof(report->advice), "%s", table[i].advice);
			return;
		}
	}
	snprintf(report->what, sizeof(report->what), "%s", strerror(-err));
}

struct recovery {
	struct fs *fs;
	uint64_t count;
};

/* The mark on media of an inode with a name is for one of the two, or else it goes. */
static errint_t recover_size(struct fs *fs, struct inode *inode)
{
	uint32_t flags = inode->media->flags;
	int err = flags & DXF_FLAG_TAIL ? tail_recover(fs, inode) : 0;

	if (!err && inode->media->nlink &&
	    ((flags & DXF_FLAG_TRUNCATING) || !(flags & DXF_FLAG_TAIL)))
		err = truncate_finish(fs, inode);
	return err;
}

/* What was appended by somebody who is gone is not seen before the tail has ended, and that is for
 * a mount that may write. */
static errint_t refuse_tail(uint32_t ino, void *arg)
{
	struct fs *fs = arg;
	struct inode *inode;
	bool has_tail;

	if (inode_lock_attr(fs, ino, &inode))
		return 0;
	has_tail = inode->media->flags & DXF_FLAG_TAIL;
	inode_unlock(fs, inode);
	return has_tail ? -EROFS : 0;
}

/* An orphan that can't be read stays: it is fsck's, and harms nobody. */
static errint_t recover_orphan(uint32_t ino, void *arg)
{
	struct recovery *r = arg;
	struct inode *inode;
	bool kept = false;
	int err = inode_lock(r->fs, ino, true, &inode);

	if (err)
		return err == -ENOMEM ? err : 0;
	err = recover_size(r->fs, inode);
	if (!err && !inode->media->nlink) {
		if (r->fs->options.keep_orphans)
			kept = true;
		else
			err = orphan_free(r->fs, inode);
	}
	inode_unlock(r->fs, inode);
	r->count += !err && !kept;
	return err == -EUCLEAN || err == -EIO || err == -ESTALE ? 0 : err;
}

static errint_t check_root(struct fs *fs)
{
	struct inode *root;
	int err = inode_get(fs, fs->vol->super.root_ino, &root);

	if (err)
		return err == -ESTALE ? -EUCLEAN : err;
	if (!S_ISDIR(root->media->mode))
		err = -EUCLEAN;
	inode_put(fs, root);
	return err;
}

static errint_t insert_busy(struct fs *fs, struct fs_report *report)
{
	for (unsigned i = 0; i < fs->options.busy_count; i++) {
		const struct fs_busy *busy = &fs->options.busy[i];
		int err = fs_busy_insert(fs, busy->device_offset, busy->length);

		if (err == -EINVAL) {
			snprintf(report->what, sizeof(report->what),
				 "what programs are said to have mapped is not on this pool");
			snprintf(report->advice, sizeof(report->advice),
				 "end the programs that have its files mapped, and mount it anew");
		}
		if (err)
			return err;
	}
	fs->options.busy = NULL;
	fs->options.busy_count = 0;
	return 0;
}

static errint_t mount_parts(struct fs *fs, struct fs_report *report)
{
	struct recovery recovery = { fs, 0 };
	const struct volume_options options = {
		.read_only = fs->options.read_only,
		.replayed = fs->options.replayed,
		.replayed_arg = fs->options.replayed_arg,
	};
	struct dxf_super super;
	int err = pmem_poison_init();

	if (!err)
		err = super_load(fs->pm, &super, &report->spare_super);
	if (err == -EROFS && fs->options.read_only)
		err = 0;
	if (!err)
		err = volume_open(fs->pm, &super, &options, &fs->vol, &report->replayed);
	if (!err)
		err = insert_busy(fs, report);
	if (!err)
		err = icache_open(fs);
	if (!err)
		err = check_root(fs);
	if (!err && fs->options.read_only)
		err = ialloc_for_each_orphan(fs->vol, refuse_tail, fs);
	else if (!err) {
		err = ialloc_for_each_orphan(fs->vol, recover_orphan, &recovery);
		report->orphans = recovery.count;
	}
	return err;
}

errint_t fs_mount(const struct pmem *pm, const struct fs_options *options, struct fs **ret_fs,
		  struct fs_report *ret_report)
{
	struct fs_report unused, *report = ret_report ? ret_report : &unused;
	struct fs *fs = calloc(1, sizeof(*fs));
	int err;

	memset(report, 0, sizeof(*report));
	if (!fs)
		return -ENOMEM;
	fs->pm = pm;
	if (options)
		fs->options = *options;
	if (pm->read_only)
		fs->options.read_only = true;
	atomic_init(&fs->read_only, fs->options.read_only);
	atomic_init(&fs->atime, fs->options.atime);
	pthread_mutex_init(&fs->rename_lock, NULL);
	pthread_mutex_init(&fs->super_lock, NULL);
	pthread_mutex_init(&fs->tails_lock, NULL);
	err = mount_parts(fs, report);
	if (err) {
		if (!report->what[0])
			explain(report, err);
		fs_unmount(fs);
		return err;
	}
	*ret_fs = fs;
	return 0;
}

void fs_unmount(struct fs *fs)
{
	if (!fs)
		return;
	fs_tail_end_all(fs);
	tail_close(fs);
	icache_close(fs);
	volume_close(fs->vol);
	pthread_mutex_destroy(&fs->rename_lock);
	pthread_mutex_destroy(&fs->super_lock);
	pthread_mutex_destroy(&fs->tails_lock);
	free(fs);
}
