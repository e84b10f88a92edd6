/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a view and its file say alike: the size, and when it was read last.
 *
 * A read that is passed to a view ends where the view does. So the vfs tells of each change of a
 * size before the change is answered, and we set the view's to what core says then, under a lock of
 * ours: the last thread to come says what is true. A file that is cut ends in the view first, and
 * in core afterwards: nobody is to see what is zeroed there meanwhile.
 *
 * Of a passed read nobody tells us. The module knows when the last one was, and is asked before
 * somebody hears of the time, and when a file is closed.
 */
#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"

static pthread_mutex_t *lock_of(struct views *v, uint64_t ino)
{
	return &v->sizes_lock[ino % VIEWED_BUCKETS];
}

static struct mapper **list_of(struct views *v, uint64_t ino)
{
	return &v->sized[ino % VIEWED_BUCKETS];
}

static struct mapper *find_locked(struct views *v, uint64_t ino)
{
	struct mapper *m = *list_of(v, ino);

	lock_assert(LOCK_SIZES);
	while (m && m->ino != ino)
		m = m->next_sized;
	return m;
}

static uint64_t core_size(const struct mapper *m)
{
	struct fs_attr attr;

	return fs_getattr(vfs_fs(m->views->config.vfs), m->ino, &attr) ? 0 : attr.size;
}

/* A view whose size can't be set reaches nothing any more. */
static void set_size_locked(struct mapper *m)
{
	uint64_t size = MIN(core_size(m), m->at_most);

	lock_assert(LOCK_SIZES);
	if (size == m->size)
		return;
	m->size = size;
	if (session_set_size(m->views->session, m->number, size))
		session_revoke(m->views->session, m->number);
}

static void insert_locked(struct mapper *m)
{
	struct mapper **list = list_of(m->views, m->ino);

	m->next_sized = *list;
	*list = m;
}

/* Order: it is counted, and then core is asked: a thread that has made the file grow, and sees no
 * view, has done so before. */
errint_t sizes_create(struct mapper *m, int *ret_fd)
{
	struct views *v = m->views;
	int err;

	lock_mutex(LOCK_SIZES, lock_of(v, m->ino));
	atomic_fetch_add(&v->with_size, 1);
	m->at_most = UINT64_MAX;
	m->size = core_size(m);
	err = session_create(v->session, m->ino, m->size, &m->number, ret_fd);
	if (err)
		atomic_fetch_sub(&v->with_size, 1);
	else
		insert_locked(m);
	unlock_mutex(LOCK_SIZES, lock_of(v, m->ino));
	return err;
}

/* The last process may have told core of it, and somebody may have set the time since. */
static void note_earlier_read_locked(struct mapper *m)
{
	struct fs *fs = vfs_fs(m->views->config.vfs);
	struct fs_attr attr;

	lock_assert(LOCK_SIZES);
	if (!session_read_time(m->views->session, m->number, &m->read) &&
	    !fs_getattr(fs, m->ino, &attr) && (int64_t)m->read > attr.ctime)
		fs_was_read(fs, m->ino, (int64_t)m->read);
}

errint_t sizes_adopt(struct mapper *m)
{
	struct views *v = m->views;
	int err;

	lock_mutex(LOCK_SIZES, lock_of(v, m->ino));
	atomic_fetch_add(&v->with_size, 1);
	m->at_most = UINT64_MAX;
	m->size = core_size(m);
	insert_locked(m);
	err = session_set_size(v->session, m->number, m->size);
	note_earlier_read_locked(m);
	unlock_mutex(LOCK_SIZES, lock_of(v, m->ino));
	return err;
}

void sizes_remove(struct mapper *m)
{
	struct views *v = m->views;
	struct mapper **at = list_of(v, m->ino);

	lock_mutex(LOCK_SIZES, lock_of(v, m->ino));
	while (*at && *at != m)
		at = &(*at)->next_sized;
	if (*at) {
		*at = m->next_sized;
		atomic_fetch_sub(&v->with_size, 1);
	}
	unlock_mutex(LOCK_SIZES, lock_of(v, m->ino));
}

void sizes_correct(struct mapper *m)
{
	lock_mutex(LOCK_SIZES, lock_of(m->views, m->ino));
	set_size_locked(m);
	unlock_mutex(LOCK_SIZES, lock_of(m->views, m->ino));
}

/* ---- what the vfs tells ------------------------------------------------------------------- */

/* The view of that inode, with the lock, or neither. Most calls end before any lock. */
static struct mapper *lock_mapper(struct views *v, uint64_t ino)
{
	struct mapper *m;

	if (!atomic_load(&v->with_size))
		return NULL;
	lock_mutex(LOCK_SIZES, lock_of(v, ino));
	m = find_locked(v, ino);
	if (!m)
		unlock_mutex(LOCK_SIZES, lock_of(v, ino));
	return m;
}

static void cut(void *arg, uint64_t ino, uint64_t size)
{
	struct mapper *m = lock_mapper(arg, ino);

	if (!m)
		return;
	m->at_most = size;
	set_size_locked(m);
	unlock_mutex(LOCK_SIZES, lock_of(arg, ino));
}

static void changed(void *arg, uint64_t ino, uint64_t end)
{
	struct mapper *m = lock_mapper(arg, ino);

	if (!m)
		return;
	if (end == UINT64_MAX)
		m->at_most = UINT64_MAX;
	if (end > m->size)
		set_size_locked(m);
	unlock_mutex(LOCK_SIZES, lock_of(arg, ino));
}

static void note_read_locked(struct mapper *m)
{
	uint64_t when;

	lock_assert(LOCK_SIZES);
	if (!atomic_load(&m->passes) || session_read_time(m->views->session, m->number, &when) ||
	    when == m->read)
		return;
	m->read = when;
	fs_was_read(vfs_fs(m->views->config.vfs), m->ino, (int64_t)when);
}

static void asked(void *arg, uint64_t ino)
{
	struct mapper *m = lock_mapper(arg, ino);

	if (!m)
		return;
	note_read_locked(m);
	unlock_mutex(LOCK_SIZES, lock_of(arg, ino));
}

void sizes_begin(struct views *v)
{
	const struct vfs_sharer sharer = { v, cut, changed, asked };

	vfs_set_sharer(v->config.vfs, &sharer);
}

void sizes_end(struct views *v)
{
	vfs_set_sharer(v->config.vfs, NULL);
}

void sizes_note_read(struct mapper *m)
{
	asked(m->views, m->ino);
}
