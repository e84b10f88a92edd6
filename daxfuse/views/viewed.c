/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which inodes have a view, and for how long.
 *
 * The kernel wants all open files of an inode to be mapped through the same backing, or all through
 * its page cache. So the first open decides: one that goes past the cache, as a mapping may follow,
 * gets a view, and so does every open of that inode as long as there is the view. An open that
 * does not, keeps others from it until it is closed; unless it is for writing only, as such a file
 * can't be mapped.
 *
 * A view that was never asked about costs nothing but its inode in the kernel: the engine hears of
 * it with the first question, and only then does core keep the file's layout.
 *
 * A mapping outlives the open file that it was made with, and the kernel sends RELEASE for that
 * all the same. So a view ends when no file is open with it, the module knows of no other user but
 * the transport's registration, and no device uses its memory. The module tells of the last
 * but one that closes it (answer.c); a device is waited for by looking again. An inode without a
 * name is not freed before its view has ended.
 *
 * Files that were opened in the life of an earlier process are not counted here: the module counts
 * those that have a view, as each is a user, and the vfs those that may be mapped without one. Only
 * an open that the last process has answered may not have reached the kernel's side, if its
 * program has not run since; so a view of that process is not ended in our first seconds.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"

static unsigned bucket_of(uint64_t ino)
{
	return ino % VIEWED_BUCKETS;
}

static struct viewed *find_locked(struct views *v, uint64_t ino)
{
	struct viewed *found = v->bucket[bucket_of(ino)];

	lock_assert(LOCK_VIEWED);
	while (found && found->ino != ino)
		found = found->next;
	return found;
}

static struct viewed *get_locked(struct views *v, uint64_t ino)
{
	struct viewed *found = find_locked(v, ino);

	if (found)
		return found;
	found = calloc(1, sizeof(*found));
	if (found) {
		found->ino = ino;
		found->next = v->bucket[bucket_of(ino)];
		v->bucket[bucket_of(ino)] = found;
	}
	return found;
}

static void put_locked(struct views *v, struct viewed *viewed)
{
	struct viewed **at = &v->bucket[bucket_of(viewed->ino)];

	if (viewed->plain || viewed->opens || viewed->busy || viewed->mapper)
		return;
	while (*at != viewed)
		at = &(*at)->next;
	*at = viewed->next;
	free(viewed);
}

/* ---- making and ending views ------------------------------------------------------------ */

/* Order: the view, the registration, the record; then somebody hears of it. */
static errint_t register_mapper(struct mapper *m, int fd,
				int (*register_backing)(void *arg, int fd), void *arg)
{
	int err;

	m->backing = register_backing(arg, fd);
	if (m->backing <= 0)
		return -EOPNOTSUPP;
	err = table_add_view(m->views, m);
	if (err)
		m->views->config.ended(m->views->config.transport, m->ino, m->backing, false);
	return err;
}

/* NULL: it can't be had; the page cache it is. */
static struct mapper *make_mapper(struct views *v, uint64_t ino,
				  int (*register_backing)(void *arg, int fd), void *arg)
{
	struct mapper *m = calloc(1, sizeof(*m));
	int fd;

	if (m) {
		m->views = v;
		m->ino = ino;
	}
	if (!m || sizes_create(m, &fd)) {
		free(m);
		atomic_fetch_add(&v->refused, 1);
		return NULL;
	}
	if (register_mapper(m, fd, register_backing, arg)) {
		sizes_remove(m);
		close(fd);
		free(m);
		atomic_fetch_add(&v->refused, 1);
		return NULL;
	}
	close(fd);
	atomic_fetch_add(&v->made, 1);
	atomic_fetch_add(&v->count, 1);
	return m;
}

/* The engine's side. */
static void free_mapper(struct mapper *m)
{
	struct vfs_file *file = m->file;

	sizes_remove(m);
	if (m->view)
		map_view_close(m->view); /* m is freed when nobody uses it any more */
	else
		free(m);
	if (file)
		vfs_file_put(file);
}

/* Nobody has it open or mapped, nor will. Order: the record goes last; a process that finds it
 * finds the view revoked, or gone. */
static void end_mapper(struct views *v, struct mapper *m)
{
	uint64_t ino = m->ino;
	uint32_t slot = m->slot;
	int backing = m->backing;
	bool stored = session_was_stored(v->session, m->number);

	sizes_note_read(m);
	session_revoke(v->session, m->number);
	free_mapper(m);
	v->config.ended(v->config.transport, ino, backing, stored);
	table_erase_view(v, slot);
	atomic_fetch_sub(&v->count, 1);
}

static bool is_settling(struct views *v, const struct mapper *m)
{
	return m->adopted && views_now_ms() < v->begun_ms + v->settle_ms;
}

