/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files: one object for each inode and way of opening it (a program that may only read a
 * file gets no descriptor for writing from us, and one that maps a file read-only does not
 * hold it open for writing), with a descriptor of our own, which owns the pins. An object
 * lives as long as it is held: by regions, flights and long-term pins; then as long as
 * there are record locks on its file (descriptor.h), but without pins.
 */
#ifndef DAXFUSE_DAXMAP_OBJECT_H
#define DAXFUSE_DAXMAP_OBJECT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daxfuse/base/errint.h"

struct session;
struct session_ops;

/* What was stored through pieces that are not mapped any more, and not flushed: only the daemon
 * can do that now. Several ranges are widened to one. */
struct debt {
	uint64_t offset, end; /* the same: nothing */
	uint64_t times;       /* how often it grew */
};

struct object {
	uint32_t holds; /* 0: this place is free */
	bool writable;
	int fd;
	dev_t dev;
	ino_t ino;
	uint64_t cookie; /* what the daemon calls it; never used twice */
	uint64_t grant;  /* the highest seen */
	struct session *session;
	struct debt owed;
	uint32_t before_fork; /* holds in the parent */
	bool lingers;         /* one hold is that nobody may close its descriptor now */
	bool orphan;          /* of a fork: could not be opened anew */
	struct object *next;  /* in its bucket, or of the free places */
};

/* The object of a program's descriptor, held; connects to the daemon if need be. Not with the lock.
 * -EOPNOTSUPP or any other error: this file can't be mapped from here. */
errint_t object_get(int fd, bool writable, const struct session_ops *ops,
		    struct object **ret_object);
void object_put(struct object *object);
/* Close those that only linger, if that can be now. */
void objects_reap(void);

/* All others with the lock. */
void object_hold_locked(struct object *object);
struct object *object_find_locked(uint64_t cookie);
/* Something of [offset, end) that may have been stored to is not mapped any more. */
void object_owe_locked(struct object *object, uint64_t offset, uint64_t end);
bool object_owes_locked(const struct object *object, uint64_t offset, uint64_t end);
/* All has been flushed, as far as it was owed when this was the object's. */
void object_paid_locked(struct object *object, const struct debt *before);
/* A descriptor has another number now. */
void objects_renumber_locked(int fd, int other);

/*
 * In the child of a fork: none is held, by flights and pins that are the parent's. The caller
 * holds those that regions need, and these are opened anew: a descriptor that is shared with the
 * parent would keep its pins.
 */
void objects_forget_holds_locked(void);
void objects_reopen_locked(void);

#endif
