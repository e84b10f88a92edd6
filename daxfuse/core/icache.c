/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inodes in memory. An object exists while something uses it: an operation, an open description;
 * some idle ones are kept, as the next operation likely wants them. References of the kernel do not
 * count: its node ids are inode numbers, good without us.
 *
 * An inode is read and verified once, when its object is made; after that the
 * media is used in place, under the object's lock. Each operation has a look first
 * whether its page is still there: the kernel takes poisoned ones away.
 */
#include <errno.h>
#include <stdlib.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"
#include "daxfuse/media/ialloc.h"
#include "daxfuse/media/inode.h"

enum { SHARDS = 1024, IDLE_MAX = 16 };

struct shard {
	_Alignas(64) pthread_mutex_t lock;
	struct inode *first;
	unsigned idle;
};

struct icache {
	struct shard shard[SHARDS];
};

/* Each inode chunk has 64 of the shards: threads make their inodes in chunks of
 * their own, and meet in no shard then. */
static struct shard *shard_of(struct fs *fs, uint64_t ino)
{
	uint64_t chunk = ino / DXF_CHUNK_INODES;

	return &fs->icache->shard[(chunk * UINT64_C(0x9e3779b97f4a7c15) >> 60 << 6) | (ino & 63)];
}

errint_t icache_open(struct fs *fs)
{
	fs->icache = aligned_alloc(64, sizeof(*fs->icache));
	if (!fs->icache)
		return -ENOMEM;
	memset(fs->icache, 0, sizeof(*fs->icache));
	for (unsigned i = 0; i < SHARDS; i++)
		pthread_mutex_init(&fs->icache->shard[i].lock, NULL);
	return 0;
}

static void inode_free(struct inode *inode)
{
	pthread_rwlock_destroy(&inode->lock);
	free(inode->stays);
	free(inode);
}

void icache_close(struct fs *fs)
{
	for (unsigned i = 0; fs->icache && i < SHARDS; i++) {
		struct shard *s = &fs->icache->shard[i];

		while (s->first) {
			struct inode *inode = s->first;

			s->first = inode->next;
			inode_free(inode);
		}
		pthread_mutex_destroy(&s->lock);
	}
	free(fs->icache);
}

static errint_t make_inode(struct fs *fs, uint32_t ino, struct inode **ret_inode)
{
	struct dxf_inode *media, *again, copy;
	struct inode *inode;
	int err = ialloc_inode(fs->vol, ino, &media);

	if (!err)
		err = pmem_read(fs->pm, &copy, media, sizeof(copy));
	/* if it was freed meanwhile, its chunk may have become anything */
	if (!err)
		err = ialloc_inode(fs->vol, ino, &again);
	if (!err && again != media)
		err = -ESTALE;
	if (err)
		return err;
	if (!inode_is_valid(&copy, ino) ||
	    (S_ISDIR(copy.mode) && copy.size > fs->vol->super.pool_size))
		return -EUCLEAN;
	inode = calloc(1, sizeof(*inode));
	if (!inode)
		return -ENOMEM;
	inode->ino = ino;
	inode->refs = 1;
	inode->media = media;
	pthread_rwlock_init(&inode->lock, NULL);
	*ret_inode = inode;
	return 0;
}

errint_t inode_get(struct fs *fs, uint64_t ino, struct inode **ret_inode)
{
	struct shard *s = shard_of(fs, ino);
	struct inode *inode;
	uint64_t word;
	int err = 0;

	if (ino > UINT32_MAX)
		return -ESTALE;
	lock_mutex(LOCK_ICACHE, &s->lock);
	for (inode = s->first; inode && inode->ino != ino; inode = inode->next)
		;
	if (inode) {
		if (!inode->refs++)
			s->idle--;
	} else {
		err = make_inode(fs, (uint32_t)ino, &inode);
		if (!err) {
			inode->next = s->first;
			s->first = inode;
		}
	}
	unlock_mutex(LOCK_ICACHE, &s->lock);
	if (!err && pmem_load64(fs->pm, (const uint64_t *)(const void *)inode->media, &word)) {
		inode_put(fs, inode);
		err = -EIO;
	}
	if (!err)
		*ret_inode = inode;
	return err;
}

void inode_ref(struct fs *fs, struct inode *inode)
{
	struct shard *s = shard_of(fs, inode->ino);

	lock_mutex(LOCK_ICACHE, &s->lock);
	inode->refs++;
	unlock_mutex(LOCK_ICACHE, &s->lock);
}

static void unhash(struct shard *s, struct inode *inode)
{
	struct inode **p = &s->first;

	while (*p && *p != inode)
		p = &(*p)->next;
	if (*p)
		*p = inode->next;
}

