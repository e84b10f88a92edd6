/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of a vfs, and what belongs to no operation. */
#include "internal.h"
#include "daxfuse/base/errint.h"

#include <stdatomic.h>
#include <stdlib.h>

/* Grants of this life are higher than those of any earlier one. */
enum { LIFE_SHIFT = 40 };

static void init_locks(struct vfs *v)
{
	pthread_rwlockattr_t fair;

	pthread_rwlockattr_init(&fair);
	/* a stream of operations must not keep out one that wants to map */
	pthread_rwlockattr_setkind_np(&fair, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	for (unsigned i = 0; i < GATES; i++)
		pthread_rwlock_init(&v->gate[i], &fair);
	pthread_rwlockattr_destroy(&fair);
	pthread_rwlock_init(&v->orphans, NULL);
	pthread_mutex_init(&v->watch_lock, NULL);
}

errint_t vfs_open(const struct vfs_config *config, struct vfs **ret_vfs)
{
	struct vfs *v = calloc(1, sizeof(*v));
	int err;

	if (!v)
		return -ENOMEM;
	v->config = *config;
	init_locks(v);
	err = opens_open(v);
	if (!err)
		err = map_engine_new(&vfs_backend, v, &v->engine);
	if (err) {
		opens_close(v);
		free(v);
		return err;
	}
	v->hook = (struct map_hook){ watch_first_write, v, NULL };
	map_engine_add_hook(v->engine, &v->hook);
	map_engine_set_first_grant(v->engine, config->life << LIFE_SHIFT);
	map_engine_set_waiting(v->engine, config->waiting, config->transport);
	*ret_vfs = v;
	return 0;
}

void vfs_close(struct vfs *v)
{
	if (!v)
		return;
	watch_end(v);
	map_engine_free(v->engine);
	opens_close(v);
	for (unsigned i = 0; i < GATES; i++)
		pthread_rwlock_destroy(&v->gate[i]);
	pthread_rwlock_destroy(&v->orphans);
	pthread_mutex_destroy(&v->watch_lock);
	free(v);
}

void vfs_allow_auto(struct vfs *v)
{
	v->may_cache = true;
}

enum fs_dax_mode vfs_dax(const struct vfs *v)
{
	enum fs_dax_mode mode = fs_dax(v->config.fs);

	return mode == FS_DAX_AUTO && !v->may_cache ? FS_DAX_INODE : mode;
}

uint64_t vfs_new_handle(struct vfs *v)
{
	_Atomic uint64_t *next = v->config.next_handle ? v->config.next_handle : &v->next_handle;

	return atomic_fetch_add_explicit(next, 1, memory_order_relaxed) + 1;
}

void vfs_forget_cached(struct vfs *v, uint64_t ino, bool data)
{
	v->config.forget(v->config.transport, ino, data);
}

/* Programs that append get tails again at once: so each operation ends them once, or one that finds
 * no space would go round as long as others append. */
static bool ends_tails(struct vfs *v, struct vfs_retry *retry)
{
	bool first = !retry->ended_tails;

	retry->ended_tails = true;
	return first && fs_tail_end_all(v->config.fs);
}

bool vfs_reclaims(struct vfs *v, struct vfs_retry *retry, ssize_t err)
{
	return (err == -ENOSPC || err == -EDQUOT) &&
	       (ends_tails(v, retry) || v->config.reclaim(v->config.transport));
}

struct fs *vfs_fs(const struct vfs *v)
{
	return v->config.fs;
}

bool vfs_waiting(const struct vfs *v, bool begins)
{
	return !v->config.waiting || v->config.waiting(v->config.transport, begins);
}

bool vfs_is_read_only(const struct vfs *v)
{
	return fs_is_read_only(v->config.fs);
}
