/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Holders, by the handle of the open file that they belong to. One handle has at most
 * two: the view of its program, and one for its long-term pins, which can't be asked.
 *
 * Who works with a holder has a reference. It is closed when it is out of the table and
 * nobody works with it any more: a program that is killed in the middle of a call has its
 * RELEASE sent while the call is still under way.
 */
#include <stdlib.h>

#include "daxfuse/direct/internal.h"

static struct holder **bucket_of(struct direct *d, uint64_t handle)
{
	return &d->holders[handle % HOLDER_BUCKETS];
}

struct holder *holder_of_handle(struct direct *d, uint64_t handle, bool long_term)
{
	struct holder *h;

	pthread_mutex_lock(&d->holders_lock);
	h = *bucket_of(d, handle);
	while (h && (h->handle != handle || !h->session != long_term))
		h = h->next;
	if (h)
		h->refs++;
	pthread_mutex_unlock(&d->holders_lock);
	return h;
}

struct holder *holder_of_session(struct direct *d, const struct session *session, uint64_t cookie)
{
	struct holder *found = NULL;

	pthread_mutex_lock(&d->holders_lock);
	for (unsigned i = 0; i < HOLDER_BUCKETS && !found; i++) {
		for (struct holder *h = d->holders[i]; h && !found; h = h->next) {
			if (h->session == session && h->cookie == cookie)
				found = h;
		}
	}
	if (found)
		found->refs++;
	pthread_mutex_unlock(&d->holders_lock);
	return found;
}

void holder_gone(void *mapper)
{
	struct holder *h = mapper;

	if (h->session)
		session_put(h->d, h->session);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

/* Its pins end; what was stored through it goes to the media with the last holder. */
static void close_holder(struct holder *h)
{
	struct direct *d = h->d;
	struct file *file = h->file;
	bool wrote = h->wrote;

	pins_kept_erase_all(&d->pins, &h->slots);
	map_view_close(h->view); /* h may be gone */
	if (atomic_fetch_sub(&file->holders, 1) == 1)
		map_writeback(file->map, 0, MAP_TO_END);
	if (wrote)
		d->config.forget(d->config.forget_arg, file->ino, true);
	file_put(file);
}

void holder_put(struct holder *h)
{
	struct direct *d = h->d;
	bool last;

	pthread_mutex_lock(&d->holders_lock);
	last = --h->refs == 0;
	pthread_mutex_unlock(&d->holders_lock);
	if (last)
		close_holder(h);
}

static int make(struct direct *d, const struct direct_file *file, struct session *session,
		uint64_t cookie, struct holder **ret_holder)
{
	struct holder *h = calloc(1, sizeof(*h));
	const struct mapper_ops *ops = session ? &d->client_ops : &d->long_term_ops;
	int err;

	if (!h)
		return -ENOMEM;
	err = file_map(d, file->ino, &h->file);
	if (err) {
		free(h);
		return err;
	}
	h->d = d;
	h->handle = file->handle;
	h->cookie = cookie;
	h->refs = 2; /* the table's and the caller's */
	pthread_mutex_init(&h->lock, NULL);
	err = map_view_open(h->file->map, ops, h, &h->view);
	if (err) {
		file_put(h->file);
		pthread_mutex_destroy(&h->lock);
		free(h);
		return err;
	}
	if (session)
		session_get(d, session->id, &h->session);
	atomic_fetch_add(&h->file->holders, 1);
	*ret_holder = h;
	return 0;
}

static bool is_same(const struct holder *a, const struct holder *b)
{
	return a->handle == b->handle && !a->session == !b->session;
}

/* Put it into the table, unless another thread was faster: that one, then. */
static struct holder *insert(struct direct *d, struct holder *new)
{
	struct holder **bucket = bucket_of(d, new->handle), *h;

	pthread_mutex_lock(&d->holders_lock);
	for (h = *bucket; h && !is_same(h, new); h = h->next)
		;
	if (h) {
		h->refs++;
		new->refs = 0;
	} else {
		new->next = *bucket;
		*bucket = new;
		atomic_fetch_add(&d->holder_count, 1);
	}
	pthread_mutex_unlock(&d->holders_lock);
	if (!h)
		return new;
	close_holder(new);
	return h;
}

int holder_get(struct direct *d, const struct direct_file *file, struct session *session,
	       uint64_t cookie, struct holder **ret_holder)
{
	struct holder *h = holder_of_handle(d, file->handle, !session);
	int err;

	if (!h) {
		err = make(d, file, session, cookie, &h);
		if (err)
			return err;
		h = insert(d, h);
	}
	if (h->session != session || h->cookie != cookie || h->file->ino != file->ino) {
		holder_put(h);
		return -EINVAL;
	}
	*ret_holder = h;
	return 0;
}

struct holder *holder_remove(struct direct *d, uint64_t handle)
{
	struct holder **at, *h;

	if (!atomic_load(&d->holder_count))
		return NULL;
	pthread_mutex_lock(&d->holders_lock);
	at = bucket_of(d, handle);
	while (*at && (*at)->handle != handle)
		at = &(*at)->next;
	h = *at;
	if (h) {
		*at = h->next;
		atomic_fetch_sub(&d->holder_count, 1);
	}
	pthread_mutex_unlock(&d->holders_lock);
	return h;
}

/* Referenced in one go, then worked on one by one, without the lock. */
void holders_of_session(struct direct *d, struct session *session, void (*fn)(struct holder *holder))
{
	struct holder **all = NULL;
	size_t count = 0, room;

	pthread_mutex_lock(&d->holders_lock);
	room = atomic_load(&d->holder_count);
	all = calloc(room + 1, sizeof(struct holder *));
	for (unsigned i = 0; all && i < HOLDER_BUCKETS; i++) {
		for (struct holder *h = d->holders[i]; h; h = h->next) {
			if (h->session == session && count < room) {
				h->refs++;
				all[count++] = h;
			}
		}
	}
	pthread_mutex_unlock(&d->holders_lock);
	for (size_t i = 0; i < count; i++) {
		fn(all[i]);
		holder_put(all[i]);
	}
	free(all);
}

/* The record may go first: the program has said that it maps nothing of it any more. */
void holder_let_go(struct holder *h, uint64_t offset, uint64_t length, uint64_t grant)
{
	pthread_mutex_lock(&h->lock);
	if (h->d->pins.table)
		pins_kept_erase(&h->d->pins, &h->slots, offset, length, grant);
	pthread_mutex_unlock(&h->lock);
	map_let_go(h->view, offset, length, grant);
}
