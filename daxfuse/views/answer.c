/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The threads that answer the module: a question is a fault of the engine, whose pieces are set in
 * the view by mapper.c with the entry locked. That answers it; only an error is said.
 *
 * A file that is asked about in order is answered for more than was asked: more each time, up to a
 * number of units. For loads that is cheap, and begins with the file. For stores it makes memory of
 * holes that may stay as they are, and says that something was stored which was not; so there it is
 * less, only done in the file, and while nobody watches.
 *
 * They may wait for locks of the engine and of core, whose owners wait for programs for a second at
 * most; and never for a program with a view.
 */
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

/* How many units are answered beyond those that were asked about. */
static unsigned count_ahead(struct view_order *order, uint64_t offset, bool loads)
{
	unsigned ahead = atomic_load(&order->ahead);

	if (loads)
		ahead = !offset || is_in_order(order, offset)
				? MIN(8 * ahead + 7, (unsigned)LOADS_AHEAD_UNITS)
				: 0;
	else
		ahead = is_in_order(order, offset) ? MIN(2 * ahead + 1, (unsigned)AHEAD_UNITS) : 0;

	atomic_store(&order->last, offset);
	atomic_store(&order->ahead, ahead);
	return ahead;
}

/* How far the file lies in whole units, or not at all. */
static uint64_t end_of_units(struct mapper *m, uint64_t at, uint64_t end)
{
	while (at < end && at % MAP_UNIT_SIZE == 0) {
		struct fs_iomap map;

		if (fs_iomap(vfs_fs(m->views->config.vfs), m->ino, at, end - at, &map) ||
		    (map.kind != FS_IOMAP_HOLE && map.device_offset % MAP_UNIT_SIZE) ||
		    map.length < MIN(end - at, MAP_UNIT_SIZE))
			break;
		at += at + map.length < end ? round_down(map.length, MAP_UNIT_SIZE) : end - at;
	}
	return at;
}

/* A load must not take from a unit what a store was granted. A unit that lies in blocks is granted
 * page by page, and perhaps made whole before: of such there are not as many. */
static uint64_t end_of_loads(struct mapper *m, uint64_t at, uint64_t end)
{
	end = MAX(end_of_units(m, at, end), MIN(end, at + AHEAD_UNITS * MAP_UNIT_SIZE));
	while (at < end && !map_view_pins(m->view, at, MIN(end - at, MAP_UNIT_SIZE)))
		at += MIN(end - at, MAP_UNIT_SIZE);
	return at;
}

/* Where the answer ends: behind the question, and not behind the file. */
static uint64_t end_of_answer(struct mapper *m, const struct daxview_question *question,
			      uint64_t size)
{
	bool loads = question->kind == DAXVIEW_ASK_READ;
	struct view_order *order = loads ? &m->loads : &m->stores;
	uint64_t file = round_up(size, MAP_PAGE_SIZE);
	uint64_t asked = MIN(question->offset + question->length, file), end;
	unsigned ahead = count_ahead(order, question->offset, loads);

	if (!loads && vfs_is_watched(m->views->config.vfs))
		ahead = 0;
	end = MIN(asked + ahead * MAP_UNIT_SIZE, file);
	if (loads)
		end = end_of_loads(m, asked, end);
	atomic_store(&order->end, end);
	return end;
}

/* A page that has failed is left out: the asker may want another one of what it asks about, up to
 * `asked`; if not, it asks again, about that page alone. */
static int fault_range(struct mapper *m, struct map_request *request, uint64_t asked, uint64_t end)
{
	struct map_piece pieces[PIECES];
	unsigned count;
	int err;

	do {
		err = map_fault_run(m->view, request, end - request->offset, pieces, PIECES,
				    &count);
		request->offset += MAP_PAGE_SIZE;
	} while (err == -EIO && request->offset < asked);
	return err;
}

/* Order: bytes behind the end of the file in its last page are zeroed before it is mapped. */
static int fault_locked(struct mapper *m, const struct daxview_question *question)
{
	struct fs *fs = vfs_fs(m->views->config.vfs);
	struct map_request request = {
		.offset = question->offset,
		.access = question->kind == DAXVIEW_ASK_READ ? MAP_READ : MAP_WRITE,
		.order = ORDER_PMD,
		.end = UINT64_MAX,
		.gather = true,
	};
	struct fs_attr attr;
	uint64_t end;
	int err;

	lock_assert(LOCK_GROW);
	err = fs_getattr(fs, m->ino, &attr);
	if (err)
		return err;
	if (question->offset >= attr.size) {
		sizes_correct(m);
		return -ENXIO;
	}
	if (request.access == MAP_WRITE && (attr.flags & DXF_FLAG_APPEND))
		return -EACCES;
	end = end_of_answer(m, question, attr.size);
	if (touches_last_page(&attr, end))
		err = fs_map_zero(fs, m->ino, attr.size, MAP_PAGE_SIZE - attr.size % MAP_PAGE_SIZE);
	return err ? err
		   : fault_range(m, &request, MIN(question->offset + question->length, end), end);
}

/* The file's size is held still: what is behind its end must not be mapped. */
static int fault(struct mapper *m, const struct daxview_question *question)
{
	int err;

	do {
		lock_mutex(LOCK_GROW, &m->file->grow);
		err = fault_locked(m, question);
		unlock_mutex(LOCK_GROW, &m->file->grow);
	} while (vfs_reclaims(m->views->config.vfs, err));
	return err;
}

static void answer_ask(struct views *v, const struct daxview_question *question)
{
	struct mapper *m = viewed_use(v, question->cookie, question->view);
	int err = m ? fault(m, question) : -EIO;

	atomic_fetch_add(&v->asked, 1);
	if (err)
		session_answer(v->session, question->question, err);
	if (m)
		viewed_unuse(v, question->cookie);
}

static void answer(struct views *v, const struct daxview_question *question)
{
	switch (question->kind) {
	case DAXVIEW_ASK_READ:
	case DAXVIEW_ASK_WRITE:
		answer_ask(v, question);
		return;
	case DAXVIEW_CLOSED:
		viewed_check(v, question->cookie);
		break;
	case DAXVIEW_POISON:
		table_add_failed(v, question->offset, question->length);
		break;
	}
	session_answer(v->session, question->question,
		       question->kind == DAXVIEW_ASK_EXTEND ? -EIO : 0);
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
