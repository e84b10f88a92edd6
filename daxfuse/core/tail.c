/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tails: files that grow past us. fs.h says what one is to its holder (the kernel's view of the
 * file); tail_space.c where it lies; this is its life, and why a crash loses nothing of it.
 *
 * ON MEDIA an inode has DXF_FLAG_TAIL while somebody may append to it, and its bit among the
 * orphans, so that a mount finds it. How large the file has become is in `tail_size`: one word that
 * the holder stores in place. It lies in the line of the three times, and outside of the CRC, as
 * they do. The space is reserved behind the end of the file, as by fallocate(), and counts as not
 * written.
 *
 * ORDER
 *   begin  1. zeroes from the end of the file to the end of its page; tail_size = size; fence
 *          2. one transaction: the space, the flag, the orphan's bit
 *          3. give(): the record has been retired
 *   holder a. bytes, zeroes behind them, and in a gap before them; fence
 *          b. mtime, ctime, tail_size; flush; fence. The append has happened
 *   end    4. take(): nobody stores any more
 *          5. one transaction: size = tail_size, what lies below it counts as written, the rest of
 *             the space is freed, flag and bit go
 *
 * CRASH. Before 2 is durable there is no tail, and what 1 has stored means nothing. After it a
 * mount does 5 with the word that it finds, which is one that was stored: 8 aligned bytes are never
 * torn. All below it came to the media before it (a, b), so the file is as large as the last append
 * that has returned made it, or the next one. In 5 the size and the written marks come with one
 * record, so no byte is ever read that was not stored.
 *
 * NO RECORD HAS THE WORD. It would bring back an old size if it were replayed. Transactions leave
 * it out (tx.c), that of 5, too: the word stays, and means nothing without the flag. Nor has it
 * times that it does not set itself: who writes over bytes of the file stores them without a tail,
 * at any moment. One that sets them, and is replayed, may bring them back to what they were set to.
 *
 * WHAT ENDS IT. A file with a tail has a size that changes under nobody's lock. So a thread that
 * locks the inode to look at its size or data, or to change it, ends the tail first, in icache.c:
 * no operation can forget it. One that can't end it (poison, no memory) fails, and the next one
 * tries again.
 *
 * In memory a tail has a reference to its inode, and is in a list, for those that end all of them.
 */
#include <errno.h>
#include <stdlib.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"

struct tail {
	struct tail *next, *previous; /* in fs->tails */
	uint64_t number;              /* a later one has a higher one */
	struct inode *inode;          /* referenced */
	struct fs_tail_holder holder;
	void *cookie;
	uint64_t end; /* of what was given */
	bool given;   /* and not taken yet */
};

/* ---- the list ------------------------------------------------------------- */

static errint_t add_tail(struct fs *fs, struct inode *inode, struct tail *tail)
{
	int err = 0;

	lock_mutex(LOCK_TAILS, &fs->tails_lock);
	if (!fs->tail_holder.give)
		err = -ENODEV;
	else if (fs_is_read_only(fs)) /* since it was asked before */
		err = -EROFS;
	if (!err) {
		tail->holder = fs->tail_holder;
		tail->inode = inode;
		inode_ref(fs, inode);
		tail->next = fs->tails;
		tail->number = tail->next ? tail->next->number + 1 : 1;
		if (tail->next)
			tail->next->previous = tail;
		fs->tails = tail;
		inode->tail = tail;
	}
	unlock_mutex(LOCK_TAILS, &fs->tails_lock);
	return err;
}

/* The inode is locked, so its caller has another reference. */
static void remove_tail(struct fs *fs, struct inode *inode)
{
	struct tail *tail = inode->tail;

	lock_mutex(LOCK_TAILS, &fs->tails_lock);
	if (tail->next)
		tail->next->previous = tail->previous;
	*(tail->previous ? &tail->previous->next : &fs->tails) = tail->next;
	unlock_mutex(LOCK_TAILS, &fs->tails_lock);
	inode->tail = NULL;
	inode_put(fs, inode);
	free(tail);
}

/* The inode, referenced, of the newest tail that is older than the one of *number; NULL: there is
 * none. */
static struct inode *next_with_tail(struct fs *fs, uint64_t *number)
{
	struct inode *inode = NULL;
	struct tail *tail;

	lock_mutex(LOCK_TAILS, &fs->tails_lock);
	for (tail = fs->tails; tail && tail->number >= *number; tail = tail->next)
		;
	if (tail) {
		inode = tail->inode;
		*number = tail->number;
		inode_ref(fs, inode);
	}
	unlock_mutex(LOCK_TAILS, &fs->tails_lock);
	return inode;
}

bool fs_tail_end_all(struct fs *fs)
{
	uint64_t number = UINT64_MAX;
	bool any = false;
	struct inode *inode;

	while ((inode = next_with_tail(fs, &number))) {
		if (inode_lock_exclusive(fs, inode) == 0) {
			any = true;
			unlock_rw(LOCK_INODE, &inode->lock);
		}
		inode_put(fs, inode);
	}
	return any;
}

void tail_close(struct fs *fs)
{
	while (fs->tails) {
		struct tail *tail = fs->tails;

		fs->tails = tail->next;
		free(tail);
	}
}

