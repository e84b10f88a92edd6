/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Views: opening and closing them, pinning for them, asking them to let go.
 *
 * A thread that asks holds the entries of the range (or the file exclusively), so no new pin can
 * come there meanwhile. Asking and the waiting afterwards hold no lock that an answer needs:
 * map_let_go() and map_view_close() take the view's lock only.
 *
 * A view stays in its file's list as long as somebody has a reference to it: its owner, a
 * fault, a walk through the list, which drops the list's lock on every step.
 */
#include <stdlib.h>
#include <time.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"

errint_t map_view_open(struct map_file *file, const struct mapper_ops *ops, void *mapper,
		       struct map_view **ret_view)
{
	struct map_view *view = calloc(1, sizeof(*view));
	pthread_condattr_t monotonic;

	if (!view)
		return -ENOMEM;
	view->file = file;
	view->ops = ops;
	view->mapper = mapper;
	view->grants = file->engine->first_grant;
	atomic_init(&view->refs, 1);
	pthread_mutex_init(&view->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&view->let_go, &monotonic);
	pthread_condattr_destroy(&monotonic);
	atomic_fetch_add(&file->refs, 1);
	lock_mutex(LOCK_VIEWS, &file->views_lock);
	view->next = file->views;
	file->views = view;
	unlock_mutex(LOCK_VIEWS, &file->views_lock);
	*ret_view = view;
	return 0;
}

static void unlink_view(struct map_file *file, struct map_view *view)
{
	struct map_view **at = &file->views;

	while (*at != view)
		at = &(*at)->next;
	*at = view->next;
}

void view_get(struct map_view *view)
{
	atomic_fetch_add(&view->refs, 1);
}

/* False: its last reference is gone, and somebody is about to unlink it. */
static bool view_get_live(struct map_view *view)
{
	unsigned refs = atomic_load(&view->refs);

	while (refs && !atomic_compare_exchange_weak(&view->refs, &refs, refs + 1))
		;
	return refs;
}

void view_put(struct map_view *view)
{
	struct map_file *file = view->file;

	if (atomic_fetch_sub(&view->refs, 1) > 1)
		return;
	lock_mutex(LOCK_VIEWS, &file->views_lock);
	unlink_view(file, view);
	unlock_mutex(LOCK_VIEWS, &file->views_lock);
	if (view->ops->gone)
		view->ops->gone(view->mapper);
	pins_free(&view->pins);
	pthread_cond_destroy(&view->let_go);
	pthread_mutex_destroy(&view->lock);
	free(view);
	map_file_put(file);
}

struct map_view *view_next(struct map_file *file, struct map_view *view)
{
	struct map_view *next;

	lock_mutex(LOCK_VIEWS, &file->views_lock);
	next = view ? view->next : file->views;
	while (next && !view_get_live(next))
		next = next->next;
	unlock_mutex(LOCK_VIEWS, &file->views_lock);
	if (view)
		view_put(view);
	return next;
}

void view_lock(struct map_view *view)
{
	lock_enter(LOCK_VIEW, 0);
	pthread_mutex_lock(&view->lock);
}

void view_unlock(struct map_view *view)
{
	pthread_mutex_unlock(&view->lock);
	lock_leave(LOCK_VIEW);
}

/* ---- pins ----------------------------------------------------------------- */

errint_t view_pin(struct map_view *view, uint64_t start, unsigned order, bool writable,
		  uint64_t *ret_grant)
{
	int err = -ENOTCONN;

	view_lock(view);
	if (!view->closed)
		err = pins_add(&view->pins, start, order, writable, view->grants + 1);
	if (!err)
		*ret_grant = ++view->grants;
	view_unlock(view);
	return err;
}

static void let_go(struct map_view *view, uint64_t from, uint64_t last, uint64_t grant, bool closed)
{
	struct stale_pin *stale;

	view_lock(view);
	pins_drop(&view->pins, from, last, grant);
	stale = stale_take(view, from, last, grant);
	view->silent = false;
	view->closed |= closed;
	pthread_cond_broadcast(&view->let_go);
	view_unlock(view);
	stale_free(stale);
}

void map_let_go(struct map_view *view, uint64_t offset, uint64_t length, uint64_t grant)
{
	if (length)
		let_go(view, first_page(offset), last_page(offset, length), grant, false);
}

void map_view_close(struct map_view *view)
{
	let_go(view, 0, UINT64_MAX, UINT64_MAX, true);
	view_put(view);
}

uint64_t map_view_last_grant(struct map_view *view)
{
	uint64_t grant;

	view_lock(view);
	grant = view->grants;
	view_unlock(view);
	return grant;
}

bool map_view_pins(struct map_view *view, uint64_t offset, uint64_t length)
{
	uint64_t from = first_page(offset), last = last_page(offset, length);
	bool pinned;

	view_lock(view);
	pinned = pins_any(&view->pins, from, last, UINT64_MAX);
	for (struct stale_pin *s = view->stale; s && !pinned; s = s->next)
		pinned = s->from <= last && s->last >= from;
	view_unlock(view);
	return pinned;
}

