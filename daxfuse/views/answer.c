/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The threads that answer the module: a question is a fault of the engine, whose pieces are set in
 * the view by mapper.c. That answers it; only an error is said, or that it is to look again. A
 * write that makes its file longer gets a tail, memory behind the end, and then goes on without us.
 *
 * More is answered than was asked, as a question costs more than hundreds of units that the file
 * has: for what it is in the middle of, and a file that is asked about in order far ahead. Of
 * stores that is true of memory that the file has in whole units: of what has to be made less is
 * made, and only in order. While somebody watches nothing is granted ahead for stores, as he would
 * hear of stores that were not made.
 *
 * They may wait for locks of the engine and of core, whose owners wait for programs for a second at
 * most; and never for a program with a view.
 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"

enum { LOOK_AGAIN_MS = 100, PIECES = 64 };

static bool touches_last_page(const struct fs_attr *attr, uint64_t end)
{
	return attr->size % MAP_PAGE_SIZE && end > round_down(attr->size, MAP_PAGE_SIZE);
}

static bool is_in_order(const struct view_order *order, uint64_t offset)
{
	return offset > atomic_load(&order->last) && offset <= atomic_load(&order->end);
}

/* How many questions have come in order, this one among them. */
static unsigned count_streak(struct view_order *order, uint64_t offset)
{
	unsigned streak = is_in_order(order, offset) ? atomic_load(&order->streak) + 1 : 0;

	atomic_store(&order->last, offset);
	atomic_store(&order->streak, streak);
	return streak;
}

/* How far the file lies in whole units of memory; or, for loads, not at all. */
static uint64_t end_of_units(struct mapper *m, uint64_t at, uint64_t end, bool loads)
{
	while (at < end && at % MAP_UNIT_SIZE == 0) {
		struct fs_iomap map;

		if (fs_iomap(vfs_fs(m->views->config.vfs), m->ino, at, end - at, &map) ||
		    (map.kind == FS_IOMAP_MAPPED ? map.device_offset % MAP_UNIT_SIZE : !loads) ||
		    map.length < MIN(end - at, MAP_UNIT_SIZE))
			break;
		at += at + map.length < end ? round_down(map.length, MAP_UNIT_SIZE) : end - at;
	}
	return at;
}

/* Back from there, in whole units likewise. */
static uint64_t start_of_units(struct mapper *m, uint64_t at, uint64_t start, bool loads)
{
	while (at > start && end_of_units(m, at - MAP_UNIT_SIZE, at, loads) == at &&
	       (!loads || !map_view_pins(m->view, at - MAP_UNIT_SIZE, MAP_UNIT_SIZE)))
		at -= MAP_UNIT_SIZE;
	return at;
}

/* A load must not take from a unit what a store was granted. */
static uint64_t end_of_unknown(struct mapper *m, uint64_t at, uint64_t end)
{
	while (at < end && !map_view_pins(m->view, at, MIN(end - at, MAP_UNIT_SIZE)))
		at += MIN(end - at, MAP_UNIT_SIZE);
	return at;
}

/* What a question is answered for. */
struct span {
	uint64_t start, asked, asked_end, end;
};

/* A unit that lies in blocks is granted page by page, and perhaps made whole before: of such there
 * are not as many. */
static void answer_loads(struct mapper *m, unsigned streak, uint64_t file, struct span *span)
{
	uint64_t window = WINDOW_UNITS * MAP_UNIT_SIZE;
	uint64_t from = round_down(span->asked, window), at = span->asked_end;
	uint64_t far = streak ? at + FAR_UNITS * MAP_UNIT_SIZE : from + window;
	uint64_t near = streak || !span->asked ? at + AHEAD_UNITS * MAP_UNIT_SIZE : at;
	uint64_t units;

	far = MIN(MAX(far, at), file);
	near = MIN(near, file);
	units = end_of_units(m, at, far, true);
	span->end = end_of_unknown(m, at, MAX(units, near));
	if (span->asked % MAP_UNIT_SIZE == 0)
		span->start = start_of_units(m, span->asked, from, true);
}

/* What has to be made only in order, 1, 3, 7, 15 and 16 units of it; and what is asked about in a
 * unit that is none yet is that much. */
