/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Holders, by the handle of the open file that they belong to. One handle has at most one
 * view of its program, and one for each of its long-term pins, which can't be asked.
 *
 * A thread that works with a holder has a reference. It is closed by the thread that puts the last
 * one, when it is out of the table: a RELEASE, or a call that was still under way.
 *
 * Closing waits for locks of the engine, whose owners may wait for an answer. So the thread
 * that takes answers must never be the one that closes: it has no references, it marks a holder
 * as busy, which keeps it from being closed for the moment, as that thread waits for nothing.
 */
#include <stdlib.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"

#include "internal.h"

static struct holder **bucket_of(struct clients *c, uint64_t handle)
{
	return &c->holders[handle % HOLDER_BUCKETS];
}

struct holder *holder_of_handle(struct clients *c, uint64_t handle)
{
	struct holder *h;

	lock_mutex(LOCK_HOLDERS, &c->holders_lock);
	h = *bucket_of(c, handle);
	while (h && (h->handle != handle || !h->session))
		h = h->next;
	if (h)
		h->refs++;
	unlock_mutex(LOCK_HOLDERS, &c->holders_lock);
	return h;
}

/* ---- the socket's thread ------------------------------------------------------ */

struct holder *holder_of_session(struct clients *c, struct session *session, uint64_t cookie)
{
	struct holder *h;

	lock_mutex(LOCK_HOLDERS, &c->holders_lock);
	LIST_FOREACH(h, &session->holders, of_session) {
		if (h->cookie == cookie)
			break;
	}
	if (h)
		h->busy++;
	unlock_mutex(LOCK_HOLDERS, &c->holders_lock);
	return h;
}

void holder_leave(struct holder *h)
{
	struct clients *c = h->clients;

	lock_mutex(LOCK_HOLDERS, &c->holders_lock);
	if (!--h->busy)
		pthread_cond_broadcast(&c->holders_idle);
	unlock_mutex(LOCK_HOLDERS, &c->holders_lock);
}

struct holder *holder_owing(struct clients *c, struct session *session)
{
	struct holder *h;

	lock_mutex(LOCK_HOLDERS, &c->holders_lock);
	LIST_FOREACH(h, &session->holders, of_session) {
		if (atomic_load(&h->owed))
			break;
	}
	if (h)
		h->busy++;
	unlock_mutex(LOCK_HOLDERS, &c->holders_lock);
	return h;
}

/* ---- the end of a holder --------------------------------------------------------- */

