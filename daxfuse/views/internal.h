/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Of the room: a file with a view.
 *
 * Locks: LOCK_VIEWED, of a bucket of inodes, over making and ending a view and its attachment to
 * the engine; the engine and core are below. The engine calls mapper.c with its locks held: those
 * functions make calls of the module, which waits for nobody, and ask core; and so does the vfs
 * with sizes.c, whose LOCK_SIZES is above core's. LOCK_BUSY is a leaf.
 */
#ifndef DAXFUSE_VIEWS_INTERNAL_H
#define DAXFUSE_VIEWS_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <time.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/daxview.h"
#include "daxfuse/vfs/mapped.h"
#include "table.h"
#include "views.h"

enum { VIEWED_BUCKETS = 256, VIEWS_THREADS = 2, SETTLE_MS = 3000 };
/* How many units are answered ahead in order: of memory that is there, up to 1 GiB, and of what has
 * to be made first. Else an answer is for an aligned window of units. */
enum { FAR_UNITS = 511, AHEAD_UNITS = 16, WINDOW_UNITS = 64 };

/* What a view may cover: the size of files is core's matter. */
#define VIEW_BYTES ((uint64_t)1 << 62)

/* How a file is asked about, for loads or for stores: in order, so far, as long as there is
 * anything ahead. Threads that answer at once may spoil it, and nothing else. */
struct view_order {
	atomic_ulong last;  /* the offset of the last question, */
	atomic_ulong end;   /* and where its answer ended */
	atomic_uint streak; /* of questions in order */
};

/* Pieces that the engine has granted, and the view does not have yet: of one answer. */
enum { PENDING_PIECES = 64 };
struct pending {
	struct map_piece piece[PENDING_PIECES]; /* ascending */
	unsigned count;
	bool taken; /* one was, before the view had it */
};

enum { FILLED_LOADS = 1, FILLED_STORES = 2 };

/* A view of an inode. */
struct mapper {
	struct views *views;
	uint64_t ino;
	uint64_t number; /* the module's */
	int backing;     /* the transport's; 0: it is another one's by now */
	uint32_t slot;   /* of its record */
	bool adopted;    /* of an earlier process, */
	bool over;       /* which was about to end it */
	atomic_bool
		unlisted; /* a device uses memory that was taken from it, and none knows which */
	struct vfs_file *file; /* once it was asked about: referenced */
	struct map_view *view;
	struct view_order loads, stores;
	struct pending *pending;  /* LOCK_PENDING */
	atomic_uint filled;       /* begun to be, before anybody asked: FILLED_... */
	atomic_bool is_written;   /* some file of it was opened for writing, */
	atomic_bool is_forgotten; /* and the kernel has forgotten its attributes since */
	/* sizes.c; under its lock: */
	struct mapper *next_sized;
	uint64_t size, at_most; /* of the view; which is being cut */
	bool had_tail;          /* the size may be another one by now */
	uint64_t wanted;        /* a tail is to reach beyond that */
	bool privileged;        /* the view knows that the file is */
	uint64_t read;          /* the last read that core was told of */
	atomic_bool passes;     /* some file's reads go to it */
};

/* An inode with open files, or with a view. */
struct viewed {
	struct viewed *next;
	uint64_t ino;
	unsigned plain; /* open files without the view: then there is none */
	unsigned opens; /* open files with it */
	unsigned busy;  /* questions about it that are being answered */
	struct mapper *mapper;
};

/* Mapped no more, but used by a device still: its pin stays. */
struct busy_piece {
	LIST_ENTRY(busy_piece) link;
	uint64_t ino, number; /* of the view */
	uint32_t slot;        /* of its record, or VIEW_NO_SLOT */
	uint64_t device_offset, device_length;
	uint64_t offset, length, grant; /* what is let go of then */
};

#define VIEW_NO_SLOT UINT32_MAX

/* Free records of a part of the table; under the busy lock. */
struct view_slots {
	uint32_t *free;
	uint32_t count;
	uint32_t *used, max;
};

