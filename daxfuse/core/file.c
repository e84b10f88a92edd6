/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Open files, and reading them. A read hands out pieces of the pool itself,
 * under the inode's shared lock; holes are pieces of a page of zeroes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"
#include "daxfuse/media/ialloc.h"
#include "daxfuse/media/table.h"

enum { IOV_COUNT = 520, DAY_SECONDS = 24 * 60 * 60 };

static const char zeroes[64 << 10];

/* ---- open, release, forget ------------------------------------------------ */

static errint_t may_open(const struct fs *fs, const struct dxf_inode *inode, int flags)
{
	bool writes = (flags & O_ACCMODE) != O_RDONLY;

	if (!writes)
		return 0;
	if (fs_is_read_only(fs))
		return -EROFS;
	if (inode->flags & DXF_FLAG_IMMUTABLE)
		return -EPERM;
	if ((inode->flags & DXF_FLAG_APPEND) && (!(flags & O_APPEND) || (flags & O_TRUNC)))
		return -EPERM;
	return 0;
}

errint_t fs_open(struct fs *fs, uint64_t ino, int open_flags, struct fs_attr *ret_attr)
{
	struct inode *inode;
	int err = inode_lock_attr(fs, ino, &inode);

	if (err)
		return err;
	err = may_open(fs, inode->media, open_flags);
	if (!err) {
		atomic_fetch_add_explicit(&inode->opens, 1, memory_order_relaxed);
		inode_ref(fs, inode);
		if (ret_attr)
			inode_attr(fs, inode, ret_attr);
	}
	inode_unlock(fs, inode);
	return err;
}

/* Free an orphan that nobody has open; locked exclusively. */
static void reap(struct fs *fs, struct inode *inode)
{
	if (inode_is_orphan(inode))
		orphan_free(fs, inode);
}

/* Whether somebody has it open, or mapped. */
static bool is_in_use(const struct inode *inode)
{
	return inode->kept || atomic_load_explicit(&inode->opens, memory_order_relaxed);
}

static bool is_held(const struct inode *inode)
{
	return atomic_load_explicit(&inode->holds, memory_order_relaxed);
}

/* The work that waits for the last one, if that is gone: blocks move only when nobody can have them
 * mapped. Locked exclusively. */
static void settle(struct fs *fs, struct inode *inode)
{
	if (inode->gone || is_in_use(inode))
		return;
	if (inode->forgotten && !is_held(inode))
		reap(fs, inode);
	else if (inode->trim && !fs_is_read_only(fs))
		trim_inode(fs, inode);
}

static void last_close(struct fs *fs, struct inode *inode)
{
	if (inode_lock_exclusive(fs, inode))
		return;
	settle(fs, inode);
	unlock_rw(LOCK_INODE, &inode->lock);
}

errint_t fs_keep_layout(struct fs *fs, uint64_t ino, bool on)
{
	struct inode *inode;
	int err = inode_lock(fs, ino, true, &inode);

	if (err)
		return err;
	if (on && !S_ISREG(inode->media->mode)) {
		err = -ENODEV;
	} else if (on) {
		inode->kept++;
		inode_ref(fs, inode);
	} else if (inode->kept) {
		inode->kept--;
		settle(fs, inode);
		/* not the last reference: inode_lock() has one */
		inode_put(fs, inode);
	}
	inode_unlock(fs, inode);
	return err;
}

void fs_release(struct fs *fs, uint64_t ino)
{
	struct inode *inode;
	uint32_t opens;

	if (inode_get(fs, ino, &inode))
		return;
	opens = atomic_load_explicit(&inode->opens, memory_order_relaxed);
	while (opens &&
	       !atomic_compare_exchange_strong_explicit(&inode->opens, &opens, opens - 1,
							memory_order_acq_rel, memory_order_relaxed))
		;
	if (opens == 1)
		last_close(fs, inode);
	if (opens)
		inode_put(fs, inode);
	inode_put(fs, inode);
}