void holder_gone(void *mapper)
{
	struct holder *h = mapper;

	if (h->session)
		session_put(h->clients, h->session);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

/* Its pins end; stores through it go to the media with the last holder. */
static void close_holder(struct holder *h)
{
	struct clients *c = h->clients;
	struct vfs_file *file = h->file;
	bool wrote = h->wrote;

	lock_mutex(LOCK_HOLDERS, &c->holders_lock);
	while (h->busy)
		pthread_cond_wait(&c->holders_idle, &c->holders_lock);
	unlock_mutex(LOCK_HOLDERS, &c->holders_lock);
	pins_kept_erase_all(&c->pins, &h->slots);
	map_view_close(h->view); /* h may be gone */
	if (atomic_fetch_sub(&file->mappers, 1) == 1)
		map_writeback(file->map, 0, MAP_TO_END);
	if (wrote)
		vfs_forget_cached(c->config.vfs, file->ino, true);
	vfs_file_put(file);
}

void holder_put(struct holder *h)
{
	struct clients *c = h->clients;
	bool last;

	lock_mutex(LOCK_HOLDERS, &c->holders_lock);
	last = --h->refs == 0;
	unlock_mutex(LOCK_HOLDERS, &c->holders_lock);
	if (last)
		close_holder(h);
}

/* Unlocks. */
static struct holder *take_out_locked(struct clients *c, struct holder **at)
{
	struct holder *h = *at;

	lock_assert(LOCK_HOLDERS);
	if (h) {
		*at = h->next;
		if (h->session)
			LIST_REMOVE(h, of_session);
		atomic_fetch_sub(&c->holder_count, 1);
	}
	unlock_mutex(LOCK_HOLDERS, &c->holders_lock);
	return h;
}

struct holder *holder_remove(struct clients *c, uint64_t handle)
{
	struct holder **at;

	if (!atomic_load(&c->holder_count))
		return NULL;
	lock_mutex(LOCK_HOLDERS, &c->holders_lock);
	at = bucket_of(c, handle);
	while (*at && (*at)->handle != handle)
		at = &(*at)->next;
	return take_out_locked(c, at);
}

/* ---- its beginning ------------------------------------------------------------------ */

/* A holder with what makes it one, in no table; the engine's view of it is open. */
static errint_t make_holder(struct clients *c, const struct vfs_open_file *file,
			    const struct holder *like, struct holder **ret_holder)
{
	const struct mapper_ops *ops = like->session ? &c->client_ops : &c->long_term_ops;
	struct holder *h = malloc(sizeof(*h));
	int err;

	if (!h)
		return -ENOMEM;
	*h = *like;
	err = vfs_file_get(c->config.vfs, file->ino, &h->file);
	if (err) {
		free(h);
		return err;
	}
	h->clients = c;
	h->handle = file->handle;
	h->refs = 2; /* the table's and the caller's */
	pthread_mutex_init(&h->lock, NULL);
	err = map_view_open(h->file->map, ops, h, &h->view);
	if (err) {
		vfs_file_put(h->file);
		pthread_mutex_destroy(&h->lock);
		free(h);
		return err;
	}
	if (h->session)
		session_get(c, like->session->id, &h->session);
	atomic_fetch_add(&h->file->mappers, 1);
	*ret_holder = h;
	return 0;
}

static bool is_same_holder(const struct holder *a, const struct holder *b)
{
	return a->handle == b->handle && !a->session == !b->session && a->serial == b->serial;
}

static struct holder *find_same_locked(struct clients *c, const struct holder *like)
{
	struct holder *h = *bucket_of(c, like->handle);

	lock_assert(LOCK_HOLDERS);
	while (h && !is_same_holder(h, like))
		h = h->next;
	if (h)
		h->refs++;
	return h;
}

/* Put it into the table, unless another thread was faster: that one, then. */
static struct holder *insert_holder(struct clients *c, struct holder *new)
{
	struct holder **bucket = bucket_of(c, new->handle), *h;

	lock_mutex(LOCK_HOLDERS, &c->holders_lock);
	h = find_same_locked(c, new);
	if (h) {
		new->refs = 0;
	} else {
		new->next = *bucket;
		*bucket = new;
		if (new->session)
			LIST_INSERT_HEAD(&new->session->holders, new, of_session);
		atomic_fetch_add(&c->holder_count, 1);
	}
	unlock_mutex(LOCK_HOLDERS, &c->holders_lock);
	if (!h)
		return new;
	close_holder(new);
	return h;
}

/* The one that is there, or a new one. */
static errint_t get_holder(struct clients *c, const struct vfs_open_file *file, struct holder *like,
			   struct holder **ret_holder)
{
	struct holder *h;
	int err;

	like->handle = file->handle;
	lock_mutex(LOCK_HOLDERS, &c->holders_lock);
	h = find_same_locked(c, like);
	unlock_mutex(LOCK_HOLDERS, &c->holders_lock);
	if (!h) {
		err = make_holder(c, file, like, &h);
		if (err)
			return err;
		h = insert_holder(c, h);
	}
	*ret_holder = h;
	return 0;
}

errint_t holder_get(struct clients *c, const struct vfs_open_file *file, struct session *session,
		    uint64_t cookie, struct holder **ret_holder)
{
	struct holder like = { .session = session, .cookie = cookie }, *h;
	int err = get_holder(c, file, &like, &h);

	if (err)
		return err;
	if (h->session != session || h->cookie != cookie || h->file->ino != file->ino) {
		holder_put(h);
		return -EINVAL;
	}
	*ret_holder = h;
	return 0;
}

/* ---- long-term pins -------------------------------------------------------------------- */

errint_t holder_get_pin(struct clients *c, const struct vfs_open_file *file,
			const struct dxf_ioc_pin *pin, uint32_t serial, struct holder **ret_holder)
{
	struct holder like = { .pin = *pin, .serial = serial };

	return get_holder(c, file, &like, ret_holder);
}

struct holder *holder_remove_pin(struct clients *c, uint64_t handle, uint32_t serial)
{
	struct holder **at;

	lock_mutex(LOCK_HOLDERS, &c->holders_lock);
	at = bucket_of(c, handle);
	while (*at && ((*at)->handle != handle || (*at)->session || (*at)->serial != serial))
		at = &(*at)->next;
	return take_out_locked(c, at);
}

static bool pin_covers(const struct holder *h, const struct dxf_ioc_pin *pin)
{
	return pin->offset >= h->pin.offset && pin->offset - h->pin.offset <= h->pin.length &&
	       pin->length <= h->pin.length - (pin->offset - h->pin.offset);
}

struct holder *holder_of_pin(struct clients *c, uint64_t handle, uint32_t serial)
{
	const struct holder like = { .handle = handle, .serial = serial };
	struct holder *h;

	lock_mutex(LOCK_HOLDERS, &c->holders_lock);
	h = find_same_locked(c, &like);
	unlock_mutex(LOCK_HOLDERS, &c->holders_lock);
	return h;
}

bool holder_choose_pin(struct clients *c, uint64_t handle, const struct dxf_ioc_pin *pin,
		       uint32_t *ret_serial)
{
	struct holder *found = NULL;

	lock_mutex(LOCK_HOLDERS, &c->holders_lock);
	for (struct holder *h = *bucket_of(c, handle); h; h = h->next) {
		if (h->handle != handle || h->session || h->ending || !pin_covers(h, pin))
			continue;
		/* the same range is what is meant; else a part of a larger one */
		if (!found || h->pin.length == pin->length)
			found = h;
	}
	if (found) {
		found->ending = found->pin.length == pin->length;
		*ret_serial = found->serial;
	}
	unlock_mutex(LOCK_HOLDERS, &c->holders_lock);
	return found;
}

/* ---- letting go -------------------------------------------------------------------------- */

/* The record may go first: the program has said that it maps nothing of it any more. It speaks
 * of whole pages only. */
void holder_let_go(struct holder *h, uint64_t offset, uint64_t length, uint64_t grant)
{
	uint64_t end = length > UINT64_MAX - offset ? UINT64_MAX : offset + length;

	if (offset > UINT64_MAX - MAP_PAGE_SIZE)
		return;
	offset = round_up(offset, MAP_PAGE_SIZE);
	if (end != UINT64_MAX)
		end = round_down(end, MAP_PAGE_SIZE);
	if (end <= offset)
		return;
	length = end == UINT64_MAX ? MAP_TO_END : end - offset;
	lock_mutex(LOCK_HOLDER, &h->lock);
	if (h->clients->pins.table)
		pins_kept_erase(&h->clients->pins, &h->slots, offset, length, grant);
	unlock_mutex(LOCK_HOLDER, &h->lock);
	map_let_go(h->view, offset, length, grant);
}
