/* SPDX-License-Identifier: BSD-3-Clause */
/* A table that grows; free entries are in a list through it. */
#include "handles.h"

#include <errno.h>
#include <stdlib.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/lockrank.h"

enum { HANDLES_FIRST = 64 };

void handles_open(struct handles *h, struct vfs *vfs)
{
	*h = (struct handles){ .vfs = vfs };
	pthread_mutex_init(&h->lock, NULL);
}

static errint_t grow_handles_locked(struct handles *h)
{
	uint32_t room = h->room ? h->room * 2 : HANDLES_FIRST;
	struct handle *table;

	if (h->free < h->room)
		return 0;
	if (room > HANDLES_MAX)
		return -ENFILE;
	table = realloc(h->table, room * sizeof(*table));
	if (!table)
		return -ENOMEM;
	for (uint32_t i = h->room; i < room; i++)
		table[i] = (struct handle){ .next_free = i + 1 };
	h->table = table;
	h->room = room;
	return 0;
}

errint_t handles_add(struct handles *h, const struct vfs_open_file *file, uint64_t *ret_number)
{
	int err;

	lock_mutex(LOCK_GUEST, &h->lock);
	err = grow_handles_locked(h);
	if (!err) {
		uint32_t i = h->free;
		struct handle *handle = &h->table[i];

		h->free = handle->next_free;
		handle->file = *file;
		handle->turn++;
		h->used++;
		*ret_number = (uint64_t)handle->turn << 32 | i;
	}
	unlock_mutex(LOCK_GUEST, &h->lock);
	return err;
}

static struct handle *find_handle_locked(struct handles *h, uint64_t number, uint64_t ino)
{
	uint32_t i = (uint32_t)number;
	struct handle *handle = i < h->room ? &h->table[i] : NULL;

	lock_assert(LOCK_GUEST);
	if (!handle || !handle->file.ino || handle->file.ino != ino ||
	    handle->turn != (uint32_t)(number >> 32))
		return NULL;
	return handle;
}

static void free_handle_locked(struct handles *h, struct handle *handle)
{
	handle->file.ino = 0;
	handle->next_free = h->free;
	h->free = (uint32_t)(handle - h->table);
	h->used--;
}

errint_t handles_find(struct handles *h, uint64_t number, uint64_t ino,
		      struct vfs_open_file *ret_file)
{
	struct handle *handle;

	lock_mutex(LOCK_GUEST, &h->lock);
	handle = find_handle_locked(h, number, ino);
	if (handle)
		*ret_file = handle->file;
	unlock_mutex(LOCK_GUEST, &h->lock);
	return handle ? 0 : -EBADF;
}

errint_t handles_take(struct handles *h, uint64_t number, uint64_t ino,
		      struct vfs_open_file *ret_file)
{
	struct handle *handle;

	lock_mutex(LOCK_GUEST, &h->lock);
	handle = find_handle_locked(h, number, ino);
	if (handle) {
		*ret_file = handle->file;
		free_handle_locked(h, handle);
	}
	unlock_mutex(LOCK_GUEST, &h->lock);
	return handle ? 0 : -EBADF;
}

unsigned handles_count(struct handles *h)
{
	unsigned used;

	lock_mutex(LOCK_GUEST, &h->lock);
	used = h->used;
	unlock_mutex(LOCK_GUEST, &h->lock);
	return used;
}

void handles_clear(struct handles *h)
{
	for (uint32_t i = 0;; i++) {
		struct vfs_open_file file = { 0 };
		bool end;

		lock_mutex(LOCK_GUEST, &h->lock);
		end = i >= h->room;
		if (!end && h->table[i].file.ino) {
			file = h->table[i].file;
			free_handle_locked(h, &h->table[i]);
		}
		unlock_mutex(LOCK_GUEST, &h->lock);
		if (end)
			return;
		if (file.ino)
			vfs_release(h->vfs, file.ino, file.handle);
	}
}

void handles_close(struct handles *h)
{
	handles_clear(h);
	free(h->table);
	pthread_mutex_destroy(&h->lock);
}
