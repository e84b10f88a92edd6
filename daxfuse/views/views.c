/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which inodes have a view, and for how long.
 *
 * The kernel wants all open files of an inode to be mapped through the same backing, or all through
 * its page cache. So the first open decides: one that goes past the cache, as a mapping may follow,
 * gets a view, and so does every open of that inode as long as there is the view. An open that
 * does not, keeps others from it until it is closed.
 *
 * A view that was never asked about costs nothing but its inode in the kernel: the engine hears of
 * it with the first question, and only then does core keep the file's layout.
 *
 * A mapping outlives the open file that it was made with, and the kernel sends RELEASE for that
 * all the same. So a view ends when no file is open with it, the module knows of no other user but
 * the transport's registration, and no device uses its memory. The module tells of the last
 * but one that closes it (answer.c); a device is waited for by looking again. An inode without a
 * name is not freed before its view has ended.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
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

/* NULL: it can't be had; the page cache it is. */
static struct mapper *make_mapper(struct views *v, uint64_t ino,
				  int (*register_backing)(void *arg, int fd), void *arg)
{
	struct mapper *m = calloc(1, sizeof(*m));
	int fd;

	if (!m || session_create(v->session, ino, &m->number, &fd)) {
		free(m);
		atomic_fetch_add(&v->refused, 1);
		return NULL;
	}
	m->views = v;
	m->ino = ino;
	m->backing = register_backing(arg, fd);
	close(fd);
	if (m->backing <= 0) {
		free(m);
		atomic_fetch_add(&v->refused, 1);
		return NULL;
	}
	atomic_fetch_add(&v->made, 1);
	atomic_fetch_add(&v->count, 1);
	return m;
}

/* Nobody has it open or mapped, nor will: the engine's side ends, then the kernel's. */
static void end_mapper(struct views *v, struct mapper *m)
{
	struct vfs_file *file = m->file;
	uint64_t ino = m->ino;
	int backing = m->backing;

	session_revoke(v->session, m->number);
	if (m->view)
		map_view_close(m->view); /* m is freed when nobody uses it any more */
	else
		free(m);
	if (file)
		vfs_file_put(file);
	v->config.ended(v->config.transport, ino, backing);
	atomic_fetch_sub(&v->count, 1);
}

static void check_locked(struct views *v, struct viewed *viewed)
{
	struct mapper *m = viewed->mapper;
	uint64_t files;

	if (!m || viewed->opens || viewed->busy)
		return;
	if (session_files(v->session, m->number, &files) == 0 && files > 1)
		return; /* the module will tell */
	if (m->view && mapper_is_busy(m)) {
		atomic_store(&v->look_again, true);
		return;
	}
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

/* ---- open files ------------------------------------------------------------------------- */

static bool may_have_view(const struct views *v, const struct viewed *viewed,
			  const struct vfs_opened *opened)
{
	return !viewed->plain && opened->direct && !opened->only_appends &&
	       S_ISREG(opened->attr.mode) &&
	       (opened->attr.dax || vfs_dax(v->config.vfs) == FS_DAX_AUTO);
}

int views_enter(struct views *v, const struct vfs_opened *opened,
		int (*register_backing)(void *arg, int fd), void *arg)
{
	pthread_mutex_t *lock = &v->lock[bucket_of(opened->attr.ino)];
	struct viewed *viewed;
	int backing = 0;

	lock_mutex(LOCK_VIEWED, lock);
	viewed = get_locked(v, opened->attr.ino);
	if (viewed && !viewed->mapper && may_have_view(v, viewed, opened))
		viewed->mapper = make_mapper(v, opened->attr.ino, register_backing, arg);
	if (viewed && viewed->mapper) {
		viewed->opens++;
		backing = viewed->mapper->backing;
	} else if (viewed) {
		viewed->plain++;
	}
	unlock_mutex(LOCK_VIEWED, lock);
	return viewed ? backing : -ENOMEM;
}

void views_leave(struct views *v, uint64_t ino)
{
	pthread_mutex_t *lock = &v->lock[bucket_of(ino)];
	struct viewed *viewed;

	lock_mutex(LOCK_VIEWED, lock);
	viewed = find_locked(v, ino);
	if (viewed) {
		/* while there is a view, all open files have it */
		if (viewed->mapper && viewed->opens)
			viewed->opens--;
		else if (viewed->plain)
			viewed->plain--;
		check_locked(v, viewed);
		put_locked(v, viewed);
	}
	unlock_mutex(LOCK_VIEWED, lock);
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

static errint_t attach(struct views *v, struct mapper *m)
{
	int err = vfs_file_get(v->config.vfs, m->ino, &m->file);

	if (err)
		return err;
	err = map_view_open(m->file->map, &view_ops, m, &m->view);
	if (err) {
		vfs_file_put(m->file);
		m->file = NULL;
	}
	return err;
}

struct mapper *viewed_use(struct views *v, uint64_t ino, uint64_t number)
{
	pthread_mutex_t *lock = &v->lock[bucket_of(ino)];
	struct mapper *m = NULL;
	struct viewed *viewed;

	lock_mutex(LOCK_VIEWED, lock);
	viewed = find_locked(v, ino);
	if (viewed && viewed->mapper && viewed->mapper->number == number)
		m = viewed->mapper;
	if (m && !m->view && attach(v, m))
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

/* ---- life --------------------------------------------------------------------------------- */

errint_t views_open(const struct device *dev, int *ret_session, char *ret_reason, size_t size)
{
	if (device_info(dev)->kind == DEVICE_DAX)
		return session_begin(dev, ret_session, ret_reason, size);
	snprintf(ret_reason, size, "the pool is an image, no device-dax");
	return -ENODEV;
}

errint_t views_start(const struct views_config *config, int session, struct views **ret_views)
{
	struct views *v = calloc(1, sizeof(*v));
	int err;

	if (!v) {
		close(session);
		return -ENOMEM;
	}
	v->config = *config;
	v->session = session;
	for (unsigned i = 0; i < VIEWED_BUCKETS; i++)
		pthread_mutex_init(&v->lock[i], NULL);
	pthread_mutex_init(&v->busy_lock, NULL);
	LIST_INIT(&v->busy);
	v->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = v->stop < 0 ? -errno : answer_start(v);
	if (err)
		views_stop(v);
	else
		*ret_views = v;
	return err;
}

/* The kernel has closed all files, but perhaps not all mappings of a mount that is gone. */
static void end_all(struct views *v)
{
	for (unsigned i = 0; i < VIEWED_BUCKETS; i++) {
		while (v->bucket[i]) {
			struct viewed *viewed = v->bucket[i];

			v->bucket[i] = viewed->next;
			if (viewed->mapper)
				end_mapper(v, viewed->mapper);
			free(viewed);
		}
	}
}

void views_stop(struct views *v)
{
	if (!v)
		return;
	answer_stop(v);
	end_all(v);
	mapper_drop_busy(v);
	close(v->session);
	if (v->stop >= 0)
		close(v->stop);
	for (unsigned i = 0; i < VIEWED_BUCKETS; i++)
		pthread_mutex_destroy(&v->lock[i]);
	pthread_mutex_destroy(&v->busy_lock);
	free(v);
}

static void add_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

struct json_object *views_report(struct views *v)
{
	struct json_object *o = json_object_new_object();

	add_number(o, "now", atomic_load(&v->count));
	add_number(o, "made", atomic_load(&v->made));
	add_number(o, "refused", atomic_load(&v->refused));
	add_number(o, "questions", atomic_load(&v->asked));
	return o;
}
