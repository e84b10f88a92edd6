// SPDX-License-Identifier: GPL-2.0
/*
 * read(2) and write(2) of a view.
 *
 * Copies go through the kernel's direct map, by the functions that survive
 * failed memory, and without the size check of hardened usercopy, which is the
 * caller's here: a copy never leaves its piece of the device. Stores bypass the
 * cache, and a fence ends a write: it is durable when it returns.
 *
 * The program's buffer may be a mapping of a view, even of this one. So a piece is
 * copied below view->lock with page faults disabled; what is missing is faulted in
 * afterwards, without a lock, and copied again.
 */
#include <linux/cred.h>
#include <linux/highmem.h>
#include <linux/libnvdimm.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/user_namespace.h>

#include "compat.h"
#include "daxview.h"

#define DV_COPY_MAX PMD_SIZE /* with one hold of the lock */

enum dv_next { DV_AGAIN, DV_DONE, DV_ASK, DV_FAULT };

/* A read or write that is under way. */
struct dv_copy {
	struct dv_view *view;
	struct iov_iter *iter;
	u64 pos;
	size_t done;
	unsigned int stuck; /* attempts without a byte copied */
	bool appends;       /* to the end, wherever that is by then */
	struct dv_want want;
};

static enum dv_next dv_moved(struct dv_copy *copy, size_t bytes)
{
	copy->pos += bytes;
	copy->done += bytes;
	copy->stuck = bytes ? 0 : copy->stuck + 1;
	if (!bytes)
		return DV_FAULT;
	return iov_iter_count(copy->iter) ? DV_AGAIN : DV_DONE;
}

/* Where the next bytes of the device are, and how many: NULL: they have failed. */
static void *dv_address(struct dv_device *device, const struct dv_place *place, u64 pos,
			size_t *bytes)
{
	size_t offset = offset_in_page(pos);
	u64 run = DIV_ROUND_UP(offset + *bytes, PAGE_SIZE), good = run;
	unsigned long pfn = dv_device_pfn(device, place->device, &run);

	if (!run || dv_device_bad(device, place->device, &good))
		return NULL;
	*bytes = min(*bytes, (min(run, good) << PAGE_SHIFT) - offset);
	return page_address(pfn_to_page(pfn)) + offset;
}

static enum dv_next dv_want_bytes(struct dv_copy *copy, u32 kind, u64 offset, u64 length)
{
	copy->want.kind = kind;
	copy->want.offset = offset;
	copy->want.length = length;
	copy->want.generation = copy->view->generation;
	return DV_ASK;
}

/* The byte behind a place; the last one goes on for ever. */
static u64 dv_place_end(const struct dv_place *place)
{
	return place->last >= (MAX_LFS_FILESIZE >> PAGE_SHIFT)
		       ? round_down(MAX_LFS_FILESIZE, PAGE_SIZE)
		       : (u64)(place->last + 1) << PAGE_SHIFT;
}

/* Ask about all pages of the rest of the request of which the same is known. */
static enum dv_next dv_want_place(struct dv_copy *copy, u32 kind, u64 pos,
				  const struct dv_place *place, size_t bytes)
{
	u64 first = round_down(pos, PAGE_SIZE);
	u64 end = min(round_up(pos + bytes, PAGE_SIZE), dv_place_end(place));

	return dv_want_bytes(copy, kind, first, end - first);
}

/*
 * A read asks about whole units, as a load does: a program that reads a little everywhere, or a
 * little after the other, asks once for each.
 */
static enum dv_next dv_want_units(struct dv_copy *copy, const struct dv_place *place, size_t bytes)
{
	struct dv_view *view = copy->view;
	pgoff_t page = copy->pos >> PAGE_SHIFT, unit = round_down(page, DV_UNIT_PAGES);
	u64 first = round_down(copy->pos, PAGE_SIZE);
	u64 size = round_up(i_size_read(&view->inode), PAGE_SIZE);
	u64 end = min3(round_up(copy->pos + bytes, PMD_SIZE), dv_place_end(place), size);
	struct dv_place before;

	dv_look(view, unit, &before);
	if (before.kind == DV_UNKNOWN && before.last >= page)
		first = (u64)unit << PAGE_SHIFT;
	return dv_want_bytes(copy, DAXVIEW_ASK_READ, first, end - first);
}

