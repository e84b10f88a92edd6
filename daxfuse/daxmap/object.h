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

struct session;

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
	uint64_t cookie; /* never used twice */
	uint64_t grant;  /* the highest seen */
	struct session *session;
	struct debt owed;
	uint32_t before_fork; /* holds in the parent */
	bool lingers; /* one hold is that nobody may close its descriptor now */
	bool orphan; /* of a fork: could not be opened anew */
};

/* The object of a program's descriptor, held; connects to the daemon if need be. Not with the
 * lock. -EOPNOTSUPP and whatever else: this file can't be mapped from here. */
int object_get(int fd, bool writable, struct object **ret_object);
struct region;
/* The first region that reaches into [start, end), as it is at the moment, its object held. Not
 * with the lock. False: there is none. */
bool object_next(uintptr_t start, uintptr_t end, struct region *ret_region);
/* All with the lock: */
void object_hold(struct object *object);
/* The descriptor to close (without the lock) if it was the last; else -1. */
int object_put_locked(struct object *object);
struct object *object_find(uint64_t cookie);
/* Something of [offset, end) that may have been stored to is not mapped any more. */
void object_owe(struct object *object, uint64_t offset, uint64_t end);
bool object_owes(const struct object *object, uint64_t offset, uint64_t end);
/* All has been flushed, as far as it was owed when this was the object's. */
void object_paid(struct object *object, const struct debt *before);
/* A descriptor has another number now. */
void object_renumber(int fd, int other);
/* For each object: those of index 0, 1, ...; NULL behind the last one, held or not. */
struct object *object_at(uint32_t index);

/* Without the lock: */
void object_put(struct object *object);
/* Close what only lingers, if that can be now. */
void objects_reap(void);

#endif
