/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Objects lie in chunks and never move, as flights point to them. They are found by inode, in a
 * table of buckets, and by cookie, which has the object's place in its low bits.
 */
#include "object.h"

#include <errno.h>
#include <stddef.h>
#include <sys/stat.h>

#include "connection.h"
#include "daemon.h"
#include "descriptor.h"

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/sys.h"

enum { CHUNK = 256, CHUNKS = 256, BUCKETS = 1024 };
#define PLACES ((uint64_t)CHUNK * CHUNKS)

static struct object *chunk[CHUNKS];
static uint64_t used; /* places; none above has ever been */
static struct object *free_places;
static struct object *buckets[BUCKETS];
static uint64_t serial;

/* ---- places ---- */

static struct object *object_at(uint64_t place)
{
	return place < used ? &chunk[place / CHUNK][place % CHUNK] : NULL;
}

/* A new place, with its number. */
static errint_t add_place_locked(uint64_t *ret_place)
{
	void *memory;
	int err;

	if (used == PLACES)
		return -ENOMEM;
	if (used % CHUNK == 0) {
		err = sys_memory(CHUNK * sizeof(struct object), &memory);
		if (err)
			return err;
		chunk[used / CHUNK] = memory;
	}
	*ret_place = used++;
	return 0;
}

static errint_t take_place_locked(uint64_t *ret_place)
{
	struct object *object = free_places;

	if (!object)
		return add_place_locked(ret_place);
	free_places = object->next;
	*ret_place = object->cookie % PLACES;
	return 0;
}

static struct object **bucket_of(ino_t ino)
{
	return &buckets[ino % BUCKETS];
}

/* In a place, and in its bucket; held once. */
static errint_t object_new_locked(const struct object *like, struct object **ret_object)
{
	struct object *object, **bucket = bucket_of(like->ino);
	uint64_t place;
	int err = take_place_locked(&place);

	if (err)
		return err;
	object = object_at(place);
	*object = *like;
	object->cookie = ++serial * PLACES + place;
	object->holds = 1;
	object->next = *bucket;
	*bucket = object;
	*ret_object = object;
	return 0;
}

/* Nobody holds it any more. */
static void object_free_locked(struct object *object)
{
	struct object **at = bucket_of(object->ino);

	while (*at != object)
		at = &(*at)->next;
	*at = object->next;
	object->next = free_places;
	free_places = object;
	session_put_locked(object->session);
}

static struct object *find_inode_locked(dev_t dev, ino_t ino, bool writable)
{
	struct object *object = *bucket_of(ino);

	while (object && (object->ino != ino || object->dev != dev || object->writable != writable))
		object = object->next;
	if (object)
		object->holds++;
	return object;
}

struct object *object_find_locked(uint64_t cookie)
{
	struct object *object = object_at(cookie % PLACES);

	return object && object->holds && object->cookie == cookie ? object : NULL;
}

void objects_renumber_locked(int fd, int other)
{
	struct object *object;

	for (uint64_t i = 0; (object = object_at(i)); i++) {
		if (object->holds && object->fd == fd)
			object->fd = other;
	}
}

/* ---- what is owed ---- */

void object_owe_locked(struct object *object, uint64_t offset, uint64_t end)
{
	struct debt *owed = &object->owed;
	bool any = owed->offset < owed->end;

	owed->offset = any ? MIN(owed->offset, offset) : offset;
	owed->end = any ? MAX(owed->end, end) : end;
	owed->times++;
}

bool object_owes_locked(const struct object *object, uint64_t offset, uint64_t end)
{
	return object->owed.offset < end && offset < object->owed.end;
}

void object_paid_locked(struct object *object, const struct debt *before)
{
	if (object->owed.times == before->times)
		object->owed.offset = object->owed.end = 0;
}

/* ---- holds ---- */

void object_hold_locked(struct object *object)
{
	object->holds++;
}

/* The descriptor to close (without the lock) if it was the last; else -1. */
static int object_put_locked(struct object *object)
{
	int fd = object->fd;

	if (--object->holds)
		return -1;
	object_free_locked(object);
	return fd;
}