/* How many of these bytes lie in this place. */
static size_t dv_in_place(const struct dv_place *place, u64 pos, size_t bytes)
{
	return min3((u64)bytes, dv_place_end(place) - pos, (u64)DV_COPY_MAX);
}

static enum dv_next dv_read_locked(struct dv_copy *copy, int *err)
{
	struct dv_view *view = copy->view;
	u64 size = i_size_read(&view->inode);
	size_t bytes = iov_iter_count(copy->iter), moved;
	struct dv_place place;
	void *from;

	if (!bytes || copy->pos >= size)
		return DV_DONE;
	bytes = min(bytes, size - copy->pos);
	dv_look(view, copy->pos >> PAGE_SHIFT, &place);
	if (place.kind == DV_UNKNOWN)
		return dv_want_units(copy, &place, bytes);
	bytes = dv_in_place(&place, copy->pos, bytes);
	pagefault_disable();
	if (place.kind == DV_HOLE) {
		moved = iov_iter_zero(bytes, copy->iter);
	} else {
		from = dv_address(view->session->device, &place, copy->pos, &bytes);
		moved = from ? _copy_mc_to_iter(from, bytes, copy->iter) : 0;
		*err = from ? 0 : -EIO;
	}
	pagefault_enable();
	return *err ? DV_DONE : dv_moved(copy, moved);
}

/* Where the page of a write is; DV_AGAIN: it may be stored to. */
static enum dv_next dv_look_to_write(struct dv_copy *copy, u64 pos, size_t bytes,
				     struct dv_place *place)
{
	dv_look(copy->view, pos >> PAGE_SHIFT, place);
	if (place->kind == DV_EXTENT && !place->reads_only)
		return DV_AGAIN;
	return dv_want_place(copy, DAXVIEW_ASK_WRITE, pos, place, bytes);
}

/* NULL: it is not what the last write has found. Else how many of these bytes are. */
static void *dv_recall(struct dv_view *view, u64 pos, size_t *bytes)
{
	const struct dv_spot *spot = &view->spot;
	pgoff_t page = pos >> PAGE_SHIFT;
	u64 offset = pos - ((u64)spot->first << PAGE_SHIFT);

	if (spot->generation != view->generation || page - spot->first >= spot->pages ||
	    unlikely(!xa_empty(&view->session->device->bad)))
		return NULL;
	*bytes = min3((u64)*bytes, (spot->pages << PAGE_SHIFT) - offset, (u64)DV_COPY_MAX);
	return spot->at + offset;
}

/* All of the place, if it lies in one range of the device. */
static void dv_remember(struct dv_view *view, pgoff_t page, const struct dv_place *place)
{
	u64 before = page - place->first, run;
	unsigned long pfn = dv_device_pfn(view->session->device, place->device - before, &run);

	lockdep_assert_held(&view->inode.i_rwsem);
	if (run <= before)
		return;
	view->spot.generation = view->generation;
	view->spot.first = place->first;
	view->spot.pages = min(run, place->last - place->first + 1);
	view->spot.at = page_address(pfn_to_page(pfn));
}

/* Where the next bytes of a write go, and how many; DV_AGAIN: they may. */
static enum dv_next dv_find_to_write(struct dv_copy *copy, u64 pos, size_t *bytes, void **to,
				     int *err)
{
	struct dv_view *view = copy->view;
	struct dv_place place;
	enum dv_next next;

	*to = dv_recall(view, pos, bytes);
	if (*to)
		return DV_AGAIN;
	next = dv_look_to_write(copy, pos, *bytes, &place);
	if (next != DV_AGAIN)
		return next;
	*bytes = dv_in_place(&place, pos, *bytes);
	*to = dv_address(view->session->device, &place, pos, bytes);
	if (!*to) {
		*err = -EIO;
		return DV_DONE;
	}
	dv_remember(view, pos >> PAGE_SHIFT, &place);
	return DV_AGAIN;
}

/* A write begins behind the end: nobody sees yet what lies between, and it is to be zeroes. */
static enum dv_next dv_zero_locked(struct dv_copy *copy, u64 from, u64 end, int *err)
{
	enum dv_next next = DV_AGAIN;

	while (from < end) {
		size_t bytes = min_t(u64, end - from, PAGE_SIZE - offset_in_page(from));
		void *to;

		next = dv_find_to_write(copy, from, &bytes, &to, err);
		if (next != DV_AGAIN)
			break;
		memset(to, 0, bytes);
		arch_wb_cache_pmem(to, bytes);
		from += bytes;
	}
	return next;
}

