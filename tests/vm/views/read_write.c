/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads and writes of a view's file: beside a flat copy, when its memory is another one, at its end,
 * by direct I/O and pipes; and when it was read.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "views.h"

/* Against a flat copy, over pieces of all sizes. */
static void reads(void)
{
	unsigned long size = 6 * UNIT + 1000;
	char *flat = malloc(size), *buffer = malloc(size);
	struct view view = create(open_session(), size);
	struct daxview_stat stat;

	for (unsigned int i = 0; i < 4; i++)
		place(&view, i * UNIT, UNIT, (8 - i) * UNIT);
	for (unsigned long at = 4 * UNIT; at < size; at += PAGE)
		place(&view, at, PAGE, 20 * UNIT - at);
	CHECK(pread(view.fd, flat, size, 0) == (ssize_t)size);
	for (int i = 0; i < 300; i++) {
		unsigned long at = any(size), length = any(size - at) % (i % 3 ? 10000 : 5 * UNIT);
		char byte = (char)i;

		memset(flat + at, byte, length);
		memset(buffer, byte, length);
		CHECK(pwrite(view.fd, buffer, length, (off_t)at) == (ssize_t)length);
		at = any(size);
		CHECK(pread(view.fd, buffer, 20000, (off_t)at) ==
		      (ssize_t)(size - at < 20000 ? size - at : 20000));
		CHECK(!memcmp(buffer, flat + at, size - at < 20000 ? size - at : 20000));
	}
	CHECK(pread(view.fd, buffer, size, 0) == (ssize_t)size && !memcmp(buffer, flat, size));
	CHECK(pread(view.fd, buffer, 10, (off_t)size) == 0);
	CHECK(pread(view.fd, buffer, 10, (off_t)size - 3) == 3);
	CHECK(lseek(view.fd, 0, SEEK_END) == (off_t)size);
	FAILS(EFAULT, pread(view.fd, nowhere, 10, 0));
	FAILS(EFAULT, pwrite(view.fd, nowhere, 10, 0));
	FAILS(EPERM, ftruncate(view.fd, 0));
	stat = stat_of(&view);
	CHECK(stat.questions == 0 && stat.reads > 300 && stat.writes > 290 && stat.stored);
	CHECK(memory[8 * UNIT] == flat[0] && memory[20 * UNIT - 5 * UNIT] == flat[5 * UNIT]);
}

/* Or a write. */
struct reading {
	const struct view *view;
	off_t at;
	ssize_t count;
	char byte;
};

static void *read_one(void *argument)
{
	struct reading *reading = argument;

	reading->count = pread(reading->view->fd, &reading->byte, 1, reading->at);
	return NULL;
}

/* A read that has to wait, and what it asks about. */
static pthread_t begin_to_read(struct reading *reading, struct daxview_question *question)
{
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, read_one, reading));
	CHECK(read(reading->view->session, question, sizeof(*question)) == sizeof(*question));
	CHECK(question->kind == DAXVIEW_ASK_READ);
	return thread;
}

static void *write_one(void *argument)
{
	struct reading *writing = argument;

	writing->count = pwrite(writing->view->fd, &writing->byte, 1, writing->at);
	return NULL;
}

/* A write of a page that must be asked about, which lies there then. */
static void write_asks(const struct view *view, unsigned long at, char byte, unsigned long where)
{
	struct reading writing = { .view = view, .at = (off_t)at, .byte = byte };
	struct daxview_question question;
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, write_one, &writing));
	CHECK(read(view->session, &question, sizeof(question)) == sizeof(question));
	CHECK(question.kind == DAXVIEW_ASK_WRITE && question.offset == at / PAGE * PAGE);
	place(view, at / PAGE * PAGE, PAGE, where / PAGE * PAGE);
	CHECK(!pthread_join(thread, NULL) && writing.count == 1 && memory[where] == byte);
}

/* A write goes where its page lies now, also if the last one went to the same. */
static void writes_follow(void)
{
	struct view view = backwards(open_session(), 4);
	unsigned long at = UNIT + 3 * PAGE + 5, old = 2 * UNIT + 3 * PAGE + 5;
	struct daxview_piece piece = { .offset = UNIT, .length = UNIT, .device = 9 * UNIT };

	write_bytes(&view, at, 1, 'a');
	CHECK(memory[old] == 'a');
	place(&view, UNIT, UNIT, 9 * UNIT);
	write_bytes(&view, at, 1, 'b');
	CHECK(memory[old] == 'a' && memory[9 * UNIT + 3 * PAGE + 5] == 'b');
	write_bytes(&view, UNIT - 1, 2, 'c'); /* of two pieces */
	CHECK(memory[4 * UNIT - 1] == 'c' && memory[9 * UNIT] == 'c' && memory[2 * UNIT] != 'c');
	piece.flags = DAXVIEW_PIECE_READ;
	CHECK(!try_set(&view, UNIT, UNIT, &piece, 1));
	write_asks(&view, at, 'd', 9 * UNIT + 3 * PAGE + 5);
	write_bytes(&view, at + 1, 1, 'e');
	piece.flags = 0;
	piece.device = DAXVIEW_HOLE;
	CHECK(!try_set(&view, UNIT, UNIT, &piece, 1));
	write_asks(&view, at + 1, 'f', 10 * UNIT + 6);
	forget(&view, UNIT, UNIT);
	write_asks(&view, at + 1, 'g', 11 * UNIT + 6);
	CHECK(memory[9 * UNIT + 3 * PAGE + 6] == 'e' && memory[10 * UNIT + 6] == 'f');
	CHECK(!revoke_view(&view));
	FAILS(EIO, pwrite(view.fd, "h", 1, (off_t)at));
	CHECK(memory[11 * UNIT + 6] == 'g');
}

