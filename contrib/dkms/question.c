// SPDX-License-Identifier: GPL-2.0
/*
 * What the module asks of the daemon, and the threads that wait for it.
 *
 * A question stays on its session's list while a thread waits for it, whether
 * it was read or not; so it is there for the next daemon when one has died.
 * Threads that want to know the same share one. A thread that looked at the
 * view before it was changed, and asks afterwards, would wait for an answer that
 * has been given: so it brings the generation that it has seen, and looks again
 * if that is not the view's any more. Changes count the generation first and
 * answer then, both below the session's lock as seen from here.
 *
 * Failed memory, and that a view was closed, is told in the same way, by a question
 * that nobody waits for.
 */
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "daxview.h"

struct dv_question {
	struct list_head list; /* empty: answered */
	struct dv_view *view;  /* of an asker; NULL: nobody waits */
	struct daxview_question said;
	unsigned int askers;
	bool delivered;
	int error;
};

static void dv_wake_readers(struct dv_session *session)
{
	wake_up_interruptible_poll(&session->readers, EPOLLIN | EPOLLRDNORM);
}

static void dv_link_locked(struct dv_session *session, struct dv_question *question)
{
	lockdep_assert_held(&session->lock);
	question->said.question = ++session->last_question;
	list_add_tail(&question->list, &session->questions);
}

static void dv_end_locked(struct dv_question *question, int error)
{
	question->error = error;
	list_del_init(&question->list);
	if (question->view)
		wake_up_all(&question->view->askers);
	else
		kfree(question);
}

static struct dv_question *dv_same_locked(struct dv_view *view, const struct dv_want *want)
{
	struct dv_question *question;

	list_for_each_entry(question, &view->session->questions, list)
		if (question->view == view && question->said.kind == want->kind &&
		    question->said.offset == want->offset && question->said.length == want->length)
			return question;
	return NULL;
}

/* A question to wait for, or NULL: look again. */
static struct dv_question *dv_put_question(struct dv_view *view, const struct dv_want *want)
{
	struct dv_session *session = view->session;
	struct dv_question *question, *known;

	question = kzalloc(sizeof(*question), GFP_KERNEL);
	if (!question)
		return ERR_PTR(-ENOMEM);
	question->view = view;
	question->said.view = view->number;
	question->said.cookie = view->cookie;
	question->said.offset = want->offset;
	question->said.length = want->length;
	question->said.kind = want->kind;
	spin_lock(&session->lock);
	known = dv_same_locked(view, want);
	if (READ_ONCE(view->generation) != want->generation) {
		known = NULL;
		kfree(question);
		question = NULL;
	} else if (known) {
		kfree(question);
		question = known;
	} else {
		dv_link_locked(session, question);
	}
	if (question)
		question->askers++;
	spin_unlock(&session->lock);
	if (question && question != known)
		dv_wake_readers(session);
	return question;
}

/* Ask, and wait: 0: look again; EINTR: the thread is being killed; or what the daemon said. */
int dv_ask(struct dv_view *view, const struct dv_want *want)
{
	struct dv_session *session = view->session;
	struct dv_question *question = dv_put_question(view, want);
	int err;

	if (IS_ERR_OR_NULL(question))
		return PTR_ERR_OR_ZERO(question);
	atomic64_inc(&view->asked);
	err = wait_event_killable(view->askers, list_empty_careful(&question->list));
	spin_lock(&session->lock);
	if (!err || list_empty(&question->list))
		err = question->error;
	else
		err = -EINTR;
	if (!--question->askers) {
		list_del(&question->list);
		kfree(question);
	}
	spin_unlock(&session->lock);
	return err;
}

/* Something was set: threads that have asked about any of it look again. */
void dv_answer_range(struct dv_view *view, u64 offset, u64 length)
{
	struct dv_session *session = view->session;
	struct dv_question *question, *next;

	spin_lock(&session->lock);
	list_for_each_entry_safe(question, next, &session->questions, list) {
		const struct daxview_question *said = &question->said;

		if (question->view == view && said->kind != DAXVIEW_ASK_EXTEND &&
		    said->offset < offset + length && offset < said->offset + said->length)
			dv_end_locked(question, 0);
	}
	spin_unlock(&session->lock);
}

/* The size was set: threads that want to write before it, or have asked about what is behind it. */
void dv_answer_size(struct dv_view *view, u64 size)
{
	struct dv_session *session = view->session;
	struct dv_question *question, *next;

	spin_lock(&session->lock);
	list_for_each_entry_safe(question, next, &session->questions, list) {
		const struct daxview_question *said = &question->said;

		if (question->view == view &&
		    (said->kind == DAXVIEW_ASK_EXTEND ? said->offset < size
						      : said->offset + said->length > size))
			dv_end_locked(question, 0);
	}
	spin_unlock(&session->lock);
}

