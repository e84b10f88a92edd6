/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work that must not be done in a request's handler, because it asks the kernel
 * something for which the kernel may need a handler: a thread and a queue for writes
 * that are to be answered, and another for all that may take longer.
 *
 * Above all: freeing orphans. An inode without a name is freed when the kernel
 * does not know it any more. Lookup counts are not kept, the kernel is asked:
 * invalidating an inode that it does not know fails with ENOENT.
 */
#ifndef DAXFUSE_FUSE_DEFERRED_H
#define DAXFUSE_FUSE_DEFERRED_H

#include "internal.h"
#include "daxfuse/base/errint.h"

/* Before there are other threads. fuse_fd: the mounted /dev/fuse; -1: there is no kernel that could
 * know anything. end: lets the loop of requests
 * end; called by one of our threads, once (deferred_end()). */
errint_t deferred_start(struct transport *t, int fuse_fd, void (*end)(struct transport *t),
			struct deferred **ret_deferred);
/* From any thread: begin no more jobs, and let the session's loop end when those that
 * are under way are done: the kernel may need requests answered for it. replaced: threads in
 * deferred_changed() are not let go, as their answers would go out untold. */
void deferred_end(struct deferred *d, bool replaced);
/*
 * Finish the queues and the threads, after the session's loop has ended. If the mount has ended
 * with it, the kernel knows nothing any more, so all that is in the queues is freed; else it is
 * left to the next process. What comes later is dropped. NULL is fine.
 */
void deferred_stop(struct deferred *d, bool unmounted);
/* When nobody is left who would have work for it. NULL is fine. */
void deferred_free(struct deferred *d);
/* Whether the loop may still answer: once it has ended the kernel is told nothing. NULL: no. */
bool deferred_runs(struct deferred *d);

/* The kernel has let go of ino, in part at least: free it if it is an orphan
 * that nobody can reach. */
void deferred_forget(struct deferred *d, uint64_t ino);

/* The kernel's pages of ino are out of date. */
void deferred_forget_pages(struct deferred *d, uint64_t ino);
/* Its attributes are, in a thread that must not say so itself. */
void deferred_forget_attributes(struct deferred *d, uint64_t ino);

/* Another transport has changed something: returns when the kernel does not believe the old any
 * more. With no lock held, not in a thread that serves the kernel's requests. */
void deferred_changed(struct deferred *d, const struct transport_change *what);

/*
 * Out of space (or quota): whether it is worth trying again, because orphans
 * were freed just now. Waits for those that are about to be, but never for long.
 */
bool deferred_drain(struct deferred *d);

/* The mount was taken over, and all that the kernel sent again has come: free the
 * orphans of the last process that nobody knows any more, and make the kernel forget
 * what it believes of requests that were executed but withdrawn. */
void deferred_settle(struct deferred *d);

/* vfs_fallocate() of a range that the kernel may have cached: its pages are
 * written back before and dropped after. Answers req. */
struct deferred_range {
	fuse_req_t req;
	fuse_ino_t node;
	int mode;
	uint64_t offset, length;
	struct vfs_answer *answer; /* of requests_detach() */
};
void deferred_fallocate(struct deferred *d, const struct deferred_range *range);

/* A write that went past the kernel's cache, while others read through it: the pages are dropped,
 * then it is answered. Without memory it has failed, as its writer must not rely on it. */
struct deferred_write {
	fuse_req_t req;
	fuse_ino_t node;
	off_t offset;
	size_t length;             /* > 0 */
	struct vfs_answer *answer; /* of requests_detach() */
};
void deferred_written(struct deferred *d, const struct deferred_write *write);

#endif
