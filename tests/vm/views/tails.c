/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tails: appends that ask nobody, and what of them the device alone tells; who takes a tail away.
 */
#include <fcntl.h>
#include <sys/ioctl.h>

#include "views.h"

#define WORDS (40 * UNIT) /* on the device: mtime, ctime, the size */

static struct view create_with_times(int session, __u64 size)
{
	struct daxview_create create = {
		.size = sizeof(create), .cookie = 7, .file_size = size, .times = WORDS
	};

	memset(memory + WORDS, 0, PAGE);
	CHECK(!ioctl(session, DAXVIEW_IOC_CREATE, &create));
	return (struct view){ session, create.fd, create.view };
}

static __u64 word_at(__u64 offset)
{
	__u64 word;

	memcpy(&word, memory + offset, sizeof(word));
	return word;
}

/* File offsets are the device's. */
static int give_tail(const struct view *view, __u64 size, __u64 end)
{
	__u64 first = (size + PAGE - 1) & ~(PAGE - 1), last = (end + PAGE - 1) & ~(PAGE - 1);
	struct daxview_piece piece = { .offset = first, .length = last - first, .device = first };
	struct daxview_tail tail = {
		.size = sizeof(tail),
		.view = view->number,
		.end = end,
		.size_word = WORDS + 16,
		.pieces = (uintptr_t)&piece,
		.count = last > first,
	};

	return ioctl(view->session, DAXVIEW_IOC_TAIL, &tail);
}

static __u64 take_tail(const struct view *view)
{
	struct daxview_tail tail = { .size = sizeof(tail),
				     .flags = DAXVIEW_TAIL_TAKE,
				     .view = view->number };

	CHECK(!ioctl(view->session, DAXVIEW_IOC_TAIL, &tail));
	return tail.file_size;
}

static bool all_are(__u64 from, __u64 end, char byte)
{
	for (; from < end; from++)
		if (memory[from] != byte)
			return false;
	return true;
}

/* Appends ask nobody, and what they have stored is told by the device alone. */
static void tail(void)
{
	struct view view = create_with_times(open_session(), 1000);
	struct daxview_stat stat;
	char buffer[4];
	int appends;
	__u64 when;

	memset(memory, 'e', 2 * UNIT);
	memset(memory + 1000, 0, PAGE - 1000);
	place(&view, 0, PAGE, 0);
	write_bytes(&view, 0, 10, 'o'); /* over bytes of the file: the times alone */
	when = word_at(WORDS);
	CHECK(when && word_at(WORDS + 8) == when && !word_at(WORDS + 16));
	CHECK(!give_tail(&view, 1000, UNIT - 100));
	write_bytes(&view, 1000, 5000, 'a');
	CHECK(word_at(WORDS + 16) == 6000 && word_at(WORDS) > when);
	CHECK(all_are(1000, 6000, 'a') && all_are(6000, 2 * PAGE, 0));
	write_bytes(&view, 20001, 2, 'b'); /* behind a gap */
	CHECK(word_at(WORDS + 16) == 20003 && all_are(6000, 20001, 0) &&
	      all_are(20003, 5 * PAGE, 0) && memory[5 * PAGE] == 'e');
	CHECK(pread(view.fd, buffer, 4, 20000) == 3 && buffer[0] == 0 && buffer[1] == 'b');
	FAILS(EFAULT, pwrite(view.fd, nowhere, 10, 20003));
	stat = stat_of(&view);
	CHECK(stat.file_size == 20003 && stat.questions == 0 && stat.stored == word_at(WORDS));
	snprintf(buffer, sizeof(buffer), "ccc");
	{
		char path[64];

		snprintf(path, sizeof(path), "/proc/self/fd/%d", view.fd);
		appends = open(path, O_WRONLY | O_APPEND);
	}
	CHECK(appends >= 0 && write(appends, buffer, 3) == 3 && word_at(WORDS + 16) == 20006);
	CHECK(all_are(20003, 20006, 'c') && !close(appends));
	CHECK(take_tail(&view) == 20006 && take_tail(&view) == 20006);
}