/* As far as one place goes. */
static enum dv_next dv_write_place_locked(struct dv_copy *copy, u64 limit, int *err)
{
	pgoff_t page = copy->pos >> PAGE_SHIFT;
	size_t bytes = min_t(u64, iov_iter_count(copy->iter), limit - copy->pos), moved;
	enum dv_next next;
	void *to;

	next = dv_find_to_write(copy, copy->pos, &bytes, &to, err);
	if (next != DV_AGAIN)
		return next;
	*err = dv_tag(copy->view, page, ((copy->pos + bytes - 1) >> PAGE_SHIFT) - page + 1, false);
	if (*err)
		return DV_DONE;
	pagefault_disable();
	moved = _copy_from_iter_flushcache(to, bytes, copy->iter);
	pagefault_enable();
	return dv_moved(copy, moved);
}

/* The kernel writes with the rights of the mount's owner; the program has the thread's. */
static bool dv_may_keep_privileges(void)
{
	const struct cred *cred = current_real_cred();

	/* One that works for somebody else. */
	if (current->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER))
		return false;
	return cred->user_ns == &init_user_ns && cap_raised(cred->cap_effective, CAP_FSETID);
}

/*
 * What is appended is seen at once, as far as one hold of the lock goes, and a
 * crash shows it at once. Order: see tail.c.
 */
static enum dv_next dv_write_locked(struct dv_copy *copy, int *err)
{
	struct dv_view *view = copy->view;
	u64 start, size = i_size_read(&view->inode), limit = dv_write_limit(view);
	enum dv_next next = DV_AGAIN;

	if (!iov_iter_count(copy->iter))
		return DV_DONE;
	if (copy->appends)
		copy->pos = size;
	start = copy->pos;
	if (view->privileged && !dv_may_keep_privileges())
		return dv_want_bytes(copy, DAXVIEW_ASK_STRIP, 0, 0);
	if (start >= limit)
		return dv_want_bytes(copy, DAXVIEW_ASK_EXTEND, start, iov_iter_count(copy->iter));
	if (start > size)
		next = dv_zero_locked(copy, size, start, err);
	while (next == DV_AGAIN && iov_iter_count(copy->iter) && copy->pos < limit &&
	       copy->pos - start < DV_COPY_MAX)
		next = dv_write_place_locked(copy, limit, err);
	if (copy->pos > start && copy->pos > size) {
		int failed = 0;

		dv_zero_locked(copy, copy->pos, round_up(copy->pos, PAGE_SIZE), &failed);
		dv_grow_locked(view, copy->pos);
	} else if (copy->pos > start) {
		dv_stamp_locked(view);
	}
	return next;
}

/*
 * The buffer is there, and still nothing can be copied: the memory of the device
 * can't be read, or the buffer is being taken away as fast as it comes. A copy
 * into a page of our own tells which.
 */
static enum dv_next dv_read_bounced(struct dv_copy *copy, int *err)
{
	struct dv_view *view = copy->view;
	u8 *page = kmalloc(PAGE_SIZE, GFP_KERNEL);
	size_t bytes = PAGE_SIZE - offset_in_page(copy->pos), moved = 0;
	struct dv_place place;
	void *from = NULL;

	*err = page ? 0 : -ENOMEM;
	if (*err)
		return DV_DONE;
	down_read(&view->lock);
	dv_look(view, copy->pos >> PAGE_SHIFT, &place);
	if (!view->revoked && place.kind == DV_EXTENT && copy->pos < i_size_read(&view->inode)) {
		bytes = min3((u64)bytes, (u64)iov_iter_count(copy->iter),
			     (u64)i_size_read(&view->inode) - copy->pos);
		from = dv_address(view->session->device, &place, copy->pos, &bytes);
		if (!from || copy_mc_to_kernel(page, from, bytes))
			*err = -EIO;
	}
	up_read(&view->lock);
	if (from && !*err) {
		moved = copy_to_iter(page, bytes, copy->iter);
		dv_moved(copy, moved);
	}
	kfree(page);
	return *err ? DV_DONE : DV_AGAIN;
}