static void answer_stores(struct mapper *m, unsigned streak, uint64_t file, struct span *span)
{
	uint64_t window = WINDOW_UNITS * MAP_UNIT_SIZE, from = round_down(span->asked, window);
	uint64_t unit = round_down(span->asked, MAP_UNIT_SIZE);
	uint64_t at = MIN(round_up(span->asked_end, MAP_UNIT_SIZE), file);
	uint64_t far = MIN(streak ? at + FAR_UNITS * MAP_UNIT_SIZE : MAX(from + window, at), file);
	uint64_t near = streak < 5 ? (UINT64_C(1) << streak) - 1 : AHEAD_UNITS;

	if (vfs_is_watched(m->views->config.vfs))
		return;
	if (streak)
		span->end = MIN(span->asked_end + near * MAP_UNIT_SIZE, file);
	if (end_of_units(m, unit, at, false) < at)
		return;
	span->end = MAX(span->end, end_of_units(m, at, far, false));
	span->start = start_of_units(m, unit, from, false);
}

/* Not behind the file. */
static struct span span_of_answer(struct mapper *m, const struct daxview_question *question,
				  uint64_t size)
{
	bool loads = question->kind == DAXVIEW_ASK_READ;
	struct view_order *order = loads ? &m->loads : &m->stores;
	unsigned streak = count_streak(order, question->offset);
	uint64_t file = round_up(size, MAP_PAGE_SIZE);
	struct span span = { .start = question->offset, .asked = question->offset };

	span.asked_end = span.end = MIN(question->offset + question->length, file);
	if (loads)
		answer_loads(m, streak, file, &span);
	else
		answer_stores(m, streak, file, &span);
	atomic_store(&order->end, span.end);
	return span;
}

static int fault_range(struct mapper *m, struct map_request *request, uint64_t end)
{
	struct map_piece pieces[PIECES];
	unsigned count;

	return map_fault_run(m->view, request, end - request->offset, pieces, PIECES, &count);
}

/* A page that has failed is left out: the asker may want another one of what it asks about; if not,
 * it asks again, about that page alone. What comes before need not be had. */
static int fault_span(struct mapper *m, enum map_access access, const struct span *span)
{
	struct map_request request = {
		.offset = span->start,
		.access = access,
		.order = ORDER_PMD,
		.end = UINT64_MAX,
		.gather = true,
	};
	struct pending pending;
	int err, failed;

	pending_begin(m, &pending);
	if (span->start < span->asked)
		fault_range(m, &request, span->asked);
	request.offset = span->asked;
	do {
		err = fault_range(m, &request, span->end);
		request.offset += MAP_PAGE_SIZE;
	} while (err == -EIO && request.offset < span->asked_end);
	failed = pending_end(m);
	return err ? err : failed;
}

/* Order: bytes behind the end of the file in its last page are zeroed before it is mapped. */
static int fault_locked(struct mapper *m, const struct daxview_question *question)
{
	struct fs *fs = vfs_fs(m->views->config.vfs);
	bool loads = question->kind == DAXVIEW_ASK_READ;
	struct fs_attr attr;
	struct span span;
	int err;

	lock_assert(LOCK_GROW);
	err = vfs_still_locked(m->file, &attr);
	if (err)
		return err;
	if (question->offset >= attr.size) {
		sizes_correct(m);
		return -ENXIO;
	}
	if (!loads && (attr.flags & (DXF_FLAG_APPEND | DXF_FLAG_IMMUTABLE)))
		return attr.flags & DXF_FLAG_IMMUTABLE ? -EPERM : -EACCES;
	span = span_of_answer(m, question, attr.size);
	if (touches_last_page(&attr, span.end))
		err = fs_map_zero(fs, m->ino, attr.size, MAP_PAGE_SIZE - attr.size % MAP_PAGE_SIZE);
	return err ? err : fault_span(m, loads ? MAP_READ : MAP_WRITE, &span);
}

/* The file's size is held still: what is behind its end must not be mapped. */
static int fault(struct mapper *m, const struct daxview_question *question)
{
	struct vfs_retry retry = { false };
	int err;

	do {
		lock_mutex(LOCK_GROW, &m->file->grow);
		err = fault_locked(m, question);
		unlock_mutex(LOCK_GROW, &m->file->grow);
	} while (vfs_reclaims(m->views->config.vfs, &retry, err));
	return err;
}