/* A new view knows nothing of those that have been: where it is in the kernel's memory one was, sooner or
 * later. */
static void new_views(void)
{
	int session = open_session();

	for (unsigned int i = 0; i < 500; i++) {
		unsigned long where = (i % 32) * UNIT + i / 32;
		struct view view = create(session, UNIT);

		place(&view, 0, UNIT, i % 32 * UNIT);
		memory[where] = 0;
		write_bytes(&view, i / 32, 1, 'n');
		CHECK(memory[where] == 'n');
		close(view.fd);
		usleep(i % 8 ? 0 : 20000);
	}
}

/* A read ends where the file does at that moment, also one that waits; it asks about whole units. */
static void sizes(void)
{
	unsigned long end = 3 * UNIT + 5;
	struct view view = create(open_session(), end);
	struct reading reading = { .view = &view, .at = UNIT + 7 * PAGE };
	char *mapped = map(&view, 4 * UNIT, SHARED),
	     *copy = map(&view, 4 * UNIT, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	struct daxview_question question;
	char bytes[32];
	pthread_t thread;

	thread = begin_to_read(&reading, &question);
	CHECK(question.offset == UNIT && question.length == UNIT);
	place(&view, 0, 2 * UNIT, 0);
	CHECK(!pthread_join(thread, NULL) && reading.count == 1);
	reading.at = 3 * UNIT + 4;
	thread = begin_to_read(&reading, &question);
	CHECK(question.offset == 3 * UNIT && question.length == PAGE);
	resize(&view, 2 * UNIT); /* nobody answers */
	CHECK(!pthread_join(thread, NULL) && reading.count == 0);
	FAILS(ENOENT, answer(view.session, question.question, ENXIO));
	copy[UNIT + 3 * PAGE] = 'c';
	memset(memory + UNIT, 'm', UNIT);
	CHECK(mapped[2 * UNIT - 1] == 'm');
	resize(&view, UNIT + PAGE + 9);
	CHECK(pread(view.fd, bytes, 32, UNIT + PAGE) == 9 && bytes[8] == 'm');
	CHECK(pread(view.fd, bytes, 32, UNIT + 2 * PAGE) == 0);
	CHECK(load_fails(mapped + UNIT + 2 * PAGE) && load_fails(mapped + 2 * UNIT - 1));
	CHECK(load_fails(copy + UNIT + 3 * PAGE) && !load_fails(mapped + UNIT + PAGE));
	resize(&view, 2 * UNIT);
	CHECK(pread(view.fd, bytes, 32, 2 * UNIT - 9) == 9 && copy[UNIT + 3 * PAGE] == 'm');
	resize(&view, 0);
	CHECK(pread(view.fd, bytes, 32, 0) == 0 && load_fails(mapped));
}

/* When it was read last, but for programs that do not want that to be seen. */
static void read_times(void)
{
	struct view view = create(open_session(), UNIT);
	struct daxview_stat old = { .size = offsetof(struct daxview_stat, read),
				    .view = view.number };
	char path[32], byte;
	__u64 before;
	int quiet;

	CHECK(!ioctl(view.session, DAXVIEW_IOC_STAT, &old) && old.file_size == UNIT);
	place(&view, 0, UNIT, 0);
	sprintf(path, "/proc/self/fd/%d", view.fd);
	quiet = open(path, O_RDONLY | O_NOATIME);
	CHECK(quiet >= 0 && pread(quiet, &byte, 1, 0) == 1 && stat_of(&view).read == 0);
	CHECK(pread(view.fd, &byte, 1, 0) == 1);
	before = stat_of(&view).read;
	CHECK(before && pread(view.fd, &byte, 1, 9) == 1 && stat_of(&view).read > before);
	before = stat_of(&view).read;
	CHECK(pread(quiet, &byte, 1, 9) == 1 && stat_of(&view).read == before);
}

/* Direct I/O of another file from and to the mapping, and the kernel's own reads of it. */
static void directed(void)
{
	struct view view = backwards(open_session(), 2);
	char *mapped = map(&view, 2 * UNIT, SHARED);
	int file = open("/views-direct", O_RDWR | O_CREAT | O_DIRECT, 0600), pipes[2];
	struct iovec local = { malloc(UNIT), UNIT }, remote = { mapped, UNIT };
	bool direct = file >= 0;

	if (!direct)
		file = open("/run/views-direct", O_RDWR | O_CREAT, 0600);
	CHECK(file >= 0 && !pipe(pipes));
	memset(mapped, 'd', UNIT);
	CHECK(pwrite(file, mapped, UNIT, 0) == UNIT);
	memset(mapped, 0, UNIT);
	CHECK(pread(file, mapped + UNIT, UNIT, 0) == UNIT && mapped[2 * UNIT - 1] == 'd');
	CHECK(process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == UNIT);
	CHECK(!memcmp(local.iov_base, mapped, UNIT));
	CHECK(splice(view.fd, &(loff_t){ UNIT }, pipes[1], NULL, PAGE, 0) == (ssize_t)PAGE);
	CHECK(splice(pipes[0], NULL, view.fd, &(loff_t){ 5 }, PAGE, 0) == (ssize_t)PAGE);
	CHECK(mapped[4] == 0 && mapped[5] == 'd' && mapped[PAGE + 4] == 'd' && !mapped[PAGE + 5]);
	unlink("/views-direct");
	printf("direct I/O: %s\n", direct ? "yes" : "no");
}

const struct scenario read_write_scenarios[] = {
	{ "reads", reads }, { "writes_follow", writes_follow }, { "new_views", new_views },
	{ "sizes", sizes }, { "read_times", read_times },       { "directed", directed },
	{ NULL, NULL },
};