/* The idle object that was used longest ago stands last. */
static struct inode *pick_idle(struct shard *s)
{
	struct inode *last = NULL;

	for (struct inode *i = s->first; i; i = i->next)
		if (!i->refs)
			last = i;
	return last;
}

void inode_put(struct fs *fs, struct inode *inode)
{
	struct inode *old = NULL;
	struct shard *s;

	if (!inode)
		return;
	s = shard_of(fs, inode->ino);
	lock_mutex(LOCK_ICACHE, &s->lock);
	if (!--inode->refs) {
		if (inode->gone) {
			old = inode;
		} else if (++s->idle > IDLE_MAX) {
			old = pick_idle(s);
			unhash(s, old);
			s->idle--;
		}
	}
	unlock_mutex(LOCK_ICACHE, &s->lock);
	if (old)
		inode_free(old);
}

void inode_forget(struct fs *fs, struct inode *inode)
{
	struct shard *s = shard_of(fs, inode->ino);

	lock_mutex(LOCK_ICACHE, &s->lock);
	unhash(s, inode);
	unlock_mutex(LOCK_ICACHE, &s->lock);
}

errint_t inode_lock_exclusive(struct fs *fs, struct inode *inode)
{
	int err = 0;

	lock_exclusive(LOCK_INODE, &inode->lock);
	if (inode->tail)
		err = tail_end_locked(fs, inode);
	if (err)
		unlock_rw(LOCK_INODE, &inode->lock);
	return err;
}

/* The size of a file with a tail changes under a lock that is only shared. */
static errint_t lock_for_reading(struct fs *fs, struct inode *inode)
{
	int err = 0;

	lock_shared(LOCK_INODE, &inode->lock);
	while (!err && inode->tail) {
		unlock_rw(LOCK_INODE, &inode->lock);
		err = inode_lock_exclusive(fs, inode);
		if (err)
			break;
		unlock_rw(LOCK_INODE, &inode->lock);
		lock_shared(LOCK_INODE, &inode->lock);
	}
	return err;
}

enum purpose { FOR_ATTRIBUTES, FOR_READING, FOR_CHANGES };

static errint_t find_and_lock(struct fs *fs, uint64_t ino, enum purpose purpose,
			      struct inode **ret_inode)
{
	struct inode *inode;
	int err;

	/* an object that is gone can't be found again: the next round sees the slot
	 * free, or the object of a new inode */
	while (!(err = inode_get(fs, ino, &inode))) {
		if (purpose == FOR_ATTRIBUTES)
			lock_shared(LOCK_INODE, &inode->lock);
		else
			err = purpose == FOR_READING ? lock_for_reading(fs, inode)
						     : inode_lock_exclusive(fs, inode);
		if (err) {
			inode_put(fs, inode);
			return err;
		}
		if (!inode->gone) {
			*ret_inode = inode;
			return 0;
		}
		inode_unlock(fs, inode);
	}
	return err;
}

errint_t inode_lock(struct fs *fs, uint64_t ino, bool exclusive, struct inode **ret_inode)
{
	return find_and_lock(fs, ino, exclusive ? FOR_CHANGES : FOR_READING, ret_inode);
}

errint_t inode_lock_attr(struct fs *fs, uint64_t ino, struct inode **ret_inode)
{
	return find_and_lock(fs, ino, FOR_ATTRIBUTES, ret_inode);
}

void inode_unlock(struct fs *fs, struct inode *inode)
{
	unlock_rw(LOCK_INODE, &inode->lock);
	inode_put(fs, inode);
}

bool inode_is_dir(const struct inode *inode)
{
	return S_ISDIR(pmem_read_once32(&inode->media->mode));
}

bool inode_is_orphan(const struct inode *inode)
{
	return !inode->gone && inode->media->nlink == 0;
}

static bool locked_before(const struct inode *a, const struct inode *b)
{
	if (inode_is_dir(a) != inode_is_dir(b))
		return inode_is_dir(a);
	return a->ino < b->ino;
}

errint_t inode_lock_two(struct fs *fs, struct inode *a, struct inode *b)
{
	int err = 0;

	if (a == b)
		b = NULL;
	if (a && b && locked_before(b, a)) {
		struct inode *swap = a;

		a = b;
		b = swap;
	}
	if (a)
		err = inode_lock_exclusive(fs, a);
	if (err || !b)
		return err;
	err = inode_lock_exclusive(fs, b);
	if (err && a)
		unlock_rw(LOCK_INODE, &a->lock);
	return err;
}

void inode_unlock_two(struct inode *a, struct inode *b)
{
	if (a)
		unlock_rw(LOCK_INODE, &a->lock);
	if (b && b != a)
		unlock_rw(LOCK_INODE, &b->lock);
}
