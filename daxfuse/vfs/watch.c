/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Watchers: open files that collect what has changed, until they are read.
 *
 * No change is missed, because
 *   - an operation is noted after it was executed, and before it is answered: a reader of the event
 *     reads the change with it, or finds another event the next time. Until it is answered the
 *     transport believes what was before, as it does of what a fault has changed: so it is made to
 *     forget the attributes first;
 *   - a mapping is noted when it becomes writable, before the first store. Reading the event makes
 *     it read-only again, and only then it is handed out: a store before that is in the memory, one
 *     after it faults, and is noted again. A piece that can't be made read-only (of a program that
 *     does not answer, of a long-term pin) is noted again at once. So an entry of the engine that
 *     is dirty has an event waiting with each watcher, and the engine need not tell of a second
 *     writer;
 *   - an event that finds no room makes another one wider, at worst to "everything". Order is
 *     nothing: an event says where to look, and a reader that looks sees the present.
 *
 * One round of reading (until .more is 0) hands out the events that were there when it began. Later
 * ones wait for the next round, or there would be no end to it.
 *
 * A daemon that is replaced forgets its watchers: reading fails, and everything is to be
 * looked at.
 */
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"

enum { EVENTS_MAX = 4096, MERGE_LAST = 8 };

struct watcher {
	struct watcher *next;
	uint64_t handle;
	uint64_t generation;
	unsigned count;
	unsigned round; /* of them: the first so many are of the round under way */
	bool all;       /* events were lost */
	struct dxf_ioc_event event[EVENTS_MAX];
};

static uint64_t end_of_event(const struct dxf_ioc_event *event)
{
	return event->length > UINT64_MAX - event->offset ? UINT64_MAX
							  : event->offset + event->length;
}

/* a covers b, too; both have bytes, or the range of the one that has. */
static void widen_event(struct dxf_ioc_event *a, const struct dxf_ioc_event *b)
{
	uint64_t end = MAX(end_of_event(a), end_of_event(b));

	a->what |= b->what;
	if (!b->length)
		return;
	if (!a->length) {
		a->offset = b->offset;
		end = end_of_event(b);
	}
	a->offset = MIN(a->offset, b->offset);
	a->length = end == UINT64_MAX ? UINT64_MAX : end - a->offset;
}

static bool events_touch(const struct dxf_ioc_event *a, const struct dxf_ioc_event *b)
{
	return a->ino == b->ino && (!a->length || !b->length ||
				    (a->offset <= end_of_event(b) && b->offset <= end_of_event(a)));
}