/* ---- asking --------------------------------------------------------------- */

static struct timespec deadline_of(const struct map_engine *engine)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += engine->answer_ms / 1000;
	at.tv_nsec += engine->answer_ms % 1000 * 1000000L;
	if (at.tv_nsec >= 1000000000L) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000L;
	}
	return at;
}

/* A view that will answer; referenced. */
struct promise {
	struct promise *next;
	struct map_view *view;
};

void view_keeps(struct map_view *view)
{
	if (view->ops->flushes)
		atomic_fetch_or(&view->file->unflushed, ENTRY_DIRTY);
}

/* Ask a view that may have pinned something of the range. Whether it will answer. */
static bool ask(struct map_view *view, uint64_t from, uint64_t last)
{
	uint64_t grant;
	bool pinned;
	int err;

	view_lock(view);
	grant = view->grants;
	pinned = pins_any(&view->pins, from, last, UINT64_MAX);
	view_unlock(view);
	if (!pinned || !view->ops->unmap)
		return false;
	count(view->file, MAP_COUNT_ASKED);
	err = view->ops->unmap(view->mapper, from * MAP_PAGE_SIZE, range_length(from, last), grant);
	if (err == -EINPROGRESS)
		return true;
	if (err) {
		count(view->file, MAP_COUNT_UNANSWERED);
		view_keeps(view);
		return false;
	}
	view_lock(view);
	pins_drop(&view->pins, from, last, grant);
	view_unlock(view);
	return false;
}

void view_ask_late(struct map_view *view, uint64_t from, uint64_t last)
{
	uint64_t grant;

	if (!view->ops->unmap)
		return;
	view_lock(view);
	grant = view->grants;
	view_unlock(view);
	count(view->file, MAP_COUNT_ASKED);
	if (view->ops->unmap(view->mapper, from * MAP_PAGE_SIZE, range_length(from, last), grant))
		view_keeps(view);
}

static bool is_let_go(struct map_view *view, uint64_t from, uint64_t last)
{
	return view->silent || !pins_any(&view->pins, from, last, UINT64_MAX);
}

static bool tell_waiting(const struct map_view *view, bool begins)
{
	const struct map_engine *engine = view->file->engine;

	return !engine->waiting || engine->waiting(engine->waiting_arg, begins);
}

/* A view that had its time is not waited for again before it has answered. */
static void sleep_until_let_go_locked(struct map_view *view, uint64_t from, uint64_t last,
				      const struct timespec *deadline)
{
	bool late = false;

	count(view->file, MAP_COUNT_WAITED);
	while (!late && !is_let_go(view, from, last))
		late = pthread_cond_timedwait(&view->let_go, &view->lock, deadline) == ETIMEDOUT;
	view->silent |= late && !is_let_go(view, from, last);
}

static void await(struct map_view *view, uint64_t from, uint64_t last,
		  const struct timespec *deadline)
{
	view_lock(view);
	if (!is_let_go(view, from, last)) {
		if (tell_waiting(view, true)) {
			sleep_until_let_go_locked(view, from, last, deadline);
			tell_waiting(view, false);
		}
		if (pins_any(&view->pins, from, last, UINT64_MAX))
			count(view->file, MAP_COUNT_UNANSWERED);
	}
	view_unlock(view);
}

/* All are asked before the first is waited for; without memory one is waited for at once. */
static void remember(struct promise **promises, struct map_view *view, uint64_t from, uint64_t last,
		     const struct timespec *deadline)
{
	struct promise *promise = malloc(sizeof(*promise));

	if (!promise) {
		await(view, from, last, deadline);
		return;
	}
	view_get(view);
	*promise = (struct promise){ *promises, view };
	*promises = promise;
}

enum held views_ask(struct map_file *file, uint64_t from, uint64_t last,
		    const struct map_view *except)
{
	struct timespec deadline = deadline_of(file->engine);
	struct promise *promises = NULL;
	struct map_view *view = NULL;

	while ((view = view_next(file, view)))
		if (view != except && ask(view, from, last))
			remember(&promises, view, from, last, &deadline);
	while (promises) {
		struct promise *promise = promises;

		await(promise->view, from, last, &deadline);
		view_put(promise->view);
		promises = promise->next;
		free(promise);
	}
	return views_held(file, from, last);
}

enum held views_held(struct map_file *file, uint64_t from, uint64_t last)
{
	struct map_view *view = NULL;
	enum held held = HELD_NOT;

	while ((view = view_next(file, view))) {
		enum held how = view->ops->unmap ? HELD_UNANSWERED : HELD_KEPT;

		view_lock(view);
		if (pins_any(&view->pins, from, last, UINT64_MAX))
			held = MAX(held, how);
		view_unlock(view);
	}
	return held;
}

void views_drop(struct map_file *file, uint64_t from, uint64_t last)
{
	struct map_view *view = NULL;

	while ((view = view_next(file, view))) {
		view_lock(view);
		pins_drop(&view->pins, from, last, UINT64_MAX);
		view_unlock(view);
	}
}