/* The last page is the tail's, if it is not known; it is left as it is where it is mapped. */
static void tail_of_a_page(void)
{
	struct view view = create_with_times(open_session(), 100);
	struct daxview_piece piece = { .offset = 0, .length = 2 * PAGE, .device = PAGE };
	struct daxview_tail tail = {
		.size = sizeof(tail),
		.view = view.number,
		.end = 2 * PAGE,
		.size_word = WORDS + 16,
		.count = 1,
		.pieces = (uintptr_t)&piece,
	};
	char *mapped = map(&view, 2 * UNIT, SHARED);
	pthread_t thread;
	__u64 faults;

	memset(memory, 0, 4 * PAGE);
	memset(memory + PAGE, 'f', 100);
	CHECK(!ioctl(view.session, DAXVIEW_IOC_TAIL, &tail));
	write_bytes(&view, 100, 50, 'a');
	CHECK(memory[PAGE + 99] == 'f' && memory[PAGE + 100] == 'a' && !stat_of(&view).questions);
	CHECK(take_tail(&view) == 150);
	place(&view, 0, PAGE, PAGE);
	CHECK(mapped[149] == 'a');
	mapped[0] = 'm';
	faults = stat_of(&view).faults_page;
	CHECK(!ioctl(view.session, DAXVIEW_IOC_TAIL, &tail));
	write_bytes(&view, 150, 2 * PAGE - 150, 'b');
	CHECK(memory[2 * PAGE] == 'b' && !stat_of(&view).questions);
	mapped[1] = 'n';
	CHECK(mapped[150] == 'b' && stat_of(&view).faults_page == faults);
	CHECK(take_tail(&view) == 2 * PAGE);
	thread = start_server(&view, 1);
	CHECK(mapped[2] == 'f' && !stat_of(&view).questions);
	CHECK(mapped[PAGE] == 0 && stat_of(&view).questions == 1);
	stop_server(thread);
}

/* A mapping of it asks, as does a write behind it; what was taken is unknown. */
static void tail_asks(void)
{
	struct view view = create_with_times(open_session(), 0);
	char *mapped = map(&view, 2 * UNIT, SHARED), buffer[8] = { 0 };
	pthread_t thread = start_server(&view, 1);

	memset(memory, 'e', UNIT);
	CHECK(!give_tail(&view, 0, 3 * PAGE));
	write_bytes(&view, 0, 2 * PAGE, 'a');
	CHECK(load_fails(mapped + 2 * PAGE)); /* not in the file */
	CHECK(pread(view.fd, buffer, 1, PAGE) == 1 && *buffer == 'a');
	CHECK(!server.asked[DAXVIEW_ASK_READ] && !server.asked[DAXVIEW_ASK_WRITE]);
	CHECK(mapped[PAGE] == 0 && server.asked[DAXVIEW_ASK_READ] == 1); /* the server's piece */
	CHECK(!server.asked[DAXVIEW_ASK_EXTEND]);
	write_bytes(&view, 3 * PAGE - 3, 6,
		    'b'); /* half in the tail; the server says what is next */
	CHECK(server.asked[DAXVIEW_ASK_EXTEND] == 1 && word_at(WORDS + 16) == 3 * PAGE);
	CHECK(stat_of(&view).file_size == 3 * PAGE + 3);
	resize(&view, PAGE);
	CHECK(!give_tail(&view, PAGE, 3 * PAGE));
	write_bytes(&view, PAGE, 10, 'c');
	CHECK(take_tail(&view) == PAGE + 10);
	CHECK(pread(view.fd, buffer, 1, PAGE) == 1 && server.asked[DAXVIEW_ASK_READ] == 2);
	server.error = ENOSPC;
	FAILS(ENOSPC, pwrite(view.fd, buffer, 8, PAGE + 10));
	server.error = 0;
	stop_server(thread);
}

/* What is not right is refused, and a tail that ends leaves nothing. */
static void tail_bounds(void)
{
	int session = open_session();
	struct view view = create_with_times(session, 3 * PAGE);
	struct daxview_piece piece = { .offset = 3 * PAGE, .length = PAGE };
	struct daxview_tail tail = {
		.size = sizeof(tail),
		.view = view.number,
		.end = 4 * PAGE,
		.size_word = WORDS,
		.count = 1,
		.pieces = (uintptr_t)&piece,
	};
	const struct daxview_tail right = tail;
	const struct daxview_piece fits = piece;
	struct daxview_create wrong = { .size = sizeof(wrong), .times = 12 };

	FAILS(EINVAL, ioctl(session, DAXVIEW_IOC_CREATE, &wrong));
	wrong.times = PAGE - 8;
	FAILS(EINVAL, ioctl(session, DAXVIEW_IOC_CREATE, &wrong));
	wrong.times = 1ull << 50;
	FAILS(ERANGE, ioctl(session, DAXVIEW_IOC_CREATE, &wrong));
#define REFUSED(error, change)                                         \
	do {                                                           \
		tail = right;                                          \
		piece = fits;                                          \
		change;                                                \
		FAILS(error, ioctl(session, DAXVIEW_IOC_TAIL, &tail)); \
	} while (0)
	REFUSED(EINVAL, tail.end = 3 * PAGE);
	REFUSED(EINVAL, tail.end = 5 * PAGE);
	REFUSED(EINVAL, tail.count = 0);
	REFUSED(EINVAL, tail.flags = 2);
	REFUSED(EINVAL, tail.padding = 1);
	REFUSED(EINVAL, tail.size_word = 4);
	REFUSED(ERANGE, tail.size_word = 1ull << 50);
	REFUSED(ENOENT, tail.view = 12345);
	REFUSED(EFAULT, tail.pieces = 8);
	REFUSED(EINVAL, piece.offset = 2 * PAGE);
	REFUSED(EINVAL, piece.length = 2 * PAGE);
	REFUSED(EINVAL, piece.device = DAXVIEW_HOLE);
	REFUSED(EINVAL, piece.flags = DAXVIEW_PIECE_READ);
	REFUSED(ERANGE, piece.device = 1ull << 50);
#undef REFUSED
	tail = right;
	piece = fits;
	CHECK(!ioctl(session, DAXVIEW_IOC_TAIL, &tail) && tail.file_size == 3 * PAGE);
	CHECK(!ioctl(session, DAXVIEW_IOC_TAIL, &tail)); /* another one */
	CHECK(!revoke_view(&view));
	FAILS(ESTALE, ioctl(session, DAXVIEW_IOC_TAIL, &tail));
	FAILS(EIO, pwrite(view.fd, "x", 1, 3 * PAGE));
}

