/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one order of all locks of the daemon: a thread that holds one takes only locks that stand
 * further below. Debug builds assert it at each lock; other builds pay nothing. (The client library
 * lives in other processes and has one lock of its own, daxmap/lock.h.)
 *
 * Two decisions make the order whole. The engine comes before core, as a fault asks core; so core
 * never calls the engine, and operations that change files go through the vfs, which tells the
 * engine first. And a thread that waits for a program's answer may hold all down to LOCK_JOURNAL,
 * so the thread that takes answers (clients/server.c) takes none but LOCK_HOLDERS and those that
 * follow. docs/design/locking.md says what each one protects.
 */
#ifndef DAXFUSE_BASE_LOCKRANK_H
#define DAXFUSE_BASE_LOCKRANK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum lock_rank {
	LOCK_LOOP,      /* fuse/loop.c: taking requests over, one at a time */
	LOCK_REMOUNT,   /* daemon/remount.c */
	LOCK_EXPORTS,   /* vhost/export.c: the list of exports */
	LOCK_ORPHANS,   /* vfs/open.c: making one without a name; freeing one */
	LOCK_VIEWED,    /* views/viewed.c: which inodes of a bucket have a kernel view */
	LOCK_WINDOW,    /* vhost/window.c: a turn at a guest's window */
	LOCK_GATE,      /* vfs/gate.c: whether an inode is mapped */
	LOCK_GROW,      /* vfs: a mapped file's size */
	LOCK_FILE,      /* map/file.c: shared for faults, exclusive when extents go away */
	LOCK_ENTRY,     /* map/entry.c: ascending, of one file */
	LOCK_SIZES,     /* views/sizes.c: what views say of sizes */
	LOCK_PENDING,   /* views/mapper.c: pieces that a view is about to get */
	LOCK_RENAME,    /* core/rename.c: between directories */
	LOCK_INODE,     /* core/icache.c: directories from above, then others by number */
	LOCK_TAILS,     /* core/tail.c: which files have one, and who holds them */
	LOCK_ICACHE,    /* core/icache.c: a shard */
	LOCK_SUPER,     /* core/mount.c: the label */
	LOCK_NEW_QUOTA, /* media/quota.c: making a record */
	LOCK_QUOTA,     /* media/quota.c: records, ascending */
	LOCK_INODE_MAP, /* media/ialloc.c: where the next chunk goes */
	LOCK_CHUNK,     /* media/ialloc.c: a chunk of inodes */
	LOCK_ARENA,     /* media/alloc.c, busy.c */
	LOCK_JOURNAL,   /* media/journal.c: from the record to its retirement */
	LOCK_HOLDERS,   /* clients/holders.c: the table, and references */
	LOCK_SESSIONS,  /* clients/sessions.c: the table, and references */
	LOCK_SESSION,   /* clients: one program's connection */
	/* leaves, but for a holder's records */
	LOCK_VIEW,     /* map/view.c: pins of one view */
	LOCK_VIEWS,    /* map/view.c: the list of a file's */
	LOCK_HOLDER,   /* clients: its records */
	LOCK_PINS,     /* clients/pins.c: free records */
	LOCK_BUSY,     /* views/busy.c: pieces that a device uses still */
	LOCK_GUEST,    /* vhost: nodes and open files of a guest */
	LOCK_OPENS,    /* vfs/opens.c: open files of an inode */
	LOCK_PLACES,   /* vfs/opens.c: free records */
	LOCK_WATCH,    /* vfs/watch.c: watchers and their events */
	LOCK_ANSWERS,  /* vfs/answers.c: slots that are in nobody's use */
	LOCK_DEFERRED, /* fuse/deferred.c: the queue */
	LOCK_WAIT,     /* map/wait.c: sleepers on an entry */
	LOCK_CREW, /* fuse/loop.c: its threads; one is started by a thread that holds any of these */
	LOCK_SHELF,  /* base/shelf.c */
	LOCK_POISON, /* pmem/poison.c */
	LOCK_RANKS,
};

#ifndef NDEBUG
/* The calling thread is about to take a lock; `key` is what several of a rank are ordered by. */
void lock_enter(enum lock_rank rank, uint64_t key);
/* The calling thread gives one back. */
void lock_leave(enum lock_rank rank);
/* It holds one of that rank, shared or not: what a function ending in _locked relies on. */
void lock_assert(enum lock_rank rank);
#else
static inline void lock_enter(enum lock_rank rank, uint64_t key)
{
}
static inline void lock_leave(enum lock_rank rank)
{
}
static inline void lock_assert(enum lock_rank rank)
{
}
#endif

static inline void lock_mutex(enum lock_rank rank, pthread_mutex_t *mutex)
{
	lock_enter(rank, 0);
	pthread_mutex_lock(mutex);
}

/* Whether it was free. */
static inline bool try_mutex(enum lock_rank rank, pthread_mutex_t *mutex)
{
	if (pthread_mutex_trylock(mutex))
		return false;
	lock_enter(rank, 0);
	return true;
}

static inline void unlock_mutex(enum lock_rank rank, pthread_mutex_t *mutex)
{
	pthread_mutex_unlock(mutex);
	lock_leave(rank);
}

static inline void lock_shared(enum lock_rank rank, pthread_rwlock_t *lock)
{
	lock_enter(rank, 0);
	pthread_rwlock_rdlock(lock);
}

static inline void lock_exclusive(enum lock_rank rank, pthread_rwlock_t *lock)
{
	lock_enter(rank, 0);
	pthread_rwlock_wrlock(lock);
}

static inline void unlock_rw(enum lock_rank rank, pthread_rwlock_t *lock)
{
	pthread_rwlock_unlock(lock);
	lock_leave(rank);
}

#endif
