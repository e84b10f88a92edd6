/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Of the room: a file with a view.
 *
 * Locks: LOCK_VIEWED, of a bucket of inodes, over making and ending a view and its attachment to
 * the engine; the engine and core are below. The engine calls mapper.c with its locks held: those
 * functions make calls of the module, which waits for nobody, and ask core. LOCK_BUSY is a
 * leaf.
 */
#ifndef DAXFUSE_VIEWS_INTERNAL_H
#define DAXFUSE_VIEWS_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/daxview.h"
#include "daxfuse/vfs/mapped.h"
#include "views.h"

enum { VIEWED_BUCKETS = 256, VIEWS_THREADS = 2 };

/* What a view may cover: the size of files is core's matter. */
#define VIEW_BYTES ((uint64_t)1 << 62)

/* A view of an inode. */
struct mapper {
	struct views *views;
	uint64_t ino;
	uint64_t number;       /* the module's */
	int backing;           /* the transport's */
	struct vfs_file *file; /* once it was asked about: referenced */
	struct map_view *view;
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
	uint64_t device_offset, device_length;
	uint64_t offset, length, grant; /* what is let go of then */
};

struct views {
	struct views_config config;
	int session;
	int stop; /* an eventfd */
	pthread_t thread[VIEWS_THREADS];
	unsigned threads;
	pthread_mutex_t lock[VIEWED_BUCKETS];
	struct viewed *bucket[VIEWED_BUCKETS];
	pthread_mutex_t busy_lock;
	LIST_HEAD(, busy_piece) busy;
	atomic_uint later;      /* busy pieces */
	atomic_bool look_again; /* a view could not be ended, as a device uses its memory */
	atomic_ulong made, count, asked, refused;
};

/* ---- session.c ------------------------------------------------------------------ */

errint_t session_begin(const struct device *dev, int *ret_session, char *ret_reason, size_t size);
/* A view without contents. The descriptor is the caller's. */
errint_t session_create(int session, uint64_t ino, uint64_t *ret_number, int *ret_fd);
/* What lies in [offset, offset + length): the piece; NULL: not known. */
errint_t session_set(int session, uint64_t number, uint64_t offset, uint64_t length,
		     const struct map_piece *piece);
/* Files that have it open or mapped. */
errint_t session_files(int session, uint64_t number, uint64_t *ret_files);
/* Whether a piece of the device is in use other than by mappings. */
bool session_is_busy(int session, uint64_t device_offset, uint64_t length);
void session_revoke(int session, uint64_t number);
void session_answer(int session, uint64_t question, int err);

/* ---- mapper.c ------------------------------------------------------------------- */

extern const struct mapper_ops view_ops;
/* Whether a device uses any of the file's memory. */
bool mapper_is_busy(struct mapper *m);
/* Let go of pieces that are used no more. */
void mapper_retry_busy(struct views *v);
/* All views have ended. */
void mapper_drop_busy(struct views *v);

/* ---- answer.c ------------------------------------------------------------------- */

errint_t answer_start(struct views *v);
void answer_stop(struct views *v);

/* ---- views.c -------------------------------------------------------------------- */

/* The view of an inode for a question, attached to the engine; NULL: it has none of that number. */
struct mapper *viewed_use(struct views *v, uint64_t ino, uint64_t number);
void viewed_unuse(struct views *v, uint64_t ino);
/* End the view if nobody uses it any more. */
void viewed_check(struct views *v, uint64_t ino);
void viewed_check_all(struct views *v);

#endif