static int by_ino(const void *a, const void *b)
{
	const struct dxf_ioc_event *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* One event for each inode; if that is not enough, one for all. */
static void make_room_locked(struct watcher *w)
{
	unsigned count = 0;

	lock_assert(LOCK_WATCH);
	qsort(w->event, w->count, sizeof(w->event[0]), by_ino);
	for (unsigned i = 0; i < w->count; i++) {
		if (count && w->event[count - 1].ino == w->event[i].ino)
			widen_event(&w->event[count - 1], &w->event[i]);
		else
			w->event[count++] = w->event[i];
	}
	w->count = count;
	w->round = w->round ? count : 0; /* new and old ones are mixed now */
	if (count > EVENTS_MAX / 2) {
		w->count = w->round = 0;
		w->all = true;
	}
}

static void add_event(struct watcher *w, const struct dxf_ioc_event *event)
{
	if (w->all)
		return;
	for (unsigned i = w->count; i > 0 && i + MERGE_LAST > w->count; i--) {
		if (events_touch(&w->event[i - 1], event)) {
			widen_event(&w->event[i - 1], event);
			return;
		}
	}
	if (w->count == EVENTS_MAX)
		make_room_locked(w);
	if (!w->all)
		w->event[w->count++] = *event;
}

bool vfs_is_watched(const struct vfs *v)
{
	return atomic_load(&v->watchers);
}

void vfs_note(struct vfs *v, uint64_t ino, unsigned what, uint64_t offset, uint64_t length)
{
	const struct dxf_ioc_event event = {
		.ino = ino,
		.what = what,
		.offset = offset,
		.length = length,
	};

	if (!vfs_is_watched(v))
		return;
	lock_mutex(LOCK_WATCH, &v->watch_lock);
	for (struct watcher *w = v->watcher_list; w; w = w->next)
		add_event(w, &event);
	unlock_mutex(LOCK_WATCH, &v->watch_lock);
}

void watch_first_write(void *arg, void *file, uint64_t offset, uint64_t length)
{
	vfs_note(arg, ((struct vfs_file *)file)->ino, DXF_WATCH_DATA, offset, length);
}

/* A range that can't be made read-only may be stored to at any time. A file that grows past us
 * does not any more, until somebody has asked for it. */
static void protect_range(struct vfs_file *file, uint64_t offset, uint64_t length)
{
	fs_tail_end(file->vfs->config.fs, file->ino);
	map_protect(file->map, offset, length);
	if (map_is_dirty(file->map, offset, length))
		vfs_note(file->vfs, file->ino, DXF_WATCH_DATA, offset, length);
}

static void protect_file(struct vfs_file *file, void *arg)
{
	protect_range(file, 0, MAP_TO_END);
	vfs_forget_cached(file->vfs, file->ino, false);
}

static struct watcher *find_watcher_locked(struct vfs *v, uint64_t handle)
{
	struct watcher *w = v->watcher_list;

	lock_assert(LOCK_WATCH);
	while (w && w->handle != handle)
		w = w->next;
	return w;
}

errint_t vfs_watch(struct vfs *v, const struct vfs_open_file *file)
{
	struct watcher *w;

	if (!file->handle)
		return -EBADF; /* a directory: nobody would tell us when it is closed */
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->handle = file->handle;
	lock_mutex(LOCK_WATCH, &v->watch_lock);
	if (find_watcher_locked(v, file->handle)) {
		unlock_mutex(LOCK_WATCH, &v->watch_lock);
		free(w);
		return -EBUSY;
	}
	w->next = v->watcher_list;
	v->watcher_list = w;
	atomic_fetch_add(&v->watchers, 1);
	unlock_mutex(LOCK_WATCH, &v->watch_lock);
	vfs_files_for_each(v, protect_file, NULL);
	return 0;
}

void watch_release(struct vfs *v, uint64_t handle)
{
	struct watcher **at, *w;

	if (!vfs_is_watched(v))
		return;
	lock_mutex(LOCK_WATCH, &v->watch_lock);
	at = &v->watcher_list;
	while (*at && (*at)->handle != handle)
		at = &(*at)->next;
	w = *at;
	if (w) {
		*at = w->next;
		atomic_fetch_sub(&v->watchers, 1);
	}
	unlock_mutex(LOCK_WATCH, &v->watch_lock);
	free(w);
}

void watch_end(struct vfs *v)
{
	while (v->watcher_list)
		watch_release(v, v->watcher_list->handle);
}

/* ---- reading ------------------------------------------------------------------------ */

/* The next events of the round; a new one begins if it is over. */
static void take_some_locked(struct watcher *w, struct dxf_ioc_watch *watch)
{
	unsigned count;

	lock_assert(LOCK_WATCH);
	if (w->all) {
		w->all = false;
		watch->count = 1;
		watch->event[0] = (struct dxf_ioc_event){
			.what = DXF_WATCH_ALL,
			.length = UINT64_MAX,
		};
		return;
	}
	if (!w->round)
		w->round = w->count;
	count = MIN(w->round, (unsigned)DXF_WATCH_EVENTS);
	memcpy(watch->event, w->event, count * sizeof(w->event[0]));
	w->count -= count;
	w->round -= count;
	memmove(w->event, w->event + count, w->count * sizeof(w->event[0]));
	watch->count = count;
	watch->more = w->round > 0;
}

static errint_t take_events(struct vfs *v, uint64_t handle, struct dxf_ioc_watch *watch)
{
	struct watcher *w;

	lock_mutex(LOCK_WATCH, &v->watch_lock);
	w = find_watcher_locked(v, handle);
	if (w) {
		watch->generation = ++w->generation;
		take_some_locked(w, watch);
	}
	unlock_mutex(LOCK_WATCH, &v->watch_lock);
	return w ? 0 : -ENODEV;
}

static void settle_event(struct vfs *v, struct dxf_ioc_event *event)
{
	struct fs_attr attr;
	struct vfs_file *file;

	if (event->what & DXF_WATCH_ALL) {
		vfs_files_for_each(v, protect_file, NULL);
		return;
	}
	file = vfs_file_find(v, event->ino);
	if (file) {
		if (event->length)
			protect_range(file, event->offset, event->length);
		vfs_file_put(file);
	}
	if (!fs_getattr(v->config.fs, event->ino, &attr))
		event->generation = attr.generation;
}

/* The kernel may wait for an inode that it is just freeing, and for us with it. */
static void forget_attributes(struct vfs *v, const struct dxf_ioc_watch *watch)
{
	bool reinforced = vfs_waiting(v, true);

	for (unsigned i = 0; i < watch->count; i++) {
		if (watch->event[i].ino)
			vfs_forget_cached(v, watch->event[i].ino, false);
	}
	if (reinforced)
		vfs_waiting(v, false);
}

errint_t vfs_watch_read(struct vfs *v, const struct vfs_open_file *file,
			struct dxf_ioc_watch *watch)
{
	int err;

	memset(watch, 0, sizeof(*watch));
	err = take_events(v, file->handle, watch);
	for (unsigned i = 0; !err && i < watch->count; i++)
		settle_event(v, &watch->event[i]);
	if (!err && watch->count)
		forget_attributes(v, watch);
	return err;
}