errint_t fs_hold(struct fs *fs, uint64_t ino, struct fs_attr *ret_attr)
{
	struct inode *inode;
	int err = inode_lock_attr(fs, ino, &inode);

	if (err)
		return err;
	atomic_fetch_add_explicit(&inode->holds, 1, memory_order_relaxed);
	inode_ref(fs, inode);
	inode_attr(fs, inode, ret_attr);
	inode_unlock(fs, inode);
	return 0;
}

void fs_unhold(struct fs *fs, uint64_t ino)
{
	struct inode *inode;

	if (inode_get(fs, ino, &inode))
		return;
	if (atomic_fetch_sub_explicit(&inode->holds, 1, memory_order_acq_rel) == 1)
		last_close(fs, inode);
	inode_put(fs, inode);
	inode_put(fs, inode);
}

bool fs_is_orphan(struct fs *fs, uint64_t ino)
{
	struct inode *inode;
	bool orphan = false;

	if (inode_lock_attr(fs, ino, &inode) == 0) {
		orphan = inode_is_orphan(inode);
		inode_unlock(fs, inode);
	}
	return orphan;
}

struct orphans {
	struct fs *fs;
	errint_t (*fn)(uint64_t ino, void *arg);
	void *arg;
};

/* An inode that waits for the rest of a truncation, or has a tail, has the same mark on media. */
static errint_t emit_orphan(uint32_t ino, void *arg)
{
	const struct orphans *o = arg;

	return fs_is_orphan(o->fs, ino) ? o->fn(ino, o->arg) : 0;
}

errint_t fs_for_each_orphan(struct fs *fs, errint_t (*fn)(uint64_t ino, void *arg), void *arg)
{
	struct orphans orphans = { fs, fn, arg };

	return ialloc_for_each_orphan(fs->vol, emit_orphan, &orphans);
}

void fs_forget(struct fs *fs, uint64_t ino)
{
	struct inode *inode;

	if (fs_is_read_only(fs) || inode_lock(fs, ino, true, &inode))
		return;
	/* a close may be on its way still, in a request that nobody waits for */
	if (is_in_use(inode) || is_held(inode))
		inode->forgotten = inode_is_orphan(inode);
	else
		reap(fs, inode);
	inode_unlock(fs, inode);
}

/* ---- read ----------------------------------------------------------------- */

/* One word, atomic: readers need not exclude each other for it. */
static void update_atime(struct fs *fs, struct inode *inode, int64_t now)
{
	int64_t atime = (int64_t)pmem_read_once64(&inode->media->atime);

	if (fs_is_read_only(fs) || fs_atime(fs) == FS_ATIME_NEVER ||
	    (inode->media->flags & DXF_FLAG_NOATIME))
		return;
	if (fs_atime(fs) == FS_ATIME_RELATIVE &&
	    atime > (int64_t)pmem_read_once64(&inode->media->mtime) &&
	    atime > (int64_t)pmem_read_once64(&inode->media->ctime) &&
	    now - atime < DAY_SECONDS * INT64_C(1000000000))
		return;
	pmem_store64(fs->pm, &inode->media->atime, (uint64_t)now);
	pmem_flush(fs->pm, &inode->media->atime, 8);
	pmem_fence(fs->pm);
}

struct pieces {
	struct iovec iov[IOV_COUNT];
	int count;
	size_t bytes;
};

/* False: no room for another piece. */
static bool add_piece(struct pieces *p, const void *base, size_t length)
{
	struct iovec *last = p->count ? &p->iov[p->count - 1] : NULL;

	if (last && (const char *)last->iov_base + last->iov_len == base) {
		last->iov_len += length;
	} else {
		if (p->count == IOV_COUNT)
			return false;
		p->iov[p->count++] = (struct iovec){ (void *)base, length };
	}
	p->bytes += length;
	return true;
}

static bool add_zeroes(struct pieces *p, size_t length)
{
	while (length) {
		size_t n = MIN(length, sizeof(zeroes));

		if (p->count == IOV_COUNT)
			return false;
		p->iov[p->count++] = (struct iovec){ (void *)zeroes, n };
		p->bytes += n;
		length -= n;
	}
	return true;
}