/* Whether somebody may use it still; who does not tell when that ends is looked at again. */
static bool is_used(struct views *v, struct mapper *m)
{
	uint64_t files = 0;
	int err = session_files(v->session, m->number, &files);

	if (!err && files > 1)
		return true; /* the module will tell */
	if ((!err || err == -ENOENT) && !is_settling(v, m) && !(m->view && busy_any(m)))
		return false;
	if (!atomic_exchange(&v->look_again, true))
		views_kick(v);
	return true;
}

static void check_locked(struct views *v, struct viewed *viewed)
{
	struct mapper *m = viewed->mapper;

	if (!m || viewed->opens || viewed->busy || (!m->over && is_used(v, m)))
		return;
	viewed->mapper = NULL;
	end_mapper(v, m);
}

void viewed_check(struct views *v, uint64_t ino)
{
	pthread_mutex_t *lock = &v->lock[bucket_of(ino)];
	struct viewed *viewed;

	lock_mutex(LOCK_VIEWED, lock);
	viewed = find_locked(v, ino);
	if (viewed) {
		check_locked(v, viewed);
		put_locked(v, viewed);
	}
	unlock_mutex(LOCK_VIEWED, lock);
}

void viewed_check_all(struct views *v)
{
	for (unsigned i = 0; i < VIEWED_BUCKETS; i++) {
		struct viewed *viewed, *next;

		lock_mutex(LOCK_VIEWED, &v->lock[i]);
		for (viewed = v->bucket[i]; viewed; viewed = next) {
			next = viewed->next;
			check_locked(v, viewed);
			put_locked(v, viewed);
		}
		unlock_mutex(LOCK_VIEWED, &v->lock[i]);
	}
}

void viewed_begin(struct views *v)
{
	v->begun_ms = views_now_ms();
	viewed_check_all(v);
}

errint_t viewed_adopt(struct views *v, struct mapper *m)
{
	pthread_mutex_t *lock = &v->lock[bucket_of(m->ino)];
	struct viewed *viewed;
	int err = 0;

	lock_mutex(LOCK_VIEWED, lock);
	viewed = get_locked(v, m->ino);
	if (!viewed)
		err = -ENOMEM;
	else if (viewed->mapper)
		err = -EEXIST;
	else
		viewed->mapper = m;
	unlock_mutex(LOCK_VIEWED, lock);
	if (!err)
		atomic_fetch_add(&v->count, 1);
	return err;
}

struct mapper *viewed_mapper(struct views *v, uint64_t ino)
{
	pthread_mutex_t *lock = &v->lock[bucket_of(ino)];
	const struct viewed *viewed;
	struct mapper *m;

	lock_mutex(LOCK_VIEWED, lock);
	viewed = find_locked(v, ino);
	m = viewed ? viewed->mapper : NULL;
	unlock_mutex(LOCK_VIEWED, lock);
	return m;
}

/* The kernel has closed all files, but perhaps not all mappings of a mount that is gone. */
void viewed_end_all(struct views *v, bool unmounted)
{
	for (unsigned i = 0; i < VIEWED_BUCKETS; i++) {
		while (v->bucket[i]) {
			struct viewed *viewed = v->bucket[i];

			v->bucket[i] = viewed->next;
			if (viewed->mapper && unmounted)
				end_mapper(v, viewed->mapper);
			else if (viewed->mapper)
				free_mapper(viewed->mapper);
			free(viewed);
		}
	}
}

errint_t views_pause(struct views *v)
{
	bool used = false;

	if (!v)
		return 0;
	atomic_store(&v->paused, true);
	for (unsigned i = 0; i < VIEWED_BUCKETS; i++) {
		lock_mutex(LOCK_VIEWED, &v->lock[i]);
		for (const struct viewed *viewed = v->bucket[i]; viewed; viewed = viewed->next)
			used |= viewed->mapper != NULL;
		unlock_mutex(LOCK_VIEWED, &v->lock[i]);
	}
	if (used)
		views_resume(v);
	return used ? -EBUSY : 0;
}

void views_resume(struct views *v)
{
	if (v)
		atomic_store(&v->paused, false);
}

/* ---- open files ------------------------------------------------------------------------- */

static bool may_have_view(const struct views *v, const struct viewed *viewed,
			  const struct vfs_opened *opened)
{
	return !viewed->plain && !atomic_load(&v->paused) && opened->direct &&
	       !opened->only_appends && S_ISREG(opened->attr.mode) &&
	       (opened->attr.dax || vfs_dax(v->config.vfs) == FS_DAX_AUTO) &&
	       !vfs_earlier_opens(v->config.vfs, opened->attr.ino);
}

/* Reads and writes of an open file are passed both, or none. A file of less than a page may lie in
 * its inode, and would get a block by being read. Small files are made and written by core, as they
 * cost less there, and no unit; one that is written to through its view has one at least. */