/* As if the file's first unit had been asked about, if that is whole. */
static void fill_view(struct views *v, uint64_t ino, uint64_t number, uint32_t kind)
{
	const struct daxview_question first = {
		.kind = kind,
		.view = number,
		.cookie = ino,
		.length = MAP_UNIT_SIZE,
	};
	struct mapper *m = viewed_use(v, ino, number);

	if (!m)
		return;
	if (end_of_units(m, 0, MAP_UNIT_SIZE, kind == DAXVIEW_ASK_READ))
		fault(m, &first);
	viewed_unuse(v, ino);
}

/* A reader or a writer asks for what is at the beginning next: so it is there already. What may be
 * stored to may be loaded from. */
static void fill_once(struct views *v, struct mapper *m, int flags)
{
	bool loads = (flags & O_ACCMODE) == O_RDONLY;
	unsigned wanted = loads ? FILLED_LOADS : FILLED_LOADS | FILLED_STORES;

	if ((flags & O_APPEND) || (!loads && vfs_is_watched(v->config.vfs)) ||
	    (atomic_fetch_or(&m->filled, wanted) & wanted) == wanted)
		return;
	fill_view(v, m->ino, m->number, loads ? DAXVIEW_ASK_READ : DAXVIEW_ASK_WRITE);
}

bool views_pass(struct views *v, const struct vfs_opened *opened, int flags)
{
	uint64_t ino = opened->attr.ino;
	struct mapper *m = viewed_passes(opened, flags) ? viewed_mapper(v, ino) : NULL;

	if (!m)
		return false;
	atomic_store(&m->passes, true);
	fill_once(v, m, flags);
	return true;
}

/* The last page of the file is data before it grows, and with it all that is mapped beside it as
 * one: no mapper reads zeroes of a hole where a program is about to write. And what mappers have
 * stored behind the end goes. */
static int prepare_end_locked(struct mapper *m, uint64_t size)
{
	const struct daxview_question last = {
		.kind = DAXVIEW_ASK_WRITE,
		.offset = round_down(size - 1, MAP_PAGE_SIZE),
		.length = MAP_PAGE_SIZE,
	};
	struct fs_iomap map = { .kind = FS_IOMAP_MAPPED };
	int err = 0;

	if (size % MAP_UNIT_SIZE)
		err = fs_iomap(vfs_fs(m->views->config.vfs), m->ino, last.offset, last.length,
			       &map);
	if (!err && map.kind != FS_IOMAP_MAPPED)
		err = fault_locked(m, &last);
	return err ? err : map_grow(m->file->map, size);
}

/* A tail for as much as there is space for. */
static errint_t begin_tail_locked(struct mapper *m, const struct daxview_question *question)
{
	uint64_t length = question->length;
	int err;

	lock_assert(LOCK_GROW);
	do {
		err = sizes_begin_tail(m, question->offset, length);
		length /= 2;
	} while ((err == -ENOSPC || err == -EDQUOT) && length >= MAP_PAGE_SIZE);
	return err;
}

/*
 * -EAGAIN: it was cut, or has grown, meanwhile. A file that begins to be written to in a later unit
 * than it ends in is made to end where that unit begins; or where the write does, if what is free
 * lies in too many pieces. While a guest has a unit behind the end mapped there can be no tail: the
 * file grows as by truncate(2), and the write follows.
 */
static int extend_locked(struct mapper *m, const struct daxview_question *question,
			 uint64_t *ret_old_size)
{
	uint64_t unit = round_down(question->offset, MAP_UNIT_SIZE);
	struct fs_attr attr;
	int err;

	lock_assert(LOCK_GROW);
	err = vfs_still_locked(m->file, &attr);
	if (err)
		return err;
	*ret_old_size = attr.size;
	if (question->offset < attr.size) {
		sizes_correct(m);
		return -EAGAIN;
	}
	err = vfs_grow_locked(m->file, unit);
	if (!err)
		err = prepare_end_locked(m, MAX(attr.size, unit));
	if (!err)
		err = begin_tail_locked(m, question);
	if (err == -ERANGE) {
		err = vfs_grow_locked(m->file, question->offset);
		return err ? err : -EAGAIN;
	}
	if (err == -EBUSY)
		err = vfs_grow_locked(m->file, MIN(question->offset + question->length,
						   unit + MAP_UNIT_SIZE));
	return err;
}

