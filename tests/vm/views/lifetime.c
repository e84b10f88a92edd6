/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long sessions and views are there: files that are closed, views that are taken away, daemons
 * that die and their successors, the module itself.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "views.h"

/* How often it is open, and that the last file but one was closed. */
static void closed(void)
{
	struct view view = backwards(open_session(), 2);
	char path[64], *mapped;
	struct daxview_question question;
	int again;

	sprintf(path, "/proc/self/fd/%d", view.fd);
	CHECK(stat_of(&view).files == 1);
	again = open(path, O_RDWR);
	CHECK(again >= 0 && stat_of(&view).files == 2);
	mapped = map(&(struct view){ .fd = again }, UNIT, SHARED);
	mapped[0] = 1;
	CHECK(!close(again) && stat_of(&view).files == 2);
	CHECK(!munmap(mapped, UNIT) && stat_of(&view).files == 1);
	again = open(path, O_RDWR);
	CHECK(!close(again));
	CHECK(read(view.session, &question, sizeof(question)) == sizeof(question));
	CHECK(question.kind == DAXVIEW_CLOSED && question.view == view.number &&
	      question.cookie == 7);
	CHECK(poll(&(struct pollfd){ view.session, POLLIN, 0 }, 1, 0) == 0);
	CHECK(!answer(view.session, question.question, 0));
	close(view.fd);
}

static void revokes(void)
{
	int session = open_session();
	struct view view = backwards(session, 4), other = backwards(session, 4);
	char *mapped = map(&view, 4 * UNIT, SHARED), *beside = map(&other, 4 * UNIT, SHARED);
	char byte;

	mapped[0] = beside[UNIT] = 'r';
	CHECK(!revoke_view(&view) && !revoke_view(&view));
	CHECK(load_fails(mapped) && store_fails(mapped + UNIT));
	FAILS(EIO, pread(view.fd, &byte, 1, 0));
	FAILS(EIO, pwrite(view.fd, &byte, 1, 0));
	FAILS(ESTALE, try_set(&view, 0, UNIT, NULL, 0));
	CHECK(beside[UNIT] == 'r' && pread(other.fd, &byte, 1, UNIT) == 1 && byte == 'r');
	CHECK(memory[3 * UNIT] == 'r' && memory[2 * UNIT] == 'r');
}

static void *revoke_always(void *argument)
{
	volatile struct view *view = argument;

	while (view->session >= 0)
		revoke_view((struct view *)view);
	return NULL;
}

/* A view is taken away while threads are in it. */
static void revoked_in_use(void)
{
	int session = open_session(), status;
	double end = now() + seconds;
	struct view never = { .session = session };
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, revoke_always, &never));
	while (now() < end) {
		struct view view = backwards(session, 8);
		pid_t children[3];

		for (int i = 0; i < 3; i++) {
			children[i] = fork();
			if (!children[i]) {
				char *mapped = map(&view, 8 * UNIT, SHARED);

				signal(SIGBUS, SIG_DFL);
				for (unsigned long at = 0;; at += PAGE + 8) {
					mapped[at % (8 * UNIT)] = 1;
					if (i == 2 && pread(view.fd, mapped + 9, 9000, 0) < 0)
						_exit(0);
				}
			}
		}
		usleep(1000 * any(30));
		CHECK(!revoke_view(&view));
		for (int i = 0; i < 3; i++) {
			CHECK(waitpid(children[i], &status, 0) > 0);
			CHECK(i == 2 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS));
		}
		close(view.fd);
		for (unsigned int i = 0; i < 8; i++)
			CHECK(!busy(session, i * UNIT, UNIT, 0));
	}
	never.session = -1;
	pthread_join(thread, NULL);
}

static struct view make_with_hole(void)
{
	struct view view = backwards(open_session(), 4);

	place(&view, UNIT, UNIT, DAXVIEW_HOLE);
	return view;
}

static void *store_one(void *argument)
{
	*(volatile char *)argument = 's';
	return NULL;
}