struct views {
	struct views_config config;
	int session;
	int stop, kick; /* eventfds */
	sem_t begin;    /* posted for each thread */
	pthread_t thread[VIEWS_THREADS];
	unsigned threads;
	struct view_table *table;
	struct view_slots view_slots, busy_slots;
	int64_t begun_ms, settle_ms;
	atomic_bool paused; /* no view is made */
	pthread_mutex_t lock[VIEWED_BUCKETS];
	struct viewed *bucket[VIEWED_BUCKETS];
	pthread_mutex_t busy_lock;
	LIST_HEAD(, busy_piece) busy;
	atomic_uint later; /* busy pieces */
	/* a view could not be ended, for a reason of whose end nobody tells */
	atomic_bool look_again;
	_Atomic int64_t looked_ms;
	pthread_mutex_t pending_lock[VIEWED_BUCKETS];
	pthread_mutex_t sizes_lock[VIEWED_BUCKETS];
	struct mapper *sized[VIEWED_BUCKETS];
	atomic_uint with_size; /* views in these lists */
	atomic_ulong made, count, asked, refused, failed;
};

/* There is something to be looked at again, beside questions: `later`, `look_again`. */
static inline void views_kick(struct views *v)
{
	eventfd_write(v->kick, 1);
}

static inline int64_t views_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- session.c ------------------------------------------------------------------ */

/* Take over the session of the table's key, if there was one, or begin one; `holder` holds it. */
errint_t session_begin(const struct device *dev, struct view_table *table, int holder,
		       int *ret_session, char *ret_reason, size_t size);
/* A view without contents. The descriptor is the caller's. */
errint_t session_create(int session, uint64_t ino, uint64_t size, uint64_t times,
			uint64_t *ret_number, int *ret_fd);
/* Whether a write by somebody without CAP_FSETID asks. */
errint_t session_set_privileged(int session, uint64_t number, bool privileged);
/* It may grow by itself; until that is taken. -ESTALE: revoked. */
errint_t session_give_tail(int session, uint64_t number, const struct fs_tail *tail);
errint_t session_take_tail(int session, uint64_t number);
/* No read gives a byte behind it any more. */
errint_t session_set_size(int session, uint64_t number, uint64_t size);
/* When it was read last, in ns since the epoch; 0: never. */
errint_t session_read_time(int session, uint64_t number, uint64_t *ret_when);
/* What lies where: up to PENDING_PIECES, one behind the other. -ESTALE: revoked. */
errint_t session_set(int session, uint64_t number, const struct map_piece *pieces, unsigned count);
/* What was stored to is durable. As above. */
errint_t session_sync(int session, uint64_t number, uint64_t offset, uint64_t length);
/* What lies there is not known any more. As above. */
errint_t session_forget(int session, uint64_t number, uint64_t offset, uint64_t length);
/* Whether it was stored to, or may have been. */
bool session_was_stored(int session, uint64_t number);
/* Whose view it is. -ENOENT: it has ended. */
errint_t session_ino(int session, uint64_t number, uint64_t *ret_ino);
/* The session's next view of a larger number. -ENOENT */
errint_t session_next(int session, uint64_t *number, uint64_t *ret_ino);
/* Files that have it open or mapped. */
errint_t session_files(int session, uint64_t number, uint64_t *ret_files);
/* Whether a piece of the device is in use other than by mappings, or may be. */
bool session_is_busy(int session, uint64_t device_offset, uint64_t length);
void session_revoke(int session, uint64_t number);
void session_answer(int session, uint64_t question, int err);

/* ---- table.c -------------------------------------------------------------------- */

errint_t table_open(struct views *v, struct view_table *table);
/* Also after a failure. */
void table_close(struct views *v);
/* -EUSERS: it is full. */
errint_t table_add_view(struct views *v, struct mapper *m);
void table_erase_view(struct views *v, uint32_t slot);
/* VIEW_NO_SLOT: it is full; the piece is safe as long as we live. */
uint32_t table_add_busy(struct views *v, uint64_t ino, uint64_t offset, uint64_t device_offset,
			uint64_t length);
