/* SPDX-License-Identifier: BSD-3-Clause */
#include "daxfuse/daxmap/object.h"

#include <errno.h>
#include <stddef.h>
#include <sys/stat.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/daxmap/daemon.h"
#include "daxfuse/daxmap/descriptor.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/region.h"
#include "daxfuse/daxmap/session.h"
#include "daxfuse/daxmap/sys.h"

/* Objects never move: flights point to them. */
enum { CHUNK = 256, CHUNKS = 256 };
static struct object *chunk[CHUNKS];
static uint64_t last_cookie;

struct object *object_at(uint32_t index)
{
	if (index / CHUNK >= CHUNKS || !chunk[index / CHUNK])
		return NULL;
	return &chunk[index / CHUNK][index % CHUNK];
}

static int object_new(struct object **ret_object)
{
	struct object *object;
	uint32_t i = 0;
	void *memory;
	int err;

	while ((object = object_at(i)) && object->holds)
		i++;
	if (!object) {
		if (i / CHUNK >= CHUNKS)
			return -ENOMEM;
		err = sys_memory(CHUNK * sizeof(*object), &memory);
		if (err)
			return err;
		chunk[i / CHUNK] = memory;
		object = memory;
	}
	*ret_object = object;
	return 0;
}

static struct object *find(dev_t dev, ino_t ino, bool writable)
{
	struct object *object;

	for (uint32_t i = 0; (object = object_at(i)); i++) {
		if (object->holds && object->ino == ino && object->dev == dev &&
		    object->writable == writable) {
			object->holds++;
			return object;
		}
	}
	return NULL;
}

struct object *object_find(uint64_t cookie)
{
	struct object *object;

	for (uint32_t i = 0; (object = object_at(i)); i++) {
		if (object->holds && object->cookie == cookie)
			return object;
	}
	return NULL;
}

void object_owe(struct object *object, uint64_t offset, uint64_t end)
{
	struct debt *owed = &object->owed;
	bool any = owed->offset < owed->end;

	owed->offset = any ? MIN(owed->offset, offset) : offset;
	owed->end = any ? MAX(owed->end, end) : end;
	owed->times++;
}

bool object_owes(const struct object *object, uint64_t offset, uint64_t end)
{
	return object->owed.offset < end && offset < object->owed.end;
}

void object_paid(struct object *object, const struct debt *before)
{
	if (object->owed.times == before->times)
		object->owed.offset = object->owed.end = 0;
}

void object_renumber(int fd, int other)
{
	struct object *object;

	for (uint32_t i = 0; (object = object_at(i)); i++) {
		if (object->holds && object->fd == fd)
			object->fd = other;
	}
}

void object_hold(struct object *object)
{
	object->holds++;
}

bool object_next(uintptr_t start, uintptr_t end, struct region *ret_region)
{
	struct held held = lock_take();
	const struct region *found = region_from(start);
	bool any = found && found->start < end;

	if (any) {
		*ret_region = *found;
		object_hold(found->object);
	}
	lock_release(held);
	return any;
}

int object_put_locked(struct object *object)
{
	if (--object->holds)
		return -1;
	session_put_locked(object->session);
	return object->fd;
}

/* If the caller's hold is the last one, but its descriptor can't be closed: it lingers. */
static bool keep_lingering(struct object *object)
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
	struct held held = lock_take();
	uint64_t grant = object->grant;
	int fd;

	if (keep_lingering(object)) {
		lock_release(held);
		daemon_unmap(object->fd, 0, UINT64_MAX, grant);
		held = lock_take();
	}
	fd = object_put_locked(object);
	lock_release(held);
	descriptor_close(fd);
}

/* One that only lingers, and need not any more: its hold is the caller's. */
static struct object *find_lingering(void)
{
	struct object *object;

	for (uint32_t i = 0; (object = object_at(i)); i++) {
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
		struct held held = lock_take();

		object = find_lingering();
		lock_release(held);
		if (object)
			object_put(object);
	} while (object);
}

/* Somebody else may have made it meanwhile: theirs is taken, if ours can be closed. */
static int publish(const struct object *wanted, struct object **ret_object)
{
	struct held held = lock_take();
	struct object *object = find(wanted->dev, wanted->ino, wanted->writable);
	bool found = object && !descriptor_has_locks(wanted->fd);
	int err;

	if (object && !found)
		object->holds--;
	err = found ? 0 : object_new(&object);

	if (!found && !err) {
		*object = *wanted;
		object->cookie = ++last_cookie;
		object->holds = 1;
	}
	if (found || err)
		session_put_locked(wanted->session);
	lock_release(held);
	if (found || err)
		descriptor_close(wanted->fd);
	if (!err)
		*ret_object = object;
	return err;
}

static int make(int fd, const struct stat *st, bool writable, struct object **ret_object)
{
	struct object object = { .dev = st->st_dev, .ino = st->st_ino, .writable = writable };
	char path[sizeof(((struct dxf_ioc_direct *)0)->socket)];
	int err = daemon_direct(fd, path);

	if (!err)
		err = session_get(path, st->st_dev, &object.session);
	if (err)
		return err;
	err = daemon_reopen(fd, writable, &object.fd);
	if (!err)
		return publish(&object, ret_object);
	session_put(object.session);
	return err;
}

int object_get(int fd, bool writable, struct object **ret_object)
{
	struct object *object;
	struct held held;
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOTTY;
	held = lock_take();
	object = find(st.st_dev, st.st_ino, writable);
	lock_release(held);
	if (!object)
		return make(fd, &st, writable, ret_object);
	*ret_object = object;
	return 0;
}