/* Mappings and new faults go on without a daemon; the next one finds the view and the question. */
static void adopted(void)
{
	struct view view, none;
	char *mapped, byte = 'w';
	struct daxview_question question;
	struct pollfd poll_for = { .events = POLLIN };
	struct daxview_stat stat = { .size = sizeof(stat), .flags = DAXVIEW_STAT_NEXT };
	pthread_t thread;
	pid_t child = killed_owner(&view, make_with_hole, false);
	int status;

	FAILS(EBUSY, open_session_with(0, "test", &none.session));
	FAILS(EBUSY, open_session_with(DAXVIEW_ADOPT, "test", &none.session));
	FAILS(EBUSY, open_session_with(DAXVIEW_REVOKE, "test", &none.session));
	CHECK(!kill(child, SIGKILL) && waitpid(child, NULL, 0) == child);
	mapped = map(&view, 4 * UNIT, SHARED);
	mapped[0] = 'k';
	mapped[UNIT * 2] = mapped[UNIT];
	CHECK(memory[3 * UNIT] == 'k' && memory[UNIT] == 0);
	CHECK(pwrite(view.fd, &byte, 1, 5) == 1 && mapped[5] == 'w');
	CHECK(!pthread_create(&thread, NULL, store_one, mapped + UNIT + 77));
	usleep(200000);
	child = fork();
	if (!child) { /* one that waits can be killed */
		mapped[UNIT + 88] = 1;
		_exit(0);
	}
	usleep(200000);
	CHECK(!kill(child, SIGKILL) && waitpid(child, &status, 0) == child && WIFSIGNALED(status));
	FAILS(EEXIST, open_session_with(0, "test", &none.session));
	FAILS(ENOENT, open_session_with(DAXVIEW_ADOPT, "other", &none.session));
	CHECK(!open_session_with(DAXVIEW_ADOPT, "test", &view.session));
	CHECK(!ioctl(view.session, DAXVIEW_IOC_STAT, &stat) && stat.view == view.number &&
	      stat.cookie == 7 && stat.file_size == 4 * UNIT);
	FAILS(ENOENT, ioctl(view.session, DAXVIEW_IOC_STAT, &stat));
	poll_for.fd = view.session;
	CHECK(poll(&poll_for, 1, 10000) == 1);
	CHECK(read(view.session, &question, sizeof(question)) == sizeof(question));
	CHECK(question.kind == DAXVIEW_ASK_WRITE && question.view == view.number &&
	      question.offset == UNIT && question.length == UNIT);
	CHECK(poll(&poll_for, 1, 0) == 0);
	/* That one dies, too, with the question read. */
	close(view.session);
	CHECK(!open_session_with(DAXVIEW_ADOPT, "test", &view.session));
	poll_for.fd = view.session;
	CHECK(poll(&poll_for, 1, 10000) == 1);
	CHECK(read(view.session, &question, sizeof(question)) == sizeof(question));
	memset(memory + 9 * UNIT, 0, UNIT);
	place(&view, UNIT, UNIT, 9 * UNIT);
	pthread_join(thread, NULL);
	CHECK(memory[9 * UNIT + 77] == 's' && memory[3 * UNIT] == 'k');
	FAILS(ENOENT, answer(view.session, question.question, 0));
}

/* A pool that is mounted anew takes all views away first. */
static void replaced(void)
{
	struct view view;
	char *mapped, byte;
	pid_t child;
	int session, status;

	killed_owner(&view, make_with_hole, true);
	mapped = map(&view, 4 * UNIT, SHARED);
	mapped[0] = 'k';
	child = fork();
	if (!child) {
		FAILS(EIO, pwrite(view.fd, "x", 1, UNIT));
		_exit(0);
	}
	usleep(200000);
	CHECK(!open_session_with(DAXVIEW_REVOKE, "new", &session));
	CHECK(load_fails(mapped));
	CHECK(waitpid(child, &status, 0) == child && !status);
	FAILS(EIO, pread(view.fd, &byte, 1, 0));
	view.session = session;
	FAILS(ENOENT, try_set(&view, 0, UNIT, NULL, 0));
}

