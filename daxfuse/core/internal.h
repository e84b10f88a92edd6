/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Of the room: the mounted filesystem and its inodes in memory.
 *
 * Locks (base/lockrank.h): LOCK_RENAME is for renames from one directory to another, and of a
 * directory to the name of another one: the only ones that hold unrelated directories. LOCK_INODE
 * of several: an ancestor before all below it; two unrelated directories (rename only) lower number
 * first; then others, lower number first. The allocators' and the journal's come below.
 *
 * An inode's lock is held exclusively over every change of it, from before the
 * transaction begins until it has been committed.
 */
#ifndef DAXFUSE_CORE_INTERNAL_H
#define DAXFUSE_CORE_INTERNAL_H

#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "daxfuse/base/bits.h"
#include "fs.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/media/dir.h"
#include "daxfuse/media/tx.h"
#include "daxfuse/media/volume.h"

struct icache;
struct tail;

struct fs {
	const struct pmem *pm;
	struct volume *vol;
	struct fs_options options; /* as it was mounted; since then: */
	atomic_bool read_only;
	_Atomic(enum fs_atime_mode) atime;
	struct icache *icache;
	pthread_mutex_t rename_lock;
	pthread_mutex_t super_lock; /* fs_set_label(), mark_pool() */
	pthread_mutex_t tails_lock;
	struct tail *tails;                /* of all inodes, the newest first */
	struct fs_tail_holder tail_holder; /* give NULL: there is none */
	_Atomic uint64_t units_promoted;
	_Atomic uint64_t units_trimmed;
};

/* A unit that is to stay in its file. */
struct stay {
	uint64_t region; /* of DXF_UNIT_BLOCKS */
	uint32_t count;
	bool cut; /* a truncation has left it behind the end, zeroed */
};

/* Those of an inode, ascending. */
struct stays {
	unsigned count, room;
	struct stay unit[];
};

/* An inode in memory: a lock, and what the mount knows beyond the media. */
struct inode {
	struct inode *next; /* in its shard */
	uint32_t ino;
	uint32_t refs;           /* under the shard's lock */
	struct dxf_inode *media; /* verified when this object was made */
	pthread_rwlock_t lock;
	_Atomic uint32_t opens;
	_Atomic uint32_t holds; /* fs_hold(); each has a reference */
	uint32_t kept;          /* fs_keep_layout(); each has a reference */
	bool forgotten;         /* an orphan that goes when the last one closes it */
	bool gone;              /* freed on media */
	bool trim;              /* may hold a unit that growth reserved */
	struct stays *stays;    /* NULL: there are none */
	struct tail *tail;      /* NULL: nobody appends to it past us */
};

/* ---- icache.c ------------------------------------------------------------- */

errint_t icache_open(struct fs *fs);
void icache_close(struct fs *fs);
/* The inode, referenced, not locked. -ESTALE, -EUCLEAN, -EIO, -ENOMEM. */
errint_t inode_get(struct fs *fs, uint64_t ino, struct inode **ret_inode);
void inode_ref(struct fs *fs, struct inode *inode);
/* NULL is fine. */
void inode_put(struct fs *fs, struct inode *inode);
/* It was freed: nobody finds it any more. */
void inode_forget(struct fs *fs, struct inode *inode);
/* The inode, locked, and its tail has ended, if it had one; -ESTALE if it is gone. */
errint_t inode_lock(struct fs *fs, uint64_t ino, bool exclusive, struct inode **ret_inode);
/* The inode, locked shared, for a look at its attributes and not at its data: a tail goes on, so
 * its size, and its size only, is what inode_attr() says. */
errint_t inode_lock_attr(struct fs *fs, uint64_t ino, struct inode **ret_inode);
/* Lock one that is referenced, and may be gone; its tail has ended. Not locked on error. */
errint_t inode_lock_exclusive(struct fs *fs, struct inode *inode);
/* Unlock and put. */
void inode_unlock(struct fs *fs, struct inode *inode);
/* Whether it is a directory; needs no lock, as that never changes. */
bool inode_is_dir(const struct inode *inode);
/* Whether it has no name left: it lives until fs_forget(), or the next mount. */
bool inode_is_orphan(const struct inode *inode);
/* Lock two (either may be NULL or both the same): a directory before any other kind, lower number
 * first. Their tails have ended. Neither is locked on error. */
errint_t inode_lock_two(struct fs *fs, struct inode *a, struct inode *b);
void inode_unlock_two(struct inode *a, struct inode *b);

/* ---- edit.c --------------------------------------------------------------- */

/* Begin a transaction that changes an inode, which is locked exclusively, and
 * perhaps more; *ret_di is its shadow. Nothing has begun on error. */