/* Collect the pieces of [offset, end); stops early when there are too many. */
static errint_t collect(struct fs *fs, const struct dxf_inode *inode, uint64_t offset, uint64_t end,
			struct pieces *p)
{
	if (inode->data_format == DXF_DATA_INLINE) {
		add_piece(p, inode->data + offset, end - offset);
		return 0;
	}
	while (offset < end) {
		uint64_t block = offset / DXF_BLOCK_SIZE, in = offset % DXF_BLOCK_SIZE, n;
		struct run run;
		int err = table_find(fs->vol, NULL, inode, block, blocks_of(end) - block, &run);

		if (err)
			return err;
		n = MIN(run.count * DXF_BLOCK_SIZE - in, end - offset);
		err = run.written ? probe_range(fs->pm, pmem_at(fs->pm, run.offset + in), n) : 0;
		if (err)
			return err;
		if (run.written ? !add_piece(p, pmem_at(fs->pm, run.offset + in), n)
				: !add_zeroes(p, n))
			return 0;
		offset += n;
	}
	return 0;
}

static errint_t read_check(const struct dxf_inode *inode)
{
	return S_ISREG(inode->mode) ? 0 : S_ISDIR(inode->mode) ? -EISDIR : -EINVAL;
}

static ssize_t read_pieces(struct fs *fs, uint64_t ino, uint64_t offset, size_t length, bool touch,
			   fs_emit emit, void *arg)
{
	struct pieces pieces;
	struct inode *inode;
	uint64_t size;
	ssize_t n = inode_lock(fs, ino, false, &inode);

	if (n)
		return n;
	pieces.count = 0;
	pieces.bytes = 0;
	size = inode->media->size;
	n = read_check(inode->media);
	if (!n && offset < size)
		n = collect(fs, inode->media, offset, offset + MIN(length, size - offset), &pieces);
	if (!n) {
		/* before emit: a reader that has the bytes may ask for the time at once */
		if (touch)
			update_atime(fs, inode, fs_clock());
		n = emit(pieces.iov, pieces.count, pieces.bytes, arg);
	}
	inode_unlock(fs, inode);
	return n;
}

ssize_t fs_read(struct fs *fs, uint64_t ino, uint64_t offset, size_t length, fs_emit emit,
		void *arg)
{
	return read_pieces(fs, ino, offset, length, true, emit, arg);
}

void fs_was_read(struct fs *fs, uint64_t ino, int64_t when)
{
	struct inode *inode;

	if (inode_lock_attr(fs, ino, &inode))
		return;
	if (when > (int64_t)pmem_read_once64(&inode->media->atime) && !read_check(inode->media))
		update_atime(fs, inode, when);
	inode_unlock(fs, inode);
}

ssize_t fs_read_noatime(struct fs *fs, uint64_t ino, uint64_t offset, size_t length, fs_emit emit,
			void *arg)
{
	return read_pieces(fs, ino, offset, length, false, emit, arg);
}

struct target {
	struct fs *fs;
	char *buf;
};

static ssize_t copy_out(const struct iovec *iov, int count, size_t bytes, void *arg)
{
	struct target *t = arg;

	for (int i = 0; i < count; i++) {
		int err = 0;

		if (iov[i].iov_base == zeroes)
			memset(t->buf, 0, iov[i].iov_len);
		else
			err = pmem_read(t->fs->pm, t->buf, iov[i].iov_base, iov[i].iov_len);
		if (err)
			return err;
		t->buf += iov[i].iov_len;
	}
	return (ssize_t)bytes;
}

