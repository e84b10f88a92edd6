/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device's pages below the views: moved while a program stores, in use after their view has let
 * go of them, failed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "views.h"

struct storer {
	pthread_t thread;
	volatile uint64_t *words;
	unsigned int units;
	volatile uint64_t stored;
	volatile bool stop;
};

static void *store_always(void *argument)
{
	struct storer *storer = argument;

	while (!storer->stop) {
		uint64_t i = storer->stored++;
		volatile uint64_t *word = storer->words + i % storer->units * (UNIT / 8);

		CHECK(*word == i / storer->units);
		*word = i / storer->units + 1;
	}
	return NULL;
}

/* The daemon moves units while a program stores: no store is lost. */
static void relocates(void)
{
	struct view view = backwards(open_session(), 4);
	char *mapped = map(&view, 4 * UNIT, SHARED);
	struct storer storer = { .words = (void *)mapped, .units = 4 };
	unsigned int where[5] = { 3, 2, 1, 0, 4 }, i = 0;
	double end = now() + seconds;

	memset(memory, 0, 5 * UNIT);
	CHECK(!pthread_create(&storer.thread, NULL, store_always, &storer));
	for (; now() < end || i <= 10 || storer.stored <= 100; i++) {
		unsigned int unit = i % 4, to = where[4];

		forget(&view, unit * UNIT, UNIT);
		CHECK(!busy(view.session, where[unit] * UNIT, UNIT, 5000));
		memcpy(memory + to * UNIT, memory + where[unit] * UNIT, UNIT);
		memset(memory + where[unit] * UNIT, 0xee, UNIT);
		where[4] = where[unit];
		where[unit] = to;
		place(&view, unit * UNIT, UNIT, to * UNIT);
	}
	storer.stop = true;
	pthread_join(storer.thread, NULL);
	printf("%u moves, %lu stores\n", i, (unsigned long)storer.stored);
}

/* A page that is in a pipe is in use after its view has let go of it. */
static void busy_pages(void)
{
	struct view view = backwards(open_session(), 4);
	char *mapped = map(&view, 4 * UNIT, SHARED), buffer[PAGE];
	struct iovec piece = { mapped + UNIT, PAGE };
	int pipes[2];
	double before;

	CHECK(!pipe(pipes));
	mapped[UNIT] = 'b';
	for (unsigned int i = 0; i < UNITS; i++)
		CHECK(!busy(view.session, i * UNIT, UNIT, 0));
	CHECK(vmsplice(pipes[1], &piece, 1, 0) == (ssize_t)PAGE);
	CHECK(!revoke_view(&view));
	FAILS(EBUSY, busy(view.session, 2 * UNIT, UNIT, 0));
	CHECK(!busy(view.session, 3 * UNIT, UNIT, 0));
	before = now();
	FAILS(EBUSY, busy(view.session, 0, 4 * UNIT, 300));
	CHECK(now() - before >= 0.25);
	if (!fork()) {
		usleep(300000);
		CHECK(read(pipes[0], buffer, PAGE) == (ssize_t)PAGE && buffer[0] == 'b');
		_exit(0);
	}
	CHECK(!busy(view.session, 0, 4 * UNIT, 60000));
	wait(NULL);
}

/* One page fails: that page is lost, of each file that has it, and the daemon is told. */
static void poison(void)
{
	int session = open_session();
	struct view view = backwards(session, 4), other = backwards(session, 4);
	struct view untouched = create(session, UNIT);
	char *mapped = map(&view, 4 * UNIT, SHARED), *beside = map(&other, 4 * UNIT, SHARED);
	char *buffer = malloc(UNIT), *alone = map(&untouched, UNIT, SHARED);
	struct daxview_question question;

	memset(mapped, 'p', 4 * UNIT);
	/* Mapped by the device's driver, too, but not now: else that is what the signal is for. */
	memset(memory + 2 * UNIT, 'p', UNIT);
	CHECK(!munmap(memory, UNITS * UNIT));
	CHECK(beside[UNIT] == 'p');
	CHECK(pwrite(other.fd, "p", 1, UNIT + 3 * PAGE) == 1);
	CHECK(!madvise(mapped + UNIT + 3 * PAGE, PAGE, MADV_HWPOISON));
	CHECK(load_fails(mapped + UNIT + 3 * PAGE) && bus_code == BUS_MCEERR_AR);
	CHECK(load_fails(beside + UNIT + 3 * PAGE) && store_fails(beside + UNIT + 4 * PAGE - 1));
	CHECK(mapped[UNIT + 2 * PAGE] == 'p' && mapped[UNIT + 4 * PAGE] == 'p' && mapped[0] == 'p');
	beside[UNIT + 4 * PAGE] = 'q';
	CHECK(mapped[UNIT + 4 * PAGE] == 'q');
	FAILS(EIO, pread(view.fd, buffer, 1, UNIT + 3 * PAGE + 9));
	FAILS(EIO, pwrite(other.fd, buffer, 1, UNIT + 3 * PAGE));
	CHECK(pread(view.fd, buffer, UNIT, UNIT) == 3 * (ssize_t)PAGE);
	CHECK(pwrite(view.fd, buffer, UNIT, UNIT) == 3 * (ssize_t)PAGE);
	CHECK(read(session, &question, sizeof(question)) == sizeof(question));
	CHECK(question.kind == DAXVIEW_POISON && question.offset == 2 * UNIT + 3 * PAGE &&
	      question.length == PAGE);
	/* Not there any more: the file is whole again. */
	place(&view, UNIT, UNIT, 9 * UNIT);
	mapped[UNIT + 3 * PAGE] = 'r';
	CHECK(pread(view.fd, buffer, 1, UNIT + 3 * PAGE) == 1 && buffer[0] == 'r');
	CHECK(!answer(session, question.question, 0));
	/* Of what nobody has mapped but through a view. */
	place(&untouched, 0, UNIT, 200 * UNIT);
	alone[PAGE] = 1;
	CHECK(!madvise(alone + PAGE, PAGE, MADV_HWPOISON) && load_fails(alone + PAGE));
	CHECK(!load_fails(alone));
	CHECK(read(session, &question, sizeof(question)) == sizeof(question));
	CHECK(question.kind == DAXVIEW_POISON && question.offset == 200 * UNIT + PAGE);
}

const struct scenario page_scenarios[] = {
	{ "relocates", relocates },
	{ "busy_pages", busy_pages },
	{ "poison", poison },
	{ NULL, NULL },
};
