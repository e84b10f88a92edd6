/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests in progress, written where they outlive this process, so that each is executed once
 * though the process that took it may die at any moment: a request that was not answered is asked
 * again, and the slot of the first life says whether its transaction was committed.
 *
 * A slot is taken when a request is received, marked by the transaction that carries it out while
 * its journal record is still live (so recovery marks it if we die in between), and free again
 * when the reply has been written. Memory is enough: SIGKILL loses no store, and when the machine
 * or the mount is gone nobody asks again.
 *
 * A transport calls the answers_* below; the functions for operations of the vfs are the room's own
 * (internal.h).
 */
#ifndef DAXFUSE_VFS_ANSWERS_H
#define DAXFUSE_VFS_ANSWERS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/media/request.h"

/* Twice as many as there may be threads: each has one, and may work on an older one. */
#define VFS_ANSWERS 2048

/* A request that a serving process has taken and not answered yet. */
struct vfs_answer {
	_Atomic uint64_t unique; /* 0: the slot is free */
	uint64_t node;           /* what it is about, as the transport names it */
	uint64_t other_node;     /* and of those that are about two */
	int64_t result;          /* if executed */
	uint32_t opcode;
	uint32_t life;             /* of the process that took it last */
	_Atomic uint32_t executed; /* its transaction has been committed */
	uint32_t crashes;          /* serving processes that crashed while they had it */
	_Atomic uint64_t choice;   /* answer_choose(); 0: none */
	uint64_t unnamed;          /* an inode that has lost a name by it; 0: none, or not said */
};

/* This process's view of the slots. */
struct vfs_answers {
	struct vfs_answer *slot;  /* VFS_ANSWERS of them */
	uint32_t life;            /* of this process */
	bool crashed;             /* the last one's death was its own doing */
	pthread_mutex_t lock;     /* of all slots that are not in use */
	bool in_use[VFS_ANSWERS]; /* belongs to a thread of this process */
};

void answers_open(struct vfs_answers *a, struct vfs_answer *slots, uint32_t life, bool crashed);
void answers_close(struct vfs_answers *a);

/* A slot for the calling thread to fill again and again; NULL: all are in use. It is given back
 * by answers_end(). */
struct vfs_answer *answers_take(struct vfs_answers *a);
/* Into a slot of answers_take(): a request that no earlier process has had. */
void answers_begin(const struct vfs_answers *a, struct vfs_answer *slot,
		   const struct vfs_answer *request);
/* The slot in which an earlier process has left a request that is asked again, the caller's from
 * now on; NULL: nothing. */
struct vfs_answer *answers_take_over(struct vfs_answers *a, uint64_t unique);
/* False: it has taken the process down several times already, and is not to be tried again. One
 * that was executed only lacks its answer. */
bool answers_is_welcome(const struct vfs_answer *slot);
/* For a request that is no operation of the vfs, and must not be done twice: before it is done. A
 * death in between costs what it would have done. */
void answers_mark(struct vfs_answer *slot);
/* It is answered; the slot stays the thread's, or (give back) is anybody's. */
void answers_done(struct vfs_answer *slot);
void answers_end(struct vfs_answers *a, struct vfs_answer *slot);

/* For the request that has this slot (NULL: none): how it is marked as executed. */
struct tx_request answer_once(const struct vfs_answer *answer);
/*
 * For requests that are no transaction: before one does anything it writes down which of several
 * equal things it is about to make, or to end. Executed once more, it finds its choice: the same
 * one. 0: it has none, or no slot (NULL).
 */
void answer_choose(struct vfs_answer *answer, uint64_t choice);
uint64_t answer_choice(const struct vfs_answer *answer);
/* For struct fs_options. */
void answers_replayed(void *arg, uint64_t unique, uint32_t opcode, int64_t result);

/*
 * All that was asked again has come. Requests that are left of earlier lives were withdrawn, as
 * their programs were killed; settle() is called for each: if it had been executed, the asker does
 * not know of its effect. The slot is free after that, not before.
 */
void answers_settle(struct vfs_answers *a, void (*settle)(void *arg, const struct vfs_answer *lost),
		    void *arg);

#endif