/* A write that begins behind the end of the file, or of its tail. */
static int extend(struct mapper *m, const struct daxview_question *question)
{
	struct vfs_retry retry = { false };
	struct vfs *vfs = m->views->config.vfs;
	uint64_t old_size = question->offset;
	int err;

	do {
		lock_mutex(LOCK_GROW, &m->file->grow);
		err = extend_locked(m, question, &old_size);
		unlock_mutex(LOCK_GROW, &m->file->grow);
	} while (vfs_reclaims(vfs, &retry, err));
	if (!err || err == -EAGAIN)
		vfs_note(vfs, m->ino, DXF_WATCH_DATA | DXF_WATCH_SIZE,
			 MIN(old_size, question->offset), UINT64_MAX);
	return err == -EAGAIN ? 0 : err;
}

static int answer_kind(struct mapper *m, const struct daxview_question *question)
{
	switch (question->kind) {
	case DAXVIEW_ASK_EXTEND:
		return extend(m, question);
	case DAXVIEW_ASK_STRIP:
		return sizes_strip(m);
	default:
		return fault(m, question);
	}
}

static void answer_ask(struct views *v, const struct daxview_question *question)
{
	struct mapper *m = viewed_use(v, question->cookie, question->view);
	int err = m ? answer_kind(m, question) : -EIO;

	atomic_fetch_add(&v->asked, 1);
	/* A fault has answered by setting the range. -EAGAIN: some of it was taken away meanwhile,
	 * perhaps what it wants. */
	if (err || question->kind == DAXVIEW_ASK_EXTEND || question->kind == DAXVIEW_ASK_STRIP)
		session_answer(v->session, question->question, err == -EAGAIN ? 0 : err);
	if (m)
		viewed_unuse(v, question->cookie);
}

static void answer(struct views *v, const struct daxview_question *question)
{
	switch (question->kind) {
	case DAXVIEW_ASK_READ:
	case DAXVIEW_ASK_WRITE:
	case DAXVIEW_ASK_EXTEND:
	case DAXVIEW_ASK_STRIP:
		answer_ask(v, question);
		return;
	case DAXVIEW_CLOSED:
		viewed_check(v, question->cookie);
		break;
	case DAXVIEW_POISON:
		table_add_failed(v, question->offset, question->length);
		break;
	}
	session_answer(v->session, question->question, 0);
}

/* One thread does, ten times a second at most, however many questions there are. */
static void look_again(struct views *v)
{
	int64_t now = views_now_ms(), last = atomic_load(&v->looked_ms);

	if (now - last < LOOK_AGAIN_MS ||
	    !atomic_compare_exchange_strong(&v->looked_ms, &last, now))
		return;
	if (atomic_load(&v->later))
		busy_retry(v);
	if (atomic_exchange(&v->look_again, false))
		viewed_check_all(v);
}

static bool must_look_again(struct views *v)
{
	return atomic_load(&v->later) || atomic_load(&v->look_again);
}

static void *answer_questions(void *arg)
{
	struct views *v = arg;
	struct pollfd wait[] = {
		{ v->session, POLLIN, 0 },
		{ v->stop, POLLIN, 0 },
		{ v->kick, POLLIN, 0 },
	};
	struct daxview_question question;
	eventfd_t kicks;

	while (sem_wait(&v->begin))
		;
	for (;;) {
		poll(wait, ARRAY_SIZE(wait), must_look_again(v) ? LOOK_AGAIN_MS : -1);
		if (wait[1].revents)
			return NULL;
		if (wait[2].revents)
			eventfd_read(v->kick, &kicks); /* so that none sleeps without an end */
		/* another thread may have been faster */
		while (read(v->session, &question, sizeof(question)) == sizeof(question)) {
			answer(v, &question);
			look_again(v);
		}
		look_again(v);
	}
}

errint_t answer_start(struct views *v)
{
	while (v->threads < VIEWS_THREADS) {
		int err = pthread_create(&v->thread[v->threads], NULL, answer_questions, v);

		if (err)
			return -err;
		v->threads++;
	}
	return 0;
}

void answer_stop(struct views *v)
{
	if (v->stop >= 0)
		eventfd_write(v->stop, 1);
	for (unsigned i = 0; i < v->threads; i++)
		sem_post(&v->begin);
	while (v->threads)
		pthread_join(v->thread[--v->threads], NULL);
}