/* There is nothing to be taken away any more. */
void dv_answer_strip(struct dv_view *view)
{
	struct dv_session *session = view->session;
	struct dv_question *question, *next;

	spin_lock(&session->lock);
	list_for_each_entry_safe(question, next, &session->questions, list)
		if (question->view == view && question->said.kind == DAXVIEW_ASK_STRIP)
			dv_end_locked(question, 0);
	spin_unlock(&session->lock);
}

void dv_answer_view(struct dv_view *view, int error)
{
	struct dv_session *session = view->session;
	struct dv_question *question, *next;

	spin_lock(&session->lock);
	list_for_each_entry_safe(question, next, &session->questions, list)
		if (question->view == view)
			dv_end_locked(question, error);
	spin_unlock(&session->lock);
}

static struct dv_question *dv_question_locked(struct dv_session *session, u64 number)
{
	struct dv_question *question;

	list_for_each_entry(question, &session->questions, list)
		if (question->said.question == number)
			return question;
	return NULL;
}

int dv_answer(struct dv_session *session, u64 number, int error)
{
	struct dv_question *question;

	spin_lock(&session->lock);
	question = dv_question_locked(session, number);
	if (question)
		dv_end_locked(question, error);
	spin_unlock(&session->lock);
	return question ? 0 : -ENOENT;
}

void dv_tell_poison(struct dv_session *session, u64 page, u64 pages)
{
	struct dv_question *question = kzalloc(sizeof(*question), GFP_KERNEL | __GFP_NOFAIL);

	question->said.kind = DAXVIEW_POISON;
	question->said.offset = page << PAGE_SHIFT;
	question->said.length = pages << PAGE_SHIFT;
	spin_lock(&session->lock);
	dv_link_locked(session, question);
	spin_unlock(&session->lock);
	dv_wake_readers(session);
}

/* Once, if it was not read yet. Without memory it is not told, and the view stays a while. */
void dv_tell_closed(struct dv_view *view)
{
	struct dv_question *question = kzalloc(sizeof(*question), GFP_KERNEL), *other;
	struct dv_session *session = view->session;
	bool told = false;

	if (!question)
		return;
	question->said.kind = DAXVIEW_CLOSED;
	question->said.view = view->number;
	question->said.cookie = view->cookie;
	spin_lock(&session->lock);
	list_for_each_entry(other, &session->questions, list)
		told |= other->said.kind == DAXVIEW_CLOSED && !other->delivered &&
			other->said.view == view->number;
	if (!told)
		dv_link_locked(session, question);
	spin_unlock(&session->lock);
	if (told)
		kfree(question);
	else
		dv_wake_readers(session);
}

/* The next process has taken the session over: it has read nothing yet. */
void dv_ask_again(struct dv_session *session)
{
	struct dv_question *question;

	spin_lock(&session->lock);
	list_for_each_entry(question, &session->questions, list)
		question->delivered = false;
	spin_unlock(&session->lock);
	dv_wake_readers(session);
}

/* The session ends. No view is left, so nobody waits. */
void dv_drop_questions(struct dv_session *session)
{
	struct dv_question *question, *next;

	list_for_each_entry_safe(question, next, &session->questions, list) {
		WARN_ON_ONCE(question->view);
		kfree(question);
	}
}

static bool dv_take_question(struct dv_session *session, struct daxview_question *said)
{
	struct dv_question *question;

	spin_lock(&session->lock);
	list_for_each_entry(question, &session->questions, list) {
		if (question->delivered)
			continue;
		question->delivered = true;
		*said = question->said;
		spin_unlock(&session->lock);
		return true;
	}
	spin_unlock(&session->lock);
	return false;
}

static void dv_untake_question(struct dv_session *session, u64 number)
{
	struct dv_question *question;

	spin_lock(&session->lock);
	question = dv_question_locked(session, number);
	if (question)
		question->delivered = false;
	spin_unlock(&session->lock);
}

bool dv_has_question(struct dv_session *session)
{
	struct dv_question *question;
	bool found = false;

	spin_lock(&session->lock);
	list_for_each_entry(question, &session->questions, list)
		if (!question->delivered)
			found = true;
	spin_unlock(&session->lock);
	return found;
}

ssize_t dv_read_questions(struct file *file, char __user *buffer, size_t size, loff_t *pos)
{
	struct dv_session *session = dv_session_of(file);
	struct daxview_question said;
	size_t done = 0;
	int err;

	if (!session)
		return -ENOTCONN;
	if (size < sizeof(said))
		return -EINVAL;
	while (size - done >= sizeof(said)) {
		if (dv_take_question(session, &said)) {
			if (copy_to_user(buffer + done, &said, sizeof(said))) {
				dv_untake_question(session, said.question);
				return done ?: -EFAULT;
			}
			done += sizeof(said);
		} else if (done) {
			break;
		} else if (file->f_flags & O_NONBLOCK) {
			return -EAGAIN;
		} else {
			err = wait_event_interruptible(session->readers, dv_has_question(session));
			if (err)
				return err;
		}
	}
	return done;
}