bool viewed_passes(const struct vfs_opened *opened, int flags)
{
	if ((flags & O_ACCMODE) == O_RDONLY)
		return opened->attr.size >= MAP_PAGE_SIZE;
	return opened->attr.size >= MAP_UNIT_SIZE && !opened->only_appends;
}

/* Once there is a view the kernel wants it for every open. One for writing only can't be mapped,
 * and has one if its writes are passed. Of one that may be stored to the times are the view's
 * matter from now on, and the kernel must not believe those that it knows. */
int views_enter(struct views *v, const struct vfs_opened *opened, int flags,
		int (*register_backing)(void *arg, int fd), void *arg)
{
	bool maps = (flags & O_ACCMODE) != O_WRONLY;
	bool wants = maps || viewed_passes(opened, flags);
	pthread_mutex_t *lock = &v->lock[bucket_of(opened->attr.ino)];
	struct mapper *begins = NULL; /* stays as long as the file is open */
	struct viewed *viewed;
	int backing = 0;

	lock_mutex(LOCK_VIEWED, lock);
	viewed = get_locked(v, opened->attr.ino);
	if (viewed && !viewed->mapper && wants && may_have_view(v, viewed, opened))
		viewed->mapper = make_mapper(v, opened->attr.ino, register_backing, arg);
	if (viewed && viewed->mapper) {
		viewed->opens++;
		backing = viewed->mapper->backing;
		if ((flags & O_ACCMODE) != O_RDONLY && !atomic_load(&viewed->mapper->is_forgotten))
			begins = viewed->mapper;
		if (begins)
			atomic_store(&begins->is_written, true);
	} else if (viewed && maps) {
		viewed->plain++;
	} else if (viewed) {
		put_locked(v, viewed);
	}
	unlock_mutex(LOCK_VIEWED, lock);
	if (begins) {
		vfs_forget_cached(v->config.vfs, begins->ino, false);
		atomic_store(&begins->is_forgotten, true);
	}
	return viewed ? backing : -ENOMEM;
}

/* Those of earlier processes are not counted. */
void views_leave(struct views *v, uint64_t ino, uint64_t handle, enum views_open how)
{
	bool counted = vfs_is_of_this_life(v->config.vfs, handle);
	pthread_mutex_t *lock = &v->lock[bucket_of(ino)];
	struct viewed *viewed;

	lock_mutex(LOCK_VIEWED, lock);
	viewed = find_locked(v, ino);
	if (viewed) {
		if (viewed->mapper)
			sizes_note_read(viewed->mapper);
		if (counted && how == VIEWS_OPEN_VIEWED && viewed->opens)
			viewed->opens--;
		else if (counted && how == VIEWS_OPEN_PLAIN && viewed->plain)
			viewed->plain--;
		check_locked(v, viewed);
		put_locked(v, viewed);
	}
	unlock_mutex(LOCK_VIEWED, lock);
}

/* Of an earlier process's nobody knows how it was opened. */
bool views_may_store(struct views *v, uint64_t ino)
{
	pthread_mutex_t *lock;
	const struct viewed *viewed;
	bool may;

	if (!atomic_load(&v->count))
		return false;
	lock = &v->lock[bucket_of(ino)];
	lock_mutex(LOCK_VIEWED, lock);
	viewed = find_locked(v, ino);
	may = viewed && viewed->mapper &&
	      (viewed->mapper->adopted || atomic_load(&viewed->mapper->is_written));
	unlock_mutex(LOCK_VIEWED, lock);
	return may;
}

bool views_hold(struct views *v, uint64_t ino)
{
	pthread_mutex_t *lock = &v->lock[bucket_of(ino)];
	const struct viewed *viewed;
	bool held;

	lock_mutex(LOCK_VIEWED, lock);
	viewed = find_locked(v, ino);
	held = viewed && viewed->mapper;
	unlock_mutex(LOCK_VIEWED, lock);
	return held;
}

/* ---- questions -------------------------------------------------------------------------- */

struct mapper *viewed_use(struct views *v, uint64_t ino, uint64_t number)
{
	pthread_mutex_t *lock = &v->lock[bucket_of(ino)];
	struct mapper *m = NULL;
	struct viewed *viewed;

	lock_mutex(LOCK_VIEWED, lock);
	viewed = find_locked(v, ino);
	if (viewed && viewed->mapper && viewed->mapper->number == number)
		m = viewed->mapper;
	if (m && mapper_attach(m))
		m = NULL;
	if (m)
		viewed->busy++;
	unlock_mutex(LOCK_VIEWED, lock);
	return m;
}

void viewed_unuse(struct views *v, uint64_t ino)
{
	pthread_mutex_t *lock = &v->lock[bucket_of(ino)];
	struct viewed *viewed;

	lock_mutex(LOCK_VIEWED, lock);
	viewed = find_locked(v, ino);
	viewed->busy--;
	check_locked(v, viewed);
	put_locked(v, viewed);
	unlock_mutex(LOCK_VIEWED, lock);
}
