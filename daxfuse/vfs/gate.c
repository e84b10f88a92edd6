/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which inodes are mapped. The gate of an inode is held shared by every operation on one that
 * nobody maps, and exclusively by a thread that begins to map it, or ends: so an operation knows
 * whether it must tell the engine, until it is over. Operations on a mapped file hold no gate, the
 * engine has its own order.
 *
 * As long as it is mapped, core keeps its layout: extents are moved and freed only by
 * operations that have told the engine.
 */
#include <stdlib.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"

static pthread_rwlock_t *gate_of(struct vfs *v, uint64_t ino)
{
	return &v->gate[ino % GATES];
}

/* Buckets of different gates are different ones. */
static struct vfs_file **bucket_of(struct vfs *v, uint64_t ino)
{
	_Static_assert(FILE_BUCKETS % GATES == 0, "a bucket has one gate");
	return &v->files[ino % FILE_BUCKETS];
}

static struct vfs_file *find_file_locked(struct vfs *v, uint64_t ino)
{
	struct vfs_file *file = *bucket_of(v, ino);

	while (file && file->ino != ino)
		file = file->next;
	if (file)
		atomic_fetch_add(&file->refs, 1);
	return file;
}

struct vfs_file *vfs_file_enter(struct vfs *v, uint64_t ino)
{
	struct vfs_file *file;

	lock_shared(LOCK_GATE, gate_of(v, ino));
	file = find_file_locked(v, ino);
	if (file)
		unlock_rw(LOCK_GATE, gate_of(v, ino));
	return file;
}

void vfs_file_leave(struct vfs *v, uint64_t ino, struct vfs_file *file)
{
	if (file)
		vfs_file_put(file);
	else
		unlock_rw(LOCK_GATE, gate_of(v, ino));
}

struct vfs_file *vfs_file_find(struct vfs *v, uint64_t ino)
{
	struct vfs_file *file;

	lock_shared(LOCK_GATE, gate_of(v, ino));
	file = find_file_locked(v, ino);
	unlock_rw(LOCK_GATE, gate_of(v, ino));
	return file;
}

static errint_t make_file(struct vfs *v, uint64_t ino, struct vfs_file **ret_file)
{
	struct vfs_file *file = calloc(1, sizeof(*file));
	int err;

	if (!file)
		return -ENOMEM;
	file->ino = ino;
	file->vfs = v;
	atomic_init(&file->refs, 1);
	err = fs_keep_layout(v->config.fs, ino, true);
	if (!err) {
		err = map_file_new(v->engine, file, &file->map);
		if (err)
			fs_keep_layout(v->config.fs, ino, false);
	}
	if (err) {
		free(file);
		return err;
	}
	pthread_mutex_init(&file->grow, NULL);
	file->next = *bucket_of(v, ino);
	*bucket_of(v, ino) = file;
	*ret_file = file;
	return 0;
}

errint_t vfs_file_get(struct vfs *v, uint64_t ino, struct vfs_file **ret_file)
{
	struct vfs_file *file;
	int err = 0;

	lock_exclusive(LOCK_GATE, gate_of(v, ino));
	file = find_file_locked(v, ino);
	if (!file)
		err = make_file(v, ino, &file);
	unlock_rw(LOCK_GATE, gate_of(v, ino));
	if (!err)
		*ret_file = file;
	return err;
}

static void destroy_file(struct vfs_file *file)
{
	struct vfs_file **at = bucket_of(file->vfs, file->ino);

	while (*at != file)
		at = &(*at)->next;
	*at = file->next;
	fs_keep_layout(file->vfs->config.fs, file->ino, false);
	map_file_put(file->map);
	pthread_mutex_destroy(&file->grow);
	free(file);
}

void vfs_file_put(struct vfs_file *file)
{
	struct vfs *v = file->vfs;
	pthread_rwlock_t *gate = gate_of(v, file->ino);
	unsigned refs = atomic_load(&file->refs);

	/* the last one goes with the gate held: nobody finds it meanwhile */
	while (refs > 1) {
		if (atomic_compare_exchange_weak(&file->refs, &refs, refs - 1))
			return;
	}
	lock_exclusive(LOCK_GATE, gate);
	if (atomic_fetch_sub(&file->refs, 1) == 1)
		destroy_file(file);
	unlock_rw(LOCK_GATE, gate);
}

/* One bucket at a time, those of it referenced in one go. */
void vfs_files_for_each(struct vfs *v, void (*fn)(struct vfs_file *file, void *arg), void *arg)
{
	for (unsigned i = 0; i < FILE_BUCKETS; i++) {
		struct vfs_file *file, *next;

		lock_shared(LOCK_GATE, gate_of(v, i));
		for (file = v->files[i]; file; file = file->next)
			atomic_fetch_add(&file->refs, 1);
		file = v->files[i];
		unlock_rw(LOCK_GATE, gate_of(v, i));
		for (; file; file = next) {
			fn(file, arg);
			/* it is in the list as long as we have a reference */
			lock_shared(LOCK_GATE, gate_of(v, i));
			next = file->next;
			unlock_rw(LOCK_GATE, gate_of(v, i));
			vfs_file_put(file);
		}
	}
}
