/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which inodes are mapped. The gate of an inode is held shared by every operation on
 * one that nobody maps, and exclusively by whoever begins to map it, or ends: so an
 * operation knows whether it must tell the engine, until it is over. Operations on a
 * mapped file hold no gate, the engine has its own order.
 *
 * As long as it is mapped, core keeps its layout: extents are moved and freed only by
 * operations that have told the engine.
 */
#include <stdlib.h>

#include "internal.h"

static pthread_rwlock_t *gate_of(struct direct *d, uint64_t ino)
{
	return &d->gate[ino % GATES];
}

/* Buckets of different gates are different ones. */
static struct file **bucket_of(struct direct *d, uint64_t ino)
{
	_Static_assert(FILE_BUCKETS % GATES == 0, "a bucket has one gate");
	return &d->files[ino % FILE_BUCKETS];
}

/* The gate is held. */
static struct file *find(struct direct *d, uint64_t ino)
{
	struct file *file = *bucket_of(d, ino);

	while (file && file->ino != ino)
		file = file->next;
	if (file)
		atomic_fetch_add(&file->refs, 1);
	return file;
}

struct file *file_enter(struct direct *d, uint64_t ino)
{
	struct file *file;

	pthread_rwlock_rdlock(gate_of(d, ino));
	file = find(d, ino);
	if (file)
		pthread_rwlock_unlock(gate_of(d, ino));
	return file;
}

void file_leave(struct direct *d, uint64_t ino, struct file *file)
{
	if (file)
		file_put(file);
	else
		pthread_rwlock_unlock(gate_of(d, ino));
}

struct file *file_find(struct direct *d, uint64_t ino)
{
	struct file *file;

	pthread_rwlock_rdlock(gate_of(d, ino));
	file = find(d, ino);
	pthread_rwlock_unlock(gate_of(d, ino));
	return file;
}

static int make(struct direct *d, uint64_t ino, struct file **ret_file)
{
	struct file *file = calloc(1, sizeof(*file));
	int err;

	if (!file)
		return -ENOMEM;
	file->ino = ino;
	file->d = d;
	atomic_init(&file->refs, 1);
	err = fs_keep_layout(d->config.fs, ino, true);
	if (!err) {
		err = map_file_new(d->engine, file, &file->map);
		if (err)
			fs_keep_layout(d->config.fs, ino, false);
	}
	if (err) {
		free(file);
		return err;
	}
	pthread_mutex_init(&file->grow, NULL);
	file->next = *bucket_of(d, ino);
	*bucket_of(d, ino) = file;
	*ret_file = file;
	return 0;
}

int file_map(struct direct *d, uint64_t ino, struct file **ret_file)
{
	struct file *file;
	int err = 0;

	pthread_rwlock_wrlock(gate_of(d, ino));
	file = find(d, ino);
	if (!file)
		err = make(d, ino, &file);
	pthread_rwlock_unlock(gate_of(d, ino));
	if (!err)
		*ret_file = file;
	return err;
}

static void destroy(struct file *file)
{
	struct file **at = bucket_of(file->d, file->ino);

	while (*at != file)
		at = &(*at)->next;
	*at = file->next;
	fs_keep_layout(file->d->config.fs, file->ino, false);
	map_file_put(file->map);
	pthread_mutex_destroy(&file->grow);
	free(file);
}

void file_put(struct file *file)
{
	struct direct *d = file->d;
	pthread_rwlock_t *gate = gate_of(d, file->ino);
	unsigned refs = atomic_load(&file->refs);

	/* the last one goes with the gate held: nobody finds it meanwhile */
	while (refs > 1) {
		if (atomic_compare_exchange_weak(&file->refs, &refs, refs - 1))
			return;
	}
	pthread_rwlock_wrlock(gate);
	if (atomic_fetch_sub(&file->refs, 1) == 1)
		destroy(file);
	pthread_rwlock_unlock(gate);
}

/* One bucket at a time, those of it referenced in one go. */
void files_for_each(struct direct *d, void (*fn)(struct file *file, void *arg), void *arg)
{
	for (unsigned i = 0; i < FILE_BUCKETS; i++) {
		struct file *file, *next;

		pthread_rwlock_rdlock(gate_of(d, i));
		for (file = d->files[i]; file; file = file->next)
			atomic_fetch_add(&file->refs, 1);
		file = d->files[i];
		pthread_rwlock_unlock(gate_of(d, i));
		for (; file; file = next) {
			fn(file, arg);
			/* it is in the list as long as we have a reference */
			pthread_rwlock_rdlock(gate_of(d, i));
			next = file->next;
			pthread_rwlock_unlock(gate_of(d, i));
			file_put(file);
		}
	}
}
