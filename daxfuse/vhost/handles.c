/* SPDX-License-Identifier: BSD-3-Clause */
/* A table; free entries are in a list through it. */
#include "handles.h"

#include <errno.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/lockrank.h"

/* Order: that it is free, then the rest. */
static void free_handle_locked(struct handles *h, struct handle *handle)
{
	atomic_store_explicit(&handle->ino, 0, memory_order_release);
	handle->next_free = h->free;
	h->free = (uint32_t)(handle - h->table->entry) + 1;
}

void handles_open(struct handles *h, struct vfs *vfs, struct handle_table *table)
{
	*h = (struct handles){ .vfs = vfs, .table = table };
	pthread_mutex_init(&h->lock, NULL);
	table->used = MIN(table->used, HANDLES_MAX);
	for (uint32_t i = 0; i < table->used; i++) {
		if (table->entry[i].ino)
			h->count++;
		else
			free_handle_locked(h, &table->entry[i]);
	}
}

/* NULL: too many. */
static struct handle *take_handle_locked(struct handles *h)
{
	struct handle *handle;

	if (!h->free && h->table->used == HANDLES_MAX)
		return NULL;
	if (!h->free)
		return &h->table->entry[atomic_fetch_add(&h->table->used, 1)];
	handle = &h->table->entry[h->free - 1];
	h->free = handle->next_free;
	return handle;
}

static uint64_t handle_number(const struct handles *h, const struct handle *handle)
{
	return (uint64_t)handle->turn << 32 | (uint32_t)(handle - h->table->entry);
}

/* Order: all else, then the inode. */
errint_t handles_add(struct handles *h, const struct vfs_open_file *file, uint64_t *ret_number)
{
	struct handle *handle;

	lock_mutex(LOCK_GUEST, &h->lock);
	handle = take_handle_locked(h);
	if (handle) {
		handle->file = *file;
		handle->turn++;
		atomic_store_explicit(&handle->ino, file->ino, memory_order_release);
		h->count++;
		*ret_number = handle_number(h, handle);
	}
	unlock_mutex(LOCK_GUEST, &h->lock);
	return handle ? 0 : -ENFILE;
}

errint_t handles_replace(struct handles *h, uint64_t old_handle, const struct vfs_open_file *file,
			 uint64_t *ret_number)
{
	int err = -EBADF;

	lock_mutex(LOCK_GUEST, &h->lock);
	for (uint32_t i = 0; err && i < h->table->used; i++) {
		struct handle *handle = &h->table->entry[i];

		if (handle->ino != file->ino || handle->file.handle != old_handle)
			continue;
		handle->file = *file;
		*ret_number = handle_number(h, handle);
		err = 0;
	}
	unlock_mutex(LOCK_GUEST, &h->lock);
	return err;
}

static struct handle *find_handle_locked(struct handles *h, uint64_t number, uint64_t ino)
{
	uint32_t i = (uint32_t)number;
	struct handle *handle = i < h->table->used ? &h->table->entry[i] : NULL;

	lock_assert(LOCK_GUEST);
	if (!handle || !handle->ino || handle->ino != ino ||
	    handle->turn != (uint32_t)(number >> 32))
		return NULL;
	return handle;
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
		h->count--;
	}
	unlock_mutex(LOCK_GUEST, &h->lock);
	return handle ? 0 : -EBADF;
}

unsigned handles_count(struct handles *h)
{
	unsigned count;

	lock_mutex(LOCK_GUEST, &h->lock);
	count = h->count;
	unlock_mutex(LOCK_GUEST, &h->lock);
	return count;
}

void handles_clear(struct handles *h)
{
	for (uint32_t i = 0;; i++) {
		struct vfs_open_file file = { 0 };
		bool end;

		lock_mutex(LOCK_GUEST, &h->lock);
		end = i >= h->table->used;
		if (!end && h->table->entry[i].ino) {
			file = h->table->entry[i].file;
			free_handle_locked(h, &h->table->entry[i]);
			h->count--;
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
	pthread_mutex_destroy(&h->lock);
}