/* Nobody is left to take the session over: no program waits, or reaches the device, any more. */
static void over(void)
{
	struct daxview_hold hold = { .size = sizeof(hold) };
	struct daxview_session begun = { .size = sizeof(begun), .device = device };
	struct view view, other;
	char *mapped, byte;
	int status, session;
	pid_t child;

	killed_owner(&view, make_with_hole, true);
	mapped = map(&view, 4 * UNIT, SHARED);
	mapped[0] = 'o';
	child = fork();
	if (!child) {
		close(holder);
		FAILS(EIO, pwrite(view.fd, "x", 1, UNIT));
		CHECK(store_fails(mapped) && load_fails(mapped));
		_exit(0);
	}
	usleep(200000);
	CHECK(waitpid(child, &status, WNOHANG) == 0 && mapped[0] == 'o');
	FAILS(ENOTCONN, read(holder, &byte, 1));
	FAILS(EISCONN, ioctl(holder, DAXVIEW_IOC_SESSION, &begun));
	close(holder);
	CHECK(waitpid(child, &status, 0) == child && !status);
	FAILS(EIO, pread(view.fd, &byte, 1, 0));
	FAILS(ENOENT, open_session_with(DAXVIEW_ADOPT, "test", &session));
	CHECK(!open_session_with(DAXVIEW_REVOKE, "test", &session));
	/* One file after the other holds it; and one file holds one after the other. */
	holder = open(DAXVIEW_PATH, O_RDWR);
	hold.session = device;
	FAILS(EINVAL, ioctl(holder, DAXVIEW_IOC_HOLD, &hold));
	hold.session = -1;
	FAILS(EBADF, ioctl(holder, DAXVIEW_IOC_HOLD, &hold));
	hold.session = holder;
	FAILS(EINVAL, ioctl(holder, DAXVIEW_IOC_HOLD, &hold));
	hold.session = session;
	FAILS(EISCONN, ioctl(session, DAXVIEW_IOC_HOLD, &hold));
	CHECK(!ioctl(holder, DAXVIEW_IOC_HOLD, &hold) && !ioctl(holder, DAXVIEW_IOC_HOLD, &hold));
	other = create(session, UNIT);
	place(&other, 0, UNIT, 0);
	close(session);
	CHECK(pwrite(other.fd, "y", 1, 0) == 1);
	CHECK(!open_session_with(DAXVIEW_ADOPT, "test", &session));
	CHECK(pwrite(other.fd, "z", 1, 0) == 1);
	close(session);
	CHECK(!open_session_with(DAXVIEW_REVOKE, "new", &session));
	FAILS(EIO, pwrite(other.fd, "a", 1, 0));
	hold.session = session;
	CHECK(!ioctl(holder, DAXVIEW_IOC_HOLD, &hold));
	close(holder);
	other = create(session, UNIT);
	place(&other, 0, UNIT, 0);
	CHECK(pwrite(other.fd, "b", 1, 0) == 1);
	close(session);
	FAILS(EIO, pwrite(other.fd, "c", 1, 0));
	holder = -1;
}

/* No module goes while something of it is in use. */
static void unload(void)
{
	int session = open_session();
	struct view view = backwards(session, 2);
	char *mapped = map(&view, 2 * UNIT, SHARED);

	mapped[0] = 'u';
	FAILS(EAGAIN, (int)syscall(SYS_delete_module, "daxview", O_NONBLOCK));
	close(session);
	FAILS(EAGAIN, (int)syscall(SYS_delete_module, "daxview", O_NONBLOCK));
	close(view.fd);
	FAILS(EAGAIN, (int)syscall(SYS_delete_module, "daxview", O_NONBLOCK));
	CHECK(load_fails(mapped) && !munmap(mapped, 2 * UNIT));
	CHECK(!syscall(SYS_delete_module, "daxview", O_NONBLOCK));
}

const struct scenario lifetime_scenarios[] = {
	{ "closed", closed },   { "revokes", revokes },   { "revoked_in_use", revoked_in_use },
	{ "adopted", adopted }, { "replaced", replaced }, { "over", over },
	{ "unload", unload },   { NULL, NULL },
};
