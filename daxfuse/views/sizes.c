/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a view and its file say alike: the size, whether a write takes privileges away, and when it
 * was read last.
 *
 * A read that is passed to a view ends where the view does. So the vfs tells of each change of a
 * size before the change is answered, and we set the view's to what core says then, under a lock of
 * ours: the last thread to come says what is true. A file that is cut ends in the view first, and
 * in core afterwards: nobody is to see what is zeroed there meanwhile.
 *
 * A file that programs append to through its view has a tail (core/tail.c): the module stores the
 * bytes and the size past us, until core has an operation of its own on that file and takes the
 * tail away. So a size is never set while there is one: a size that we had asked core for might be
 * too small by then.
 *
 * Of a passed read nobody tells us. The module knows when the last one was, and is asked before
 * somebody hears of the time, and when a file is closed.
 */
#include <sys/stat.h>

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

/* A view whose size can't be set reaches nothing any more. One that grows by itself does not until
 * it has asked for it again, and then its size is what core knows. */
static void set_size_locked(struct mapper *m)
{
	bool is_known = !m->had_tail;
	uint64_t size;

	lock_assert(LOCK_SIZES);
	if (m->had_tail)
		fs_tail_end(vfs_fs(m->views->config.vfs), m->ino);
	m->had_tail = false;
	size = MIN(core_size(m), m->at_most);
	if (is_known && size == m->size)
		return;
	m->size = size;
	if (session_set_size(m->views->session, m->number, size))
		session_revoke(m->views->session, m->number);
}

/* Whether the kernel leaves it to us to take bits away at a write. If the view can't be told, it
 * reaches nothing any more. */
static void set_privileged_locked(struct mapper *m)
{
	struct fs_attr attr;
	bool privileged;

	lock_assert(LOCK_SIZES);
	if (fs_getattr(vfs_fs(m->views->config.vfs), m->ino, &attr))
		attr.mode = S_ISUID;
	privileged = (attr.mode & S_ISUID) ||
		     (attr.mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP);
	if (privileged == m->privileged)
		return;
	m->privileged = privileged;
	if (session_set_privileged(m->views->session, m->number, privileged))
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
	uint64_t times;
	int err = fs_find_times(vfs_fs(v->config.vfs), m->ino, &times);

	if (err)
		return err;
	lock_mutex(LOCK_SIZES, lock_of(v, m->ino));
	atomic_fetch_add(&v->with_size, 1);
	m->at_most = UINT64_MAX;
	m->size = core_size(m);
	err = session_create(v->session, m->ino, m->size, times, &m->number, ret_fd);
	if (err) {
		atomic_fetch_sub(&v->with_size, 1);
	} else {
		insert_locked(m);
		set_privileged_locked(m);
	}
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
	m->privileged = true;
	if (!err)
		err = session_set_privileged(v->session, m->number, true);
	set_privileged_locked(m);
	note_earlier_read_locked(m);
	unlock_mutex(LOCK_SIZES, lock_of(v, m->ino));
	return err;
}

void sizes_remove(struct mapper *m)
{
	struct views *v = m->views;
	struct mapper **at = list_of(v, m->ino);

	lock_mutex(LOCK_SIZES, lock_of(v, m->ino));
	if (m->had_tail)
		fs_tail_end(vfs_fs(v->config.vfs), m->ino);
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

errint_t sizes_begin_tail(struct mapper *m, uint64_t offset, uint64_t length)
{
	int err;

	lock_mutex(LOCK_SIZES, lock_of(m->views, m->ino));
	/* a thread that has made the file longer may not have said so yet */
	set_size_locked(m);
	m->had_tail = true;
	m->wanted = offset;
	err = fs_tail_begin(vfs_fs(m->views->config.vfs), m->ino, offset, length, m);
	unlock_mutex(LOCK_SIZES, lock_of(m->views, m->ino));
	return err;
}

/* ---- what core tells ---------------------------------------------------------------------- */

static errint_t give_tail(void *arg, void *cookie, const struct fs_tail *tail)
{
	const struct views *v = arg;
	const struct mapper *m = cookie;

	/* in so many pieces that it does not go as far */
	if (tail->end <= m->wanted)
		return -ERANGE;
	return session_give_tail(v->session, m->number, tail);
}

/* The view may have been revoked before. */
static void take_tail(void *arg, void *cookie)
{
	const struct views *v = arg;
	const struct mapper *m = cookie;

	if (session_take_tail(v->session, m->number))
		session_revoke(v->session, m->number);
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

static void mode_changed(void *arg, uint64_t ino)
{
	struct mapper *m = lock_mapper(arg, ino);

	if (!m)
		return;
	set_privileged_locked(m);
	unlock_mutex(LOCK_SIZES, lock_of(arg, ino));
}

errint_t sizes_strip(struct mapper *m)
{
	struct vfs *vfs = m->views->config.vfs;
	bool dropped;
	int err = fs_drop_privileges(vfs_fs(vfs), m->ino, FS_WRITE_KILL_SUIDGID, &dropped);

	if (err)
		return err;
	vfs_forget_cached(vfs, m->ino, false);
	mode_changed(m->views, m->ino);
	return 0;
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
	const struct vfs_sharer sharer = { v, cut, changed, mode_changed, asked };
	const struct fs_tail_holder holder = { v, give_tail, take_tail };

	vfs_set_sharer(v->config.vfs, &sharer);
	fs_set_tail_holder(vfs_fs(v->config.vfs), &holder);
}

void sizes_end(struct views *v)
{
	vfs_set_sharer(v->config.vfs, NULL);
	fs_set_tail_holder(vfs_fs(v->config.vfs), NULL);
}

void sizes_note_read(struct mapper *m)
{
	asked(m->views, m->ino);
}