errint_t edit_begin(struct fs *fs, struct inode *inode, struct tx **ret_tx,
		    struct dxf_inode **ret_di);
/* End a transaction whose edits went as err says: commit it, or abort it and
 * return err. */
errint_t edit_end(struct tx *tx, int err);

/* ---- create.c ------------------------------------------------------------- */

struct new_inode {
	uint32_t mode; /* type and permissions as asked */
	uint32_t rdev;
	const char *target; /* symlinks */
	bool orphan;        /* O_TMPFILE */
};

/* In tx, make an inode as a child of the directory dir (a view; its rules for
 * group, flags, project and ACL apply). */
errint_t create_inode(struct fs *fs, struct tx *tx, const struct fs_request *request,
		      const struct dxf_inode *dir, uint32_t dir_ino, const struct new_inode *what,
		      struct dxf_inode **ret_shadow);

/* A file without a name for a moment; fs_forget() frees it. */
errint_t create_scratch(struct fs *fs, struct fs_attr *ret_attr);

/* ---- acl.c ---------------------------------------------------------------- */

/* Give a new inode the ACLs that dir's default ACL implies, or apply umask. */
errint_t acl_inherit(struct fs *fs, struct tx *tx, const struct dxf_inode *dir,
		     struct dxf_inode *inode, uint32_t umask);
/* The mode's permissions were changed: so must be the access ACL. */
errint_t acl_chmod(struct fs *fs, struct tx *tx, struct dxf_inode *inode);
/* Check an ACL; for access ACLs also set the mode. *ret_minimal: the mode says
 * it all. -EINVAL. */
errint_t acl_set(const void *value, size_t size, bool access, struct dxf_inode *inode,
		 bool *ret_minimal);

/* ---- stay.c --------------------------------------------------------------- */

/* Whether the unit around a block is to stay. */
bool stays_has(const struct inode *inode, uint64_t block);
/* table_prune() from block `from` to the end of all, of an inode that has such units: these stay,
 * and count as not written. */
errint_t stays_prune(struct fs *fs, struct inode *inode, struct tx *tx, struct dxf_inode *di,
		     uint64_t from, bool *ret_done);
/* The file is about to grow: those that lie in it then, up to a byte, count as written. */
errint_t stays_grow(struct fs *fs, const struct inode *inode, struct tx *tx, struct dxf_inode *di,
		    uint64_t upto);

/* ---- tail.c --------------------------------------------------------------- */

/* The tail of an inode, which is locked exclusively, ends. On error it goes on to be ended, but
 * nobody appends any more. */
errint_t tail_end_locked(struct fs *fs, struct inode *inode);
/* The mount ends: forget those that could not be ended. */
void tail_close(struct fs *fs);
/* End what a crash has left of one, on media; the inode is locked exclusively. */
errint_t tail_recover(struct fs *fs, struct inode *inode);
/* How large the file is at this moment. */
uint64_t tail_size(const struct inode *inode);

/* ---- tail_space.c --------------------------------------------------------- */

/* Begin a tail on media, in one transaction: the end of the file lies on a block that is written,
 * with zeroes behind the end, and the blocks from there to `upto`, or to the end of the 2 MiB, are
 * reserved; likely more. */
errint_t tail_reserve(struct fs *fs, struct inode *inode, uint64_t upto);
/* Where the space of one lies: last_page, end, count and extent[]. */
errint_t tail_find(struct fs *fs, const struct dxf_inode *media, struct fs_tail *ret_tail);
/* End it on media, in one transaction: the file is as large as tail_size says, if that is not above
 * `limit` or what is reserved; the rest is freed. limit 0: it stays as large as it was, and keeps
 * all. */
errint_t tail_settle(struct fs *fs, struct inode *inode, uint64_t limit);
/* What to believe of a word that others store. */
static inline uint64_t tail_believe(uint64_t size, uint64_t word, uint64_t limit)
{
	return word >= size && word <= limit ? word : size;
}

/* ---- truncate.c ----------------------------------------------------------- */

enum { PRUNE_BUDGET = 1024 };

/* Set the size; ends tx. inode is locked exclusively, di its shadow. If one transaction can't hold
 * all of it more follow, and a crash between them is completed by the next mount. */
errint_t truncate_commit(struct fs *fs, struct inode *inode, struct tx *tx, struct dxf_inode *di,
			 uint64_t size);
/* Free all that lies past the end, as often as needed, and clear TRUNCATING. */
errint_t truncate_finish(struct fs *fs, struct inode *inode);
/* The file is about to grow to upto: zero from its end to the end of its block, or upto, in place:
 * nobody sees it yet. In a unit that may be mapped, also the rest of the unit, and it counts as
 * written. Fenced with the transaction's data. */