static int dv_fault_in(struct dv_copy *copy, bool write)
{
	size_t bytes = min_t(size_t, iov_iter_count(copy->iter), SZ_64K);
	size_t missing = write ? fault_in_iov_iter_readable(copy->iter, bytes)
			       : fault_in_iov_iter_writeable(copy->iter, bytes);

	return missing == bytes ? -EFAULT : 0;
}

static enum dv_next dv_copy_some(struct dv_copy *copy, bool write, int *err)
{
	struct dv_view *view = copy->view;
	enum dv_next next;

	if (down_read_killable(&view->lock)) {
		*err = -EINTR;
		return DV_DONE;
	}
	if (view->revoked) {
		*err = -EIO;
		next = DV_DONE;
	} else {
		next = write ? dv_write_locked(copy, err) : dv_read_locked(copy, err);
	}
	up_read(&view->lock);
	return next;
}

static ssize_t dv_copy(struct dv_copy *copy, bool write);

/*
 * A write whose buffer goes as fast as it comes, as when it is the file's own last
 * page, which a tail takes out of mappings: by way of a page of our own.
 */
static enum dv_next dv_write_bounced(struct dv_copy *copy, int *err)
{
	size_t bytes = min_t(size_t, iov_iter_count(copy->iter), PAGE_SIZE);
	struct kvec vector = { kmalloc(PAGE_SIZE, GFP_KERNEL), bytes };
	struct iov_iter iter;
	struct dv_copy part = {
		.view = copy->view, .iter = &iter, .pos = copy->pos, .appends = copy->appends
	};
	ssize_t ret;

	*err = vector.iov_base ? 0 : -ENOMEM;
	if (*err)
		return DV_DONE;
	vector.iov_len = copy_from_iter(vector.iov_base, bytes, copy->iter);
	iov_iter_kvec(&iter, ITER_SOURCE, &vector, 1, vector.iov_len);
	ret = vector.iov_len ? dv_copy(&part, true) : -EFAULT;
	iov_iter_revert(copy->iter, vector.iov_len - part.done);
	kfree(vector.iov_base);
	if (ret < 0) {
		*err = ret;
		return DV_DONE;
	}
	copy->pos = part.pos - part.done;
	dv_moved(copy, part.done);
	return DV_AGAIN;
}

static ssize_t dv_copy(struct dv_copy *copy, bool write)
{
	enum dv_next next = DV_AGAIN;
	int err = 0;

	while (!err && next != DV_DONE) {
		next = dv_copy_some(copy, write, &err);
		if (next == DV_ASK)
			err = dv_ask(copy->view, &copy->want);
		else if (next == DV_FAULT && copy->stuck > 3)
			next = write ? dv_write_bounced(copy, &err) : dv_read_bounced(copy, &err);
		else if (next == DV_FAULT)
			err = dv_fault_in(copy, write);
		if (!err && next != DV_DONE && fatal_signal_pending(current))
			err = -EINTR;
		cond_resched();
	}
	return copy->done ?: err;
}

ssize_t dv_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct dv_view *view = dv_view_of(file_inode(iocb->ki_filp));
	struct dv_copy copy = { .view = view, .iter = to, .pos = iocb->ki_pos };
	ssize_t ret;

	atomic64_inc(&view->reads);
	/* before the bytes: a reader that has them may ask for the time at once */
	if (!(iocb->ki_filp->f_flags & O_NOATIME))
		WRITE_ONCE(view->read, ktime_get_real_ns());
	ret = dv_copy(&copy, false);
	iocb->ki_pos = copy.pos;
	return ret;
}

ssize_t dv_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct dv_view *view = dv_view_of(file_inode(iocb->ki_filp));
	struct dv_copy copy = { .view = view, .iter = from };
	ssize_t ret;

	inode_lock(&view->inode);
	/* below its lock: no atomic operation is needed */
	atomic64_set(&view->writes, atomic64_read(&view->writes) + 1);
	ret = generic_write_checks(iocb, from);
	if (ret > 0) {
		copy.pos = iocb->ki_pos;
		copy.appends = iocb->ki_flags & IOCB_APPEND;
		/* So that what is appended is seen at once. */
		if (copy.pos + iov_iter_count(from) > i_size_read(&view->inode))
			fault_in_iov_iter_readable(from, iov_iter_count(from));
		ret = dv_copy(&copy, true);
		iocb->ki_pos = copy.pos;
		pmem_wmb();
	}
	inode_unlock(&view->inode);
	return ret;
}