/* Whether the caller's hold is the last one, and the descriptor can't be closed: it lingers. */
static bool keep_lingering_locked(struct object *object)
{
	bool locks;

	if (object->holds != 1u + object->lingers)
		return false;
	locks = descriptor_has_locks(object->fd);
	if (locks != object->lingers)
		object->holds += locks ? 1 : -1;
	object->lingers = locks;
	return locks;
}

void object_put(struct object *object)
{
	struct lock_guard guard = lock_take();
	uint64_t grant = object->grant;
	int fd;

	if (keep_lingering_locked(object)) {
		lock_release(guard);
		daemon_unmap(object->fd, 0, UINT64_MAX, grant);
		guard = lock_take();
	}
	fd = object_put_locked(object);
	lock_release(guard);
	descriptor_close(fd);
}

/* One that only lingers, and need not any more: its hold is the caller's. */
static struct object *find_lingering_locked(void)
{
	struct object *object;

	for (uint64_t i = 0; (object = object_at(i)); i++) {
		if (object->holds == 1 && object->lingers && !descriptor_has_locks(object->fd)) {
			object->lingers = false;
			return object;
		}
	}
	return NULL;
}

void objects_reap(void)
{
	struct object *object;

	do {
		struct lock_guard guard = lock_take();

		object = find_lingering_locked();
		lock_release(guard);
		if (object)
			object_put(object);
	} while (object);
}

/* ---- opening a file ---- */

/* Somebody else may have opened it meanwhile: theirs is taken, if ours can be closed. */
static errint_t publish_object(const struct object *wanted, struct object **ret_object)
{
	struct lock_guard guard = lock_take();
	struct object *object = find_inode_locked(wanted->dev, wanted->ino, wanted->writable);
	bool found = object && !descriptor_has_locks(wanted->fd);
	int err;

	if (object && !found)
		object->holds--;
	err = found ? 0 : object_new_locked(wanted, &object);
	if (found || err)
		session_put_locked(wanted->session);
	lock_release(guard);
	if (found || err)
		descriptor_close(wanted->fd);
	if (!err)
		*ret_object = object;
	return err;
}

static errint_t open_object(int fd, const struct stat *st, bool writable,
			    const struct session_ops *ops, struct object **ret_object)
{
	struct object object = { .dev = st->st_dev, .ino = st->st_ino, .writable = writable };
	char path[sizeof(((struct dxf_ioc_direct *)0)->socket)];
	int err = daemon_direct(fd, path);

	if (!err)
		err = session_get(path, st->st_dev, ops, &object.session);
	if (err)
		return err;
	err = daemon_reopen(fd, writable, &object.fd);
	if (!err)
		return publish_object(&object, ret_object);
	session_put(object.session);
	return err;
}

errint_t object_get(int fd, bool writable, const struct session_ops *ops,
		    struct object **ret_object)
{
	struct object *object;
	struct lock_guard guard;
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOTTY;
	guard = lock_take();
	object = find_inode_locked(st.st_dev, st.st_ino, writable);
	lock_release(guard);
	if (!object)
		return open_object(fd, &st, writable, ops, ret_object);
	*ret_object = object;
	return 0;
}

/* ---- after a fork ---- */

void objects_forget_holds_locked(void)
{
	struct object *object;

	for (uint64_t i = 0; (object = object_at(i)); i++) {
		object->before_fork = object->holds;
		object->holds = 0;
		object->lingers = false;
	}
}

static void reopen_object(struct object *object)
{
	int fd, err = daemon_reopen(object->fd, object->writable, &fd);

	object->grant = 0;
	object->orphan = err || descriptor_replace(object->fd, fd);
}

void objects_reopen_locked(void)
{
	struct object *object;

	for (uint64_t i = 0; (object = object_at(i)); i++) {
		if (object->holds) {
			reopen_object(object);
		} else if (object->before_fork) {
			descriptor_close(object->fd);
			object_free_locked(object);
		}
	}
}