void fs_set_tail_holder(struct fs *fs, const struct fs_tail_holder *holder)
{
	static const struct fs_tail_holder nobody;

	lock_mutex(LOCK_TAILS, &fs->tails_lock);
	fs->tail_holder = holder ? *holder : nobody;
	unlock_mutex(LOCK_TAILS, &fs->tails_lock);
	fs_tail_end_all(fs);
}

/* ---- the end -------------------------------------------------------------- */

uint64_t tail_size(const struct inode *inode)
{
	const struct dxf_inode *media = inode->media;

	return inode->tail ? tail_believe(media->size, pmem_read_once64(&media->tail_size),
					  inode->tail->end)
			   : media->size;
}

errint_t tail_end_locked(struct fs *fs, struct inode *inode)
{
	struct tail *tail = inode->tail;
	int err;

	lock_assert(LOCK_INODE);
	if (tail->given)
		tail->holder.take(tail->holder.arg, tail->cookie);
	tail->given = false;
	err = tail_settle(fs, inode, tail->end);
	if (!err)
		remove_tail(fs, inode);
	return err;
}

errint_t tail_recover(struct fs *fs, struct inode *inode)
{
	int err = tail_settle(fs, inode, DXF_FILE_MAX);

	/* the word and the space that it is about can't be trusted: the file is what it was */
	return err == -EUCLEAN || err == -EIO ? tail_settle(fs, inode, 0) : err;
}

errint_t fs_tail_end(struct fs *fs, uint64_t ino)
{
	struct inode *inode;
	int err = inode_lock(fs, ino, true, &inode);

	if (!err)
		inode_unlock(fs, inode);
	return err;
}

/* ---- the beginning -------------------------------------------------------- */

static errint_t may_append(const struct inode *inode, uint64_t offset)
{
	const struct dxf_inode *media = inode->media;

	if (!S_ISREG(media->mode))
		return -ENODEV;
	if (media->flags & DXF_FLAG_IMMUTABLE)
		return -EPERM;
	if (media->size >= DXF_FILE_MAX)
		return -EFBIG;
	if (offset / DXF_UNIT_SIZE > media->size / DXF_UNIT_SIZE)
		return -ERANGE;
	return stays_has(inode, media->size / DXF_BLOCK_SIZE) ? -EBUSY : 0;
}

/* A version that does not know tails would take such an inode for damaged. */
static void mark_pool(struct fs *fs)
{
	struct dxf_super *super = &fs->vol->super;

	lock_mutex(LOCK_SUPER, &fs->super_lock);
	if (!(super->incompat & DXF_INCOMPAT_TAIL)) {
		super->incompat |= DXF_INCOMPAT_TAIL;
		super->generation++;
		super_store(fs->pm, super);
	}
	unlock_mutex(LOCK_SUPER, &fs->super_lock);
}

static errint_t give_tail(struct fs *fs, const struct inode *inode)
{
	const struct dxf_inode *media = inode->media;
	struct tail *tail = inode->tail;
	struct fs_tail what = {
		.size = media->size,
		.size_word = pmem_offset(fs->pm, &media->tail_size),
		.times = pmem_offset(fs->pm, &media->mtime),
	};
	int err = tail_find(fs, media, &what);

	static_assert(offsetof(struct dxf_inode, ctime) == offsetof(struct dxf_inode, mtime) + 8,
		      "times");
	tail->end = what.end;
	if (!err)
		err = tail->holder.give(tail->holder.arg, tail->cookie, &what);
	tail->given = !err;
	return err;
}

static errint_t begin_locked(struct fs *fs, struct inode *inode, uint64_t upto, void *cookie)
{
	struct tail *tail = calloc(1, sizeof(*tail));
	int err;

	lock_assert(LOCK_INODE);
	if (!tail)
		return -ENOMEM;
	tail->cookie = cookie;
	err = add_tail(fs, inode, tail);
	if (err) {
		free(tail);
		return err;
	}
	mark_pool(fs);
	err = tail_reserve(fs, inode, upto);
	if (err) {
		remove_tail(fs, inode);
		return err;
	}
	err = give_tail(fs, inode);
	if (err)
		tail_end_locked(fs, inode);
	return err;
}

errint_t fs_tail_begin(struct fs *fs, uint64_t ino, uint64_t offset, uint64_t length, void *cookie)
{
	struct inode *inode;
	bool dropped;
	int err;

	if (!length)
		return -EINVAL;
	if (offset >= DXF_FILE_MAX || length > DXF_FILE_MAX - offset)
		return -EFBIG;
	err = fs_is_read_only(fs) ? -EROFS : inode_lock(fs, ino, true, &inode);
	if (err)
		return err;
	err = may_append(inode, offset);
	if (!err)
		err = drop_privileges_locked(fs, inode, 0, &dropped);
	if (!err && (inode->media->flags & DXF_FLAG_TRUNCATING))
		err = truncate_finish(fs, inode);
	if (!err)
		err = begin_locked(fs, inode, offset + length, cookie);
	inode_unlock(fs, inode);
	return err;
}