void table_erase_busy(struct views *v, uint32_t slot);
/* The pool knows of it, too, from now on. */
void table_add_failed(struct views *v, uint64_t device_offset, uint64_t length);

/* ---- mapper.c ------------------------------------------------------------------- */

/* Its view in the engine, from now on. Called by one thread at a time. */
errint_t mapper_attach(struct mapper *m);
/* What the engine grants from here on is gathered; by one thread at a time, with the file's size
 * held still (LOCK_GROW). */
void pending_begin(struct mapper *m, struct pending *pending);
/* The view has it. -EAGAIN: but for some that was taken away meanwhile. */
errint_t pending_end(struct mapper *m);

/* ---- busy.c --------------------------------------------------------------------- */

typedef bool extent_fn(struct mapper *m, const struct fs_iomap *extent, void *arg);
/* Call fn for what the file has of the device in a range, until it returns true. */
bool extent_any(struct mapper *m, uint64_t offset, uint64_t end, extent_fn *fn, void *arg);
/* An extent_fn: whether a device uses any of it. */
bool extent_is_busy(struct mapper *m, const struct fs_iomap *extent, void *arg);
/* The extent is taken from the view, and in use: remember it until it is not. */
void busy_note(struct mapper *m, const struct fs_iomap *extent, uint64_t grant);
/* Whether a device may use memory that was taken from that range of the file. */
bool busy_overlaps(struct mapper *m, uint64_t offset, uint64_t length);
/* Whether a device uses any of the file's memory, or of what was taken from it. */
bool busy_any(struct mapper *m);
/* Let go of pieces that are used no more. */
void busy_retry(struct views *v);
/* All views have ended. */
void busy_drop(struct views *v);
/* What an earlier process has noted; and of the memory of a file what is in use now. Before the
 * first fault. */
errint_t busy_restore_records(struct views *v);
errint_t busy_restore_extents(struct mapper *m);

/* ---- adopt.c -------------------------------------------------------------------- */

/* The views of an earlier process become ours; those that belong to nobody are revoked. Before
 * there are threads. */
errint_t adopt_views(struct views *v);

/* ---- answer.c ------------------------------------------------------------------- */

/* They begin when `begin` is posted. */
errint_t answer_start(struct views *v);
void answer_stop(struct views *v);

/* ---- sizes.c -------------------------------------------------------------------- */

/* session_create(), with the size that the file has. */
errint_t sizes_create(struct mapper *m, int *ret_fd);
/* The view of an earlier process gets that size. Before somebody is served. */
errint_t sizes_adopt(struct mapper *m);
void sizes_remove(struct mapper *m);
/* Somebody asks about what is not in the file. */
void sizes_correct(struct mapper *m);
/* A write has asked for the file's privileges to go. */
errint_t sizes_strip(struct mapper *m);
/* fs_tail_begin(), for this view. */
errint_t sizes_begin_tail(struct mapper *m, uint64_t offset, uint64_t length);
/* Core is told when it was read last. */
void sizes_note_read(struct mapper *m);
/* The vfs tells of sizes, and core of tails, until sizes_end(). */
void sizes_begin(struct views *v);
void sizes_end(struct views *v);

/* ---- viewed.c ------------------------------------------------------------------- */

/* The view of an inode for a question, attached to the engine; NULL: it has none of that number. */
struct mapper *viewed_use(struct views *v, uint64_t ino, uint64_t number);
void viewed_unuse(struct views *v, uint64_t ino);
/* End the view if nobody uses it any more. */
void viewed_check(struct views *v, uint64_t ino);
void viewed_check_all(struct views *v);
/* The transport knows the kernel. */
void viewed_begin(struct views *v);
/* Before there are threads. -EEXIST: the inode has one. */
errint_t viewed_adopt(struct views *v, struct mapper *m);
struct mapper *viewed_mapper(struct views *v, uint64_t ino);
/* Whether reads and writes of a file that is opened so are to go to its view. */
bool viewed_passes(const struct vfs_opened *opened, int flags);
/* Not unmounted: the next process goes on with them. */
void viewed_end_all(struct views *v, bool unmounted);

#endif
