/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the module asks the daemon: for loads, stores, reads and writes of what it does not know, or
 * may not store to, and before a user's write to a privileged file.
 */
#include <sys/wait.h>

#include "views.h"

/* Zeroes; a store and a write ask; an error is SIGBUS and the errno. */
static void holes(void)
{
	struct view view = create(open_session(), 6 * UNIT);
	char *mapped = map(&view, 6 * UNIT, SHARED), buffer[3] = "xyz";
	pthread_t thread;

	place(&view, 0, 4 * UNIT, DAXVIEW_HOLE);
	for (unsigned long at = 0; at < 4 * UNIT; at += PAGE)
		CHECK(mapped[at] == 0);
	CHECK(stat_of(&view).questions == 0);
	thread = start_server(&view, 1);
	mapped[UNIT + 5 * PAGE] = 'm';
	CHECK(server.asked[DAXVIEW_ASK_WRITE] == 1 && server.next == UNITS / 2 + 1);
	CHECK(memory[UNITS / 2 * UNIT + 5 * PAGE] == 'm' && mapped[UNIT] == 0);
	CHECK(pwrite(view.fd, buffer, 3, 2 * UNIT - 1) == 3); /* one byte in it, two in the next */
	CHECK(server.asked[DAXVIEW_ASK_WRITE] == 2 && mapped[2 * UNIT - 1] == 'x' &&
	      mapped[2 * UNIT] == 'y');
	CHECK(mapped[4 * UNIT] == 0 && server.asked[DAXVIEW_ASK_READ] == 1);
	CHECK(pread(view.fd, buffer, 3, 5 * UNIT + 7) == 3 && server.asked[DAXVIEW_ASK_READ] == 2);
	CHECK(pwrite(view.fd, buffer, 3, 6 * UNIT - 1) == 3 &&
	      server.asked[DAXVIEW_ASK_EXTEND] == 1);
	CHECK(stat_of(&view).file_size == 6 * UNIT + 2);
	server.error = ENOSPC;
	CHECK(mapped[0] == 0 && store_fails(mapped) && mapped[0] == 0);
	FAILS(ENOSPC, pwrite(view.fd, buffer, 3, 0));
	CHECK(pwrite(view.fd, buffer, 3, UNIT - 1) == -1);
	server.error = EIO;
	FAILS(EIO, pwrite(view.fd, buffer, 3, 0));
	server.error = 0;
	CHECK(pwrite(view.fd, buffer, 3, 0) == 3);
	stop_server(thread);
}

/* Loads and stores in one view by copies from and to another one, both full of questions. */
static void crossed(void)
{
	int session = open_session();
	struct view views[2] = { create(session, 8 * UNIT), create(session, 8 * UNIT) };
	char *mapped[2] = { map(&views[0], 8 * UNIT, SHARED), map(&views[1], 8 * UNIT, SHARED) };
	pthread_t thread = start_server(views, 2);

	for (int i = 0; i < 2; i++)
		place(&views[i], 0, 8 * UNIT, DAXVIEW_HOLE);
	CHECK(pwrite(views[0].fd, mapped[1] + 100, 3 * UNIT, PAGE) == 3 * UNIT);
	CHECK(pread(views[0].fd, mapped[1] + 3, 2 * UNIT, 10) == 2 * UNIT);
	CHECK(pwrite(views[0].fd, mapped[0] + 4 * UNIT, UNIT, 5 * UNIT) == UNIT);
	CHECK(pread(views[0].fd, mapped[0] + 6 * UNIT, UNIT, 7 * UNIT) == UNIT);
	CHECK(pread(views[0].fd, mapped[0] + 1, UNIT, 0) == UNIT);
	stop_server(thread);
}

/* A piece of which stores ask; that they need not any more takes no mapping away. */
static void read_only(void)
{
	struct view view = create(open_session(), 2 * UNIT);
	char *mapped = map(&view, 2 * UNIT, SHARED), byte = 'w';
	struct daxview_piece pieces[2] = { { 0, UNIT, UNIT, DAXVIEW_PIECE_READ, 0 },
					   { UNIT, UNIT - PAGE, PAGE, DAXVIEW_PIECE_READ, 0 } };
	struct daxview_stat stat;
	pthread_t thread;

	CHECK(!try_set(&view, 0, 2 * UNIT, pieces, 2));
	for (unsigned long at = 0; at < 2 * UNIT - PAGE; at += PAGE)
		CHECK(mapped[at] == memory[at < UNIT ? UNIT + at : at - UNIT + PAGE]);
	stat = stat_of(&view);
	CHECK(stat.questions == 0 && stat.faults_huge == 1 && stat.faults_page == 511);
	thread = start_server(&view, 1);
	server.error = EIO;
	CHECK(store_fails(mapped) && store_fails(mapped + UNIT));
	FAILS(EIO, pwrite(view.fd, &byte, 1, 5));
	server.error = 0;
	pieces[0].flags = 0;
	CHECK(!try_set(&view, 0, UNIT, pieces, 1));
	mapped[0] = 'r';
	CHECK(memory[UNIT] == 'r' && pwrite(view.fd, &byte, 1, 5) == 1 && mapped[5] == 'w');
	CHECK(stat_of(&view).faults_huge == 2); /* the store; the load's mapping was there */
	mapped[UNIT + 7] = 's';                 /* gets another unit */
	CHECK(memory[server.next * UNIT - UNIT + 7] == 's');
	stop_server(thread);
}

/* A user's write asks for them to be taken away, once; root's does not. */
static void strips(void)
{
	struct view view = backwards(open_session(), 1);
	pthread_t thread = start_server(&view, 1);
	pid_t child;
	int status;

	set_privileged(&view, true);
	write_bytes(&view, 0, 10, 'r');
	CHECK(!server.asked[DAXVIEW_ASK_STRIP]);
	for (int i = 0; i < 2; i++) {
		child = fork();
		if (!child) {
			CHECK(!setgid(1000) && !setuid(1000));
			write_bytes(&view, 5, 10, 'u');
			_exit(0);
		}
		CHECK(waitpid(child, &status, 0) == child && status == 0);
		CHECK(server.asked[DAXVIEW_ASK_STRIP] == 1 && memory[5] == 'u');
	}
	server.error = EPERM;
	set_privileged(&view, true);
	child = fork();
	if (!child) {
		CHECK(!setgid(1000) && !setuid(1000));
		FAILS(EPERM, pwrite(view.fd, "x", 1, 0));
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	server.error = 0;
	stop_server(thread);
}

const struct scenario question_scenarios[] = {
	{ "holes", holes },   { "crossed", crossed }, { "read_only", read_only },
	{ "strips", strips }, { NULL, NULL },
};