enum { RECORD = 24 };

/* Records, each with its number; the daemon takes the tail away meanwhile. */
static void *append_records(void *argument)
{
	const struct view *view = argument;
	double end = now() + seconds;
	__u64 record[RECORD / 8];
	unsigned long count = 0;

	for (; (now() < end || count <= 10) && count < 4 * UNIT / RECORD - 1; count++) {
		for (unsigned int i = 0; i < RECORD / 8; i++)
			record[i] = count + 1;
		CHECK(pwrite(view->fd, record, RECORD, (off_t)(count * RECORD)) == RECORD);
	}
	return (void *)count;
}

static void *serve_tails(void *argument)
{
	const struct view *view = argument;
	struct daxview_question question;

	while (read(view->session, &question, sizeof(question)) == sizeof(question)) {
		__u64 size = question.offset;

		if (question.kind == DAXVIEW_ASK_EXTEND)
			CHECK(size >= take_tail(view) &&
			      !give_tail(view, take_tail(view), size + 1 + any(20 * RECORD)) &&
			      !answer(view->session, question.question, 0));
		else
			place(view, question.offset, question.length, question.offset);
		pthread_testcancel();
	}
	return NULL;
}

static void tail_races(void)
{
	struct view view = create_with_times(open_session(), 0);
	pthread_t appender, server_thread;
	double end = now() + seconds;
	__u64 size = 0, seen;
	void *count;

	memset(memory, 'e', 4 * UNIT);
	CHECK(!pthread_create(&server_thread, NULL, serve_tails, &view));
	CHECK(!pthread_create(&appender, NULL, append_records, &view));
	while (now() < end) {
		seen = word_at(WORDS + 16);
		CHECK(seen >= size && (!seen || word_at(seen - seen % 8 - 8) != 0));
		size = seen;
		if (any(3) == 0)
			CHECK(take_tail(&view) >= size);
		usleep(any(2000));
	}
	CHECK(!pthread_join(appender, &count));
	size = take_tail(&view);
	CHECK(size == (unsigned long)count * RECORD);
	CHECK(word_at(WORDS + 16) == size);
	for (__u64 at = 0; at < size; at += 8)
		CHECK(word_at(at) == at / RECORD + 1);
	stop_server(server_thread);
	printf("%lu records\n", (unsigned long)count);
}

static struct view make_with_tail(void)
{
	struct view view = create_with_times(open_session(), 0);

	CHECK(!give_tail(&view, 0, 4 * PAGE));
	return view;
}

/* Nobody serves, and appends go on; the next daemon finds no tail, and the size. */
static void tail_adopted(void)
{
	pthread_t thread;
	struct view view;

	killed_owner(&view, make_with_tail, true);
	write_bytes(&view, 0, PAGE + 1, 'a');
	CHECK(word_at(WORDS + 16) == PAGE + 1);
	CHECK(!open_session_with(DAXVIEW_ADOPT, "test", &view.session));
	CHECK(stat_of(&view).file_size == PAGE + 1);
	thread = start_server(&view, 1);
	write_bytes(&view, PAGE + 1, 1, 'b');
	CHECK(server.asked[DAXVIEW_ASK_EXTEND] == 1 && word_at(WORDS + 16) == PAGE + 1);
	stop_server(thread);
}

const struct scenario tail_scenarios[] = {
	{ "tail", tail },
	{ "tail_of_a_page", tail_of_a_page },
	{ "tail_asks", tail_asks },
	{ "tail_bounds", tail_bounds },
	{ "tail_races", tail_races },
	{ "tail_adopted", tail_adopted },
	{ NULL, NULL },
};