ssize_t fs_pread(struct fs *fs, uint64_t ino, void *buf, size_t length, uint64_t offset)
{
	size_t done = 0;

	while (done < length) {
		struct target target = { fs, (char *)buf + done };
		ssize_t n = fs_read(fs, ino, offset + done, length - done, copy_out, &target);

		if (n < 0)
			return done ? (ssize_t)done : n;
		if (!n)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* ---- where it lies -------------------------------------------------------- */

/* Of one look-up; as runs end with each table and unit, 2 GiB of units. */
enum { JOINED_RUNS = 1024 };

static bool is_continued(const struct run *run, const struct run *next)
{
	return next->written == run->written && next->unit == run->unit &&
	       next->offset == (run->offset ? run->offset + run->count * DXF_BLOCK_SIZE : 0);
}

/* The run at block, also over the ends of tables and units. Blocks behind its beginning that can't
 * be read are for a look-up there to say. */
static errint_t find_run(struct fs *fs, const struct dxf_inode *inode, uint64_t block, uint64_t max,
			 struct run *run)
{
	struct run next;
	int err = table_find(fs->vol, NULL, inode, block, max, run);

	for (unsigned i = 0; !err && run->count < max && i < JOINED_RUNS; i++) {
		if (table_find(fs->vol, NULL, inode, block + run->count, max - run->count, &next) ||
		    !is_continued(run, &next))
			break;
		run->count += next.count;
	}
	return err;
}

errint_t iomap_locked(struct fs *fs, const struct dxf_inode *inode, uint64_t offset,
		      uint64_t length, struct fs_iomap *ret_iomap)
{
	uint64_t block = offset / DXF_BLOCK_SIZE, in = offset % DXF_BLOCK_SIZE;
	struct run run;
	int err;

	lock_assert(LOCK_INODE);
	*ret_iomap = (struct fs_iomap){ .file_offset = offset, .length = length };
	if (inode->data_format == DXF_DATA_INLINE) {
		if (offset < inode->size) {
			ret_iomap->kind = FS_IOMAP_MAPPED;
			ret_iomap->length = MIN(length, inode->size - offset);
			ret_iomap->device_offset = pmem_offset(fs->pm, inode->data) + offset;
		}
		return 0;
	}
	err = find_run(fs, inode, block, blocks_of(in + length), &run);
	if (err)
		return err;
	ret_iomap->length = MIN(length, run.count * DXF_BLOCK_SIZE - in);
	ret_iomap->unit = run.unit;
	if (run.offset) {
		ret_iomap->kind = run.written ? FS_IOMAP_MAPPED : FS_IOMAP_UNWRITTEN;
		ret_iomap->device_offset = run.offset + in;
	}
	return 0;
}

errint_t fs_iomap(struct fs *fs, uint64_t ino, uint64_t offset, uint64_t length,
		  struct fs_iomap *ret_iomap)
{
	struct inode *inode;
	int err;

	if (!length || offset >= DXF_FILE_MAX || length > DXF_FILE_MAX)
		return -EINVAL;
	err = inode_lock(fs, ino, false, &inode);
	if (err)
		return err;
	err = read_check(inode->media);
	if (!err)
		err = iomap_locked(fs, inode->media, offset, length, ret_iomap);
	inode_unlock(fs, inode);
	return err;
}

errint_t fs_iomap_steps(struct fs *fs, uint64_t ino, uint64_t *ret_steps)
{
	struct inode *inode;
	int err = inode_lock(fs, ino, false, &inode);

	if (err)
		return err;
	*ret_steps = table_steps_max(fs->vol, inode->media);
	inode_unlock(fs, inode);
	return 0;
}

off_t fs_seek(struct fs *fs, uint64_t ino, uint64_t offset, int whence)
{
	struct inode *inode;
	uint64_t size, steps;
	off_t result = -ENXIO;
	int err = inode_lock(fs, ino, false, &inode);

	if (err)
		return err;
	size = inode->media->size;
	steps = table_steps_max(fs->vol, inode->media);
	err = whence == SEEK_DATA || whence == SEEK_HOLE ? read_check(inode->media) : -EINVAL;
	while (!err && offset < size) {
		struct fs_iomap map;

		err = steps-- ? iomap_locked(fs, inode->media, offset, size - offset, &map)
			      : -EUCLEAN;
		if (!err && (map.kind == FS_IOMAP_MAPPED) == (whence == SEEK_DATA)) {
			result = (off_t)offset;
			break;
		}
		if (!err)
			offset += map.length;
		if (!err && offset >= size && whence == SEEK_HOLE)
			result = (off_t)size; /* there is always a hole at the end */
	}
	inode_unlock(fs, inode);
	return err ? err : result;
}