errint_t zero_tail(struct fs *fs, struct inode *inode, struct tx *tx, struct dxf_inode *di,
		   uint64_t upto);
/* Free all that an orphan holds and the inode itself; locked exclusively. */
errint_t orphan_free(struct fs *fs, struct inode *inode);

/* ---- write.c -------------------------------------------------------------- */

/* fs_write(), as the next part of a request that has written `before` bytes: so many, and these,
 * are its result from now on. */
ssize_t write_part(struct fs *fs, const struct fs_request *request, uint64_t ino, const void *buf,
		   size_t length, uint64_t offset, unsigned flags, size_t before);

/* An INLINE inode gets blocks. */
errint_t leave_inline(struct fs *fs, struct tx *tx, struct dxf_inode *di);
/* The entries of blocks [first, end), all of one region, as consecutive words of one
 * shadow. */
errint_t block_words(struct tx *tx, struct dxf_inode *di, uint64_t first, uint64_t end,
		     uint64_t **ret_words);
/* Gather a region's blocks into a whole unit that reads the same; the blocks
 * [skip_from, skip_to) of the region are left for the caller to write. The word
 * of the region afterwards. NULL: there is no unit for it, nothing has changed. */
errint_t promote_region(struct fs *fs, struct tx *tx, struct dxf_inode *di, uint64_t block,
			const uint64_t *entries, unsigned skip_from, unsigned skip_to,
			uint64_t **ret_word);
/* Whether a region with these entries should be a whole unit, once its blocks
 * [first, end) are in use, too. */
bool region_wants_unit(const struct dxf_inode *di, const uint64_t *entries, unsigned first,
		       unsigned end);
/* Whether a region with these entries may become a whole unit by the way: not if blocks of
 * it would move that must stay. */
bool region_may_move(const struct inode *inode, const uint64_t *entries);
/* Whether the project's limit leaves room for a unit. */
bool quota_has_unit(struct fs *fs, const struct dxf_inode *di);
/* Bring a region that growth made a unit back to blocks, if that saves enough. */
void trim_inode(struct fs *fs, struct inode *inode);

/* ---- fallocate.c ---------------------------------------------------------- */

/* The holes among blocks [first, end), all of one region, get blocks that count as not written. */
errint_t reserve_blocks(struct tx *tx, struct dxf_inode *di, uint64_t first, uint64_t end);

/* ---- file.c --------------------------------------------------------------- */

/* As fs_iomap(), the inode being locked. */
errint_t iomap_locked(struct fs *fs, const struct dxf_inode *inode, uint64_t offset,
		      uint64_t length, struct fs_iomap *ret_iomap);

/* ---- small ones ----------------------------------------------------------- */

/* What a caller wants to hear of; NULL: nobody asks again. */
static inline const struct tx_request *once_of(const struct fs_request *request)
{
	return request ? &request->once : NULL;
}

static inline uint64_t blocks_of(uint64_t bytes)
{
	return bytes / DXF_BLOCK_SIZE + (bytes % DXF_BLOCK_SIZE != 0);
}

/*
 * Before bytes are handed out or stored over: -EIO if one of their pages answers with SIGBUS. A
 * byte a page is enough: a page that the kernel knows to be poisoned is not mapped at all. The last
 * line is looked at, too, as the CPU reads it when it is stored in part.
 */
errint_t probe_range(const struct pmem *pm, const void *dst, uint64_t n);
/*
 * Store over data that is there, or will be, non-temporally; the caller fences. Poison
 * in sectors that are overwritten as a whole is cleared where the device can do that,
 * any other is -EIO; then part of it may be stored.
 */
errint_t store_over(const struct pmem *pm, void *dst, const void *src, uint64_t n);
errint_t zero_over(const struct pmem *pm, void *dst, uint64_t n);

/* attr.c */
void fill_attr(const struct fs *fs, const struct dxf_inode *inode, struct fs_attr *ret_attr);
/* The same of an inode that is locked and may have a tail. */
void inode_attr(const struct fs *fs, const struct inode *inode, struct fs_attr *ret_attr);
/* Drop suid, and sgid if group-executable or any_sgid; whether that changed the mode. */
bool kill_suidgid(struct dxf_inode *di, bool any_sgid);
/* As fs_drop_privileges(), the inode being locked exclusively. */
errint_t drop_privileges_locked(struct fs *fs, struct inode *inode, unsigned kill,
				bool *ret_dropped);
/* Store mtime and ctime in place and flush; the caller fences. */
void touch_in_place(struct fs *fs, struct inode *inode);

#endif
