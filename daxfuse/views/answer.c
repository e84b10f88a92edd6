/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The threads that answer the module: a question is a fault of the engine, whose pieces are set in
 * the view by mapper.c with the entry locked. That answers it; only an error is said.
 *
 * They may wait for locks of the engine and of core, whose owners wait for programs for a second at
 * most; and never for a program with a view.
 */
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"

enum { LOOK_AGAIN_MS = 100, PIECES = 16 };

static bool touches_last_page(const struct fs_attr *attr, uint64_t end)
{
	return attr->size % MAP_PAGE_SIZE && end > round_down(attr->size, MAP_PAGE_SIZE);
}

/* Order: bytes behind the end of the file in its last page are zeroed before it is mapped. */
static int fault_locked(struct mapper *m, const struct daxview_question *question)
{
	struct fs *fs = vfs_fs(m->views->config.vfs);
	struct map_piece pieces[PIECES];
	struct map_request request = {
		.offset = question->offset,
		.access = question->kind == DAXVIEW_ASK_READ ? MAP_READ : MAP_WRITE,
		.order = ORDER_PMD,
		.end = UINT64_MAX,
		.gather = true,
	};
	struct fs_attr attr;
	unsigned count;
	uint64_t end;
	int err;

	lock_assert(LOCK_GROW);
	err = fs_getattr(fs, m->ino, &attr);
	if (err)
		return err;
	if (question->offset >= attr.size)
		return -ENXIO;
	if (request.access == MAP_WRITE && (attr.flags & DXF_FLAG_APPEND))
		return -EACCES;
	end = MIN(question->offset + question->length, round_up(attr.size, MAP_PAGE_SIZE));
	if (touches_last_page(&attr, end))
		err = fs_map_zero(fs, m->ino, attr.size, MAP_PAGE_SIZE - attr.size % MAP_PAGE_SIZE);
	return err ? err
		   : map_fault_run(m->view, &request, end - question->offset, pieces, PIECES,
				   &count);
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
	}
	/* what we don't know, and memory that has failed: the module keeps programs from it */
	session_answer(v->session, question->question,
		       question->kind == DAXVIEW_ASK_EXTEND ? -EIO : 0);
}

static void look_again(struct views *v)
{
	if (!LIST_EMPTY(&v->busy))
		mapper_retry_busy(v);
	if (atomic_exchange(&v->look_again, false))
		viewed_check_all(v);
}

static void *answer_questions(void *arg)
{
	struct views *v = arg;
	struct pollfd wait[2] = { { v->session, POLLIN, 0 }, { v->stop, POLLIN, 0 } };
	struct daxview_question question;

	for (;;) {
		bool later = atomic_load(&v->later) || atomic_load(&v->look_again);
		int n = poll(wait, 2, later ? LOOK_AGAIN_MS : -1);

		if (n > 0 && wait[1].revents)
			return NULL;
		if (n == 0)
			look_again(v);
		/* another thread may have been faster */
		while (read(v->session, &question, sizeof(question)) == sizeof(question))
			answer(v, &question);
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
	const uint64_t one = 1;
	ssize_t n = v->stop >= 0 ? write(v->stop, &one, sizeof(one)) : 0;

	(void)n;
	while (v->threads)
		pthread_join(v->thread[--v->threads], NULL);
}
