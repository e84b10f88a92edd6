/* SPDX-License-Identifier: BSD-3-Clause */
/* How much there is: statfs, quotas, counters. */
#include <errno.h>
#include <stdatomic.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"
#include "daxfuse/media/alloc.h"
#include "daxfuse/media/ialloc.h"
#include "daxfuse/media/quota.h"

void fs_get_space(struct fs *fs, struct fs_space *ret_space)
{
	struct alloc_space space;

	alloc_space(fs->vol, &space);
	*ret_space = (struct fs_space){
		.units = space.units,
		.free_units = space.free_units,
		.split_units = space.split_units,
		.free_blocks = space.free_blocks,
		.bad_blocks = space.bad_blocks,
		.busy_blocks = space.busy_blocks,
	};
	ialloc_count(fs->vol, &ret_space->inodes, &ret_space->inodes_max);
}

/* A device that may not be written gives nothing out, and its units can't be coalesced either. Not
 * so the mount: what was busy when it became read-only is let go of then, and free when it is
 * writable again. */
errint_t fs_busy_insert(struct fs *fs, uint64_t device_offset, uint64_t length)
{
	return fs->pm->read_only ? 0 : alloc_busy_insert(fs->vol, device_offset, length);
}

void fs_busy_clear(struct fs *fs, uint64_t device_offset, uint64_t length)
{
	if (!fs->pm->read_only)
		alloc_busy_clear(fs->vol, device_offset, length);
}

/* The pool's space, cut down to the rest of the project's limit. */
static void limit(struct fs_statfs *s, const struct dxf_quota *quota)
{
	if (quota->block_limit && quota->block_limit < s->blocks) {
		uint64_t left = quota->block_limit - MIN(quota->blocks, quota->block_limit);

		s->blocks = quota->block_limit;
		s->free_blocks = MIN(s->free_blocks, left);
	}
	if (quota->inode_limit && quota->inode_limit < s->inodes) {
		uint64_t left = quota->inode_limit - MIN(quota->inodes, quota->inode_limit);

		s->inodes = quota->inode_limit;
		s->free_inodes = MIN(s->free_inodes, left);
	}
}

errint_t fs_statfs(struct fs *fs, uint64_t ino, struct fs_statfs *ret_statfs)
{
	struct fs_space space;
	struct fs_statfs s;
	struct dxf_quota quota;
	struct inode *inode;
	int err = inode_lock_attr(fs, ino, &inode);

	if (err)
		return err;
	fs_get_space(fs, &space);
	s.blocks = space.units * DXF_UNIT_BLOCKS;
	s.free_blocks = space.free_units * DXF_UNIT_BLOCKS + space.free_blocks;
	s.inodes = space.inodes_max;
	s.free_inodes = space.inodes_max - MIN(space.inodes, space.inodes_max);
	if (inode->media->project && (inode->media->flags & DXF_FLAG_PROJINHERIT) &&
	    quota_read(fs->vol, inode->media->project, &quota) == 0)
		limit(&s, &quota);
	inode_unlock(fs, inode);
	*ret_statfs = s;
	return 0;
}

errint_t fs_quota_set(struct fs *fs, uint32_t project, uint64_t block_limit, uint64_t inode_limit)
{
	if (fs_is_read_only(fs))
		return -EROFS;
	return quota_set_limits(fs->vol, project, block_limit, inode_limit);
}

static void show_quota(const struct dxf_quota *record, struct fs_quota *ret_quota)
{
	*ret_quota = (struct fs_quota){
		.project = record->project,
		.block_limit = record->block_limit,
		.inode_limit = record->inode_limit,
		.blocks = record->blocks,
		.inodes = record->inodes,
	};
}

errint_t fs_quota_get(struct fs *fs, uint32_t project, struct fs_quota *ret_quota)
{
	struct dxf_quota record;
	int err = quota_read(fs->vol, project, &record);

	if (!err)
		show_quota(&record, ret_quota);
	return err;
}

errint_t fs_quota_list(struct fs *fs, errint_t (*fn)(const struct fs_quota *quota, void *arg),
		       void *arg)
{
	for (uint32_t i = 0; i < fs->vol->super.quota_count; i++) {
		const uint64_t *record =
			(const void *)&fs->vol->quota[i]; /* project: the low half */
		struct fs_quota quota;
		uint64_t word;
		int err;

		if (pmem_load64(fs->pm, record, &word) || !(uint32_t)word ||
		    fs_quota_get(fs, (uint32_t)word, &quota))
			continue;
		err = fn(&quota, arg);
		if (err)
			return err;
	}
	return 0;
}

void fs_get_counters(struct fs *fs, struct fs_counters *ret_counters)
{
	*ret_counters = (struct fs_counters){
		.units_promoted = atomic_load_explicit(&fs->units_promoted, memory_order_relaxed),
		.units_trimmed = atomic_load_explicit(&fs->units_trimmed, memory_order_relaxed),
	};
	for (uint32_t i = 0; i < fs->vol->super.journal_count; i++) {
		struct journal *j = &fs->vol->journals[i];

		lock_mutex(LOCK_JOURNAL, &j->lock);
		ret_counters->transactions += j->commits;
		ret_counters->transaction_bytes += j->bytes;
		unlock_mutex(LOCK_JOURNAL, &j->lock);
	}
}
