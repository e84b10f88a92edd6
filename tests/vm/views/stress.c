/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Everything at once: programs in two views, and a daemon that does to them what it likes.
 */
#include <stdlib.h>
#include <sys/wait.h>

#include "views.h"

static void stress_program(struct view *view, unsigned int number)
{
	char *mapped = map(view, 8 * UNIT, SHARED);
	double end = now() + seconds;
	char *buffer = malloc(UNIT);

	seed = number * 77 + 1;
	catch_bus();
	while (now() < end) {
		unsigned long at = any(8 * UNIT - 20000);

		switch (any(7)) {
		case 0:
		case 1:
			store_fails(mapped + at);
			break;
		case 2:
			load_fails(mapped + at);
			break;
		case 3:
			CHECK(pread(view->fd, any(2) ? buffer : mapped + any(UNIT), any(20000),
				    (off_t)at) >= 0 ||
			      errno == EFAULT);
			break;
		case 4:
			CHECK(pwrite(view->fd, any(2) ? buffer : mapped + any(UNIT), any(20000),
				     (off_t)at) >= 0 ||
			      errno == EFAULT || errno == ENOSPC);
			break;
		case 5:
			madvise(mapped + (at & ~(PAGE - 1)), any(UNIT), MADV_DONTNEED);
			break;
		default:
			if (!fork()) {
				store_fails(mapped + at);
				_exit(0);
			}
			wait(NULL);
		}
	}
	_exit(0);
}

static void disturb(struct view *view)
{
	unsigned long unit = any(8), size = 8 * UNIT;
	__u64 bits[512 / 64] = { 0 };

	switch (any(6)) {
	case 0:
		place(view, unit * UNIT, UNIT, DAXVIEW_HOLE);
		break;
	case 1:
		forget(view, unit * UNIT + any(512) * PAGE, PAGE);
		break;
	case 2:
		place(view, unit * UNIT, UNIT, any(UNITS / 2) * UNIT);
		break;
	case 3:
		resize(view, any(size));
		resize(view, size);
		break;
	case 4:
		CHECK(!clean(view, DAXVIEW_IOC_PROTECT, unit * UNIT, UNIT, bits));
		break;
	default:
		place(view, unit * UNIT + any(500) * PAGE, 12 * PAGE, any(UNITS / 2) * UNIT);
	}
}

static void *serve_roughly(void *argument)
{
	struct daxview_question question;
	struct view *views = argument;

	while (read(views->session, &question, sizeof(question)) == sizeof(question)) {
		struct view *view = &views[question.view == views[1].number];

		if (question.kind == DAXVIEW_ASK_EXTEND)
			resize(view, 8 * UNIT);
		if (question.kind == DAXVIEW_ASK_EXTEND || any(20) == 0)
			answer(views->session, question.question, ENOSPC);
		else
			place(view, question.offset, question.length,
			      any(UNITS / 2) * UNIT + question.offset % UNIT);
	}
	return NULL;
}

/* Programs in two views, and a daemon that does to them what it likes; then nothing is left. */
static void stress(void)
{
	int session = open_session(), status;
	struct view views[2] = { backwards(session, 8), backwards(session, 8) };
	double end = now() + seconds;
	pid_t children[4];
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, serve_roughly, views));
	for (unsigned int i = 0; i < 4; i++) {
		children[i] = fork();
		if (!children[i])
			stress_program(&views[i % 2], i);
	}
	while (now() < end) {
		unsigned int i = any(4);

		disturb(&views[any(2)]);
		if (any(200) == 0) {
			kill(children[i], SIGKILL);
			CHECK(waitpid(children[i], NULL, 0) == children[i]);
			children[i] = fork();
			if (!children[i])
				stress_program(&views[i % 2], i);
		}
	}
	for (unsigned int i = 0; i < 4; i++) {
		CHECK(waitpid(children[i], &status, 0) == children[i]);
		CHECK(status == 0);
	}
	stop_server(thread);
	for (unsigned int i = 0; i < UNITS; i++)
		CHECK(!busy(session, i * UNIT, UNIT, 1000));
}

const struct scenario stress_scenarios[] = {
	{ "stress", stress },
	{ NULL, NULL },
};
