/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel module daxview, by its ioctls alone: views of /dev/dax0.0, and a daemon for them that
 * is a thread, or a child.
 *
 *     views SCENARIO [SECONDS]    exits with 0, or says which check has failed
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/daxview.h"

#define DEVICE "/dev/dax0.0"
#define UNIT (2ul << 20)
#define PAGE 4096ul
#define UNITS 64 /* of the device are used; the last quarter is for whom asks */

#define CHECK(condition)                                                                        \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			fprintf(stderr, "%d: %s: %s\n", __LINE__, #condition, strerror(errno)); \
			_exit(1);                                                               \
		}                                                                               \
	} while (0)
#define FAILS(error, call) CHECK((call) == -1 && errno == (error))

static int seconds = 5;
static int device;
static char *memory; /* the device, as its driver maps it */
static void *volatile nowhere = (void *)8;

static void open_device(void)
{
	device = open(DEVICE, O_RDWR);
	CHECK(device >= 0);
	memory = mmap(NULL, UNITS * UNIT, PROT_READ | PROT_WRITE, MAP_SHARED, device, 0);
	CHECK(memory != MAP_FAILED);
}

static int open_session_with(int flags, const char *key, int *session)
{
	struct daxview_session wish = { .size = sizeof(wish), .flags = flags, .device = device };

	strcpy((char *)wish.key, key);
	*session = open(DAXVIEW_PATH, O_RDWR | O_CLOEXEC);
	CHECK(*session >= 0);
	return ioctl(*session, DAXVIEW_IOC_SESSION, &wish);
}

static int open_session(void)
{
	int session;

	CHECK(!open_session_with(0, "test", &session));
	return session;
}

struct view {
	int session, fd;
	__u64 number;
};

static struct view create(int session, __u64 size)
{
	struct daxview_create create = { .size = sizeof(create), .cookie = 7, .file_size = size };

	CHECK(!ioctl(session, DAXVIEW_IOC_CREATE, &create));
	return (struct view){ session, create.fd, create.view };
}

static int try_set(const struct view *view, __u64 offset, __u64 length,
		   const struct daxview_piece *pieces, __u32 count)
{
	struct daxview_set set = {
		.size = sizeof(set),
		.view = view->number,
		.offset = offset,
		.length = length,
		.pieces = (uintptr_t)pieces,
		.count = count,
	};

	return ioctl(view->session, DAXVIEW_IOC_SET, &set);
}

/* One piece. */
static void place(const struct view *view, __u64 offset, __u64 length, __u64 where)
{
	struct daxview_piece piece = { .offset = offset, .length = length, .device = where };

	CHECK(!try_set(view, offset, length, &piece, 1));
}

static void forget(const struct view *view, __u64 offset, __u64 length)
{
	CHECK(!try_set(view, offset, length, NULL, 0));
}

static void resize(const struct view *view, __u64 size)
{
	struct daxview_set set = { .size = sizeof(set),
				   .flags = DAXVIEW_SET_SIZE,
				   .view = view->number,
				   .file_size = size };

	CHECK(!ioctl(view->session, DAXVIEW_IOC_SET, &set));
}

static void set_privileged(const struct view *view, bool privileged)
{
	struct daxview_set set = { .size = sizeof(set),
				   .flags = privileged ? DAXVIEW_SET_PRIVILEGED : DAXVIEW_SET_PLAIN,
				   .view = view->number };

	CHECK(!ioctl(view->session, DAXVIEW_IOC_SET, &set));
}

static struct daxview_stat stat_of(const struct view *view)
{
	struct daxview_stat stat = { .size = sizeof(stat), .view = view->number };

	CHECK(!ioctl(view->session, DAXVIEW_IOC_STAT, &stat));
	return stat;
}

static int revoke_view(const struct view *view)
{
	struct daxview_revoke revoke = { .size = sizeof(revoke), .view = view->number };

	return ioctl(view->session, DAXVIEW_IOC_REVOKE, &revoke);
}

static int answer(int session, __u64 question, int error)
{
	struct daxview_answer answer = { .size = sizeof(answer),
					 .error = error,
					 .question = question };

	return ioctl(session, DAXVIEW_IOC_ANSWER, &answer);
}

static int busy(int session, __u64 where, __u64 length, __u32 timeout)
{
	struct daxview_busy busy = {
		.size = sizeof(busy), .device = where, .length = length, .timeout_ms = timeout
	};

	return ioctl(session, DAXVIEW_IOC_BUSY, &busy);
}

/* A view of units, the file's first one being the device's last of them. */
static struct view backwards(int session, unsigned int units)
{
	struct view view = create(session, units * UNIT);

	for (unsigned int i = 0; i < units; i++)
		place(&view, i * UNIT, UNIT, (units - 1 - i) * UNIT);
	return view;
}

/* At an address that fits huge pages. */
static char *map(const struct view *view, __u64 length, int protection, int flags)
{
	char *area = mmap(NULL, length + UNIT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *start = (char *)(((uintptr_t)area + UNIT - 1) & ~(UNIT - 1));

	CHECK(area != MAP_FAILED);
	start = mmap(start, length, protection, flags | MAP_FIXED, view->fd, 0);
	CHECK(start != MAP_FAILED);
	return start;
}

#define SHARED PROT_READ | PROT_WRITE, MAP_SHARED

static sigjmp_buf jump;
static volatile sig_atomic_t signal_code;

static void on_bus(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	signal_code = info->si_code;
	siglongjmp(jump, 1);
}

static void catch_bus(void)
{
	struct sigaction action = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };

	CHECK(!sigaction(SIGBUS, &action, NULL));
}

/* Does it end in SIGBUS? */
static bool load_fails(volatile char *address)
{
	if (sigsetjmp(jump, 1))
		return true;
	(void)*address;
	return false;
}

static bool store_fails(volatile char *address)
{
	if (sigsetjmp(jump, 1))
		return true;
	*address = 1;
	return false;
}

/* ---- a daemon: answers each question with the next free unit, or with its error -------- */

static struct {
	struct view *views;
	unsigned int count, next;
	int error;
	unsigned int asked[7];
} server;

/* A unit of the device for each unit of the file that the range touches. */
static void serve_range(const struct view *view, const struct daxview_question *question)
{
	__u64 at = question->offset, end = at + question->length;

	while (at < end) {
		__u64 next = (at & ~(UNIT - 1)) + UNIT, length = (next < end ? next : end) - at;

		if (server.next >= UNITS) {
			answer(view->session, question->question, ENOSPC);
			return;
		}
		memset(memory + server.next * UNIT, 0, UNIT);
		place(view, at, length, server.next++ * UNIT + at % UNIT);
		at += length;
	}
}

static void serve_one(const struct daxview_question *question)
{
	struct view *view = NULL;
	bool told = question->kind == DAXVIEW_POISON || question->kind == DAXVIEW_CLOSED;

	server.asked[question->kind]++;
	for (unsigned int i = 0; i < server.count; i++)
		if (server.views[i].number == question->view)
			view = &server.views[i];
	CHECK(told || (view && question->cookie == 7));
	if (server.error || told) {
		answer(server.views->session, question->question, server.error);
	} else if (question->kind == DAXVIEW_ASK_STRIP) {
		set_privileged(view, false);
	} else if (question->kind == DAXVIEW_ASK_EXTEND) {
		resize(view, question->offset + question->length);
	} else {
		serve_range(view, question);
	}
}

static void *serve(void *argument)
{
	struct daxview_question question;

	(void)argument;
	while (read(server.views->session, &question, sizeof(question)) == sizeof(question))
		serve_one(&question);
	return NULL;
}

static pthread_t start_server(struct view *views, unsigned int count)
{
	pthread_t thread;

	server.views = views;
	server.count = count;
	server.next = UNITS / 2;
	CHECK(!pthread_create(&thread, NULL, serve, NULL));
	return thread;
}

static void stop_server(pthread_t thread)
{
	pthread_cancel(thread);
	pthread_join(thread, NULL);
}

/* ---- scenarios ------------------------------------------------------------------------- */

static long minor_faults(void)
{
	struct rusage usage;

	CHECK(!getrusage(RUSAGE_SELF, &usage));
	return usage.ru_minflt;
}

/* 16 MiB are 8 faults for loads, 8 more for the first stores, and the bytes are the device's. */
static void maps(void)
{
	struct view view = backwards(open_session(), 8);
	char *mapped = map(&view, 8 * UNIT, SHARED);
	struct daxview_stat stat;
	unsigned long sum = 0;
	long before;

	for (unsigned int i = 0; i < 8; i++)
		memset(memory + i * UNIT, 'a' + i, UNIT);
	before = minor_faults();
	for (unsigned long at = 0; at < 8 * UNIT; at += PAGE)
		sum += *(volatile char *)(mapped + at);
	CHECK(minor_faults() - before == 8);
	CHECK(sum == 512 * (8 * 'a' + 28) && mapped[0] == 'h' && mapped[7 * UNIT] == 'a');
	before = minor_faults();
	for (unsigned long at = 0; at < 8 * UNIT; at += PAGE)
		*(volatile char *)(mapped + at) = (char)(at / UNIT);
	CHECK(minor_faults() - before == 8);
	stat = stat_of(&view);
	CHECK(stat.faults_huge == 16 && !stat.faults_page && !stat.questions && stat.stored);
	for (unsigned int i = 0; i < 8; i++)
		CHECK(memory[i * UNIT + 5 * PAGE] == (char)(7 - i));
	CHECK(!munmap(mapped, 8 * UNIT));
}

/* Pieces of pages, and the end of the file. */
static void edges(void)
{
	struct view view = create(open_session(), 5 * PAGE + 100);
	char *mapped = map(&view, 8 * PAGE, SHARED);

	for (unsigned int i = 0; i < 6; i++)
		place(&view, i * PAGE, PAGE, (9 - i) * PAGE);
	for (unsigned int i = 0; i < 10; i++)
		memset(memory + i * PAGE, '0' + i, PAGE);
	for (unsigned int i = 0; i < 6; i++)
		CHECK(mapped[i * PAGE] == '9' - (char)i);
	for (unsigned int i = 0; i < 6; i++)
		mapped[i * PAGE + 1] = 'x';
	for (unsigned int i = 0; i < 6; i++)
		CHECK(memory[(9 - i) * PAGE + 1] == 'x');
	CHECK(load_fails(mapped + 6 * PAGE) && store_fails(mapped + 7 * PAGE));
	place(&view, 6 * PAGE, PAGE, 3 * PAGE);
	CHECK(load_fails(mapped + 6 * PAGE));
	resize(&view, 7 * PAGE);
	CHECK(mapped[6 * PAGE] == '3' && load_fails(mapped + 7 * PAGE));
	resize(&view, 2 * PAGE);
	CHECK(mapped[PAGE] == '8' && load_fails(mapped + 2 * PAGE) &&
	      load_fails(mapped + 6 * PAGE));
	CHECK(stat_of(&view).faults_huge == 0);
}

/* A last unit that the file fills in part is mapped in pages, a mapping that is shifted, too. */
static void shapes(void)
{
	struct view view = backwards(open_session(), 4);
	char *mapped = map(&view, 4 * UNIT, SHARED), *shifted;
	struct daxview_stat stat;

	resize(&view, 3 * UNIT + PAGE);
	mapped[3 * UNIT] = 1;
	stat = stat_of(&view);
	CHECK(stat.faults_huge == 0 && stat.faults_page);
	CHECK(load_fails(mapped + 3 * UNIT + PAGE));
	mapped[0] = 2;
	CHECK(stat_of(&view).faults_huge == 1);
	shifted = map(&(struct view){ .fd = view.fd }, 2 * UNIT, SHARED) + PAGE;
	shifted = mmap(shifted, UNIT, SHARED | MAP_FIXED, view.fd, 0);
	CHECK(shifted != MAP_FAILED && shifted[0] == 2);
	shifted[1] = 3;
	CHECK(mapped[1] == 3 && stat_of(&view).faults_huge == 1);
	CHECK(!munmap(mapped + PAGE, PAGE)); /* splits the huge mapping */
	CHECK(mapped[0] == 2 && mapped[2 * PAGE] == memory[3 * UNIT + 2 * PAGE]);
	mapped = mremap(mapped + UNIT, UNIT, 2 * UNIT, MREMAP_MAYMOVE);
	CHECK(mapped != MAP_FAILED);
	mapped[0] = 9;
	CHECK(memory[2 * UNIT] == 9);
	CHECK(!mlock(mapped, UNIT) && !munlock(mapped, UNIT));
}

/* A private mapping keeps its stores to itself; children share a shared one. */
static void private(void)
{
	struct view view = backwards(open_session(), 2);
	char *mine = map(&view, 2 * UNIT, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	char *shared = map(&view, 2 * UNIT, SHARED);
	int status;

	place(&view, UNIT, UNIT, DAXVIEW_HOLE);
	memset(memory + UNIT, 'p', UNIT);
	CHECK(mine[0] == 'p');
	mine[0] = 'q';
	mine[PAGE] = 'q';
	mine[UNIT] = 'q';
	CHECK(mine[UNIT + 1] == 0 && mine[UNIT + PAGE] == 0);
	CHECK(memory[UNIT] == 'p' && memory[UNIT + PAGE] == 'p' && mine[0] == 'q' &&
	      mine[1] == 'p');
	if (!fork()) {
		shared[5] = 'c';
		mine[6] = 'c';
		_exit(mine[0] == 'q' ? 0 : 1);
	}
	CHECK(wait(&status) > 0 && status == 0);
	CHECK(shared[5] == 'c' && mine[6] == 'p');
}

static unsigned int seed = 1;

static unsigned long any(unsigned long below)
{
	seed = seed * 1103515245 + 12345;
	return (((unsigned long)seed >> 8) * 2654435761u) % below;
}

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

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
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

/* What has not changed keeps its mapping. */
static void in_place(void)
{
	struct view view = backwards(open_session(), 4);
	char *mapped = map(&view, 4 * UNIT, SHARED);
	struct daxview_piece pieces[3] = { { 0, UNIT, 3 * UNIT, 0, 0 },
					   { UNIT, UNIT, 8 * UNIT, 0, 0 },
					   { 2 * UNIT, 2 * UNIT, DAXVIEW_HOLE, 0, 0 } };
	struct daxview_stat before;

	for (unsigned int i = 0; i < 4; i++)
		mapped[i * UNIT] = 'a';
	memset(memory + 8 * UNIT, 'b', UNIT);
	before = stat_of(&view);
	CHECK(!try_set(&view, 0, 4 * UNIT, pieces, 3));
	CHECK(mapped[0] == 'a' && stat_of(&view).faults_huge == before.faults_huge);
	CHECK(mapped[UNIT] == 'b' && stat_of(&view).faults_huge == before.faults_huge + 1);
	CHECK(mapped[2 * UNIT] == 0 && mapped[3 * UNIT] == 0);
}

static int clean(const struct view *view, unsigned long command, __u64 offset, __u64 length,
		 void *bitmap)
{
	struct daxview_range range = { .size = sizeof(range),
				       .view = view->number,
				       .offset = offset,
				       .length = length,
				       .bitmap = (uintptr_t)bitmap };

	return ioctl(view->session, command, &range);
}

/* Which pages were stored to, whatever was flushed meanwhile. */
static void protects(void)
{
	struct view view = create(open_session(), 4 * UNIT);
	char *mapped = map(&view, 4 * UNIT, SHARED);
	__u64 bits[4 * 512 / 64] = { 0 };
	long before;

	for (unsigned int i = 0; i < 3; i++)
		place(&view, i * UNIT, UNIT, i * UNIT);
	for (unsigned long at = 3 * UNIT; at < 4 * UNIT; at += PAGE)
		place(&view, at, PAGE, 9 * UNIT - at);
	CHECK(mapped[0] == memory[0]);
	mapped[UNIT] = 1;
	mapped[3 * UNIT + 7 * PAGE] = 1;
	CHECK(pwrite(view.fd, "ab", 2, 2 * UNIT + 3 * PAGE - 1) == 2);
	CHECK(!fsync(view.fd) && !msync(mapped, 4 * UNIT, MS_SYNC));
	CHECK(!clean(&view, DAXVIEW_IOC_PROTECT, 0, 4 * UNIT, bits));
	for (int i = 0; i < 8; i++)
		CHECK(!bits[i] && bits[8 + i] == ~0ull);
	CHECK(bits[16] == 12 && !bits[17] && bits[24] == 1 << 7 && !bits[25]);
	memset(bits, 0, sizeof(bits));
	CHECK(!clean(&view, DAXVIEW_IOC_PROTECT, 0, 4 * UNIT, bits));
	for (unsigned int i = 0; i < 32; i++)
		CHECK(!bits[i]);
	before = minor_faults();
	mapped[UNIT] = 2;
	mapped[UNIT + PAGE] = 2;
	CHECK(minor_faults() - before == 1);
	CHECK(!clean(&view, DAXVIEW_IOC_SYNC, UNIT, PAGE, NULL));
	CHECK(!clean(&view, DAXVIEW_IOC_PROTECT, UNIT, PAGE, bits) && bits[0] == 1);
	FAILS(EFAULT, clean(&view, DAXVIEW_IOC_PROTECT, 0, 4 * UNIT, nowhere));
	CHECK(!clean(&view, DAXVIEW_IOC_PROTECT, 0, 4 * UNIT, bits) && bits[9] == ~0ull);
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

/* What is dirty is flushed, once, before it leaves its view at the latest; what is written, never. */
static void flushes(void)
{
	struct view view = create(open_session(), 4 * UNIT);
	char *mapped = map(&view, 4 * UNIT, SHARED);

	for (unsigned int i = 0; i < 3; i++)
		place(&view, i * UNIT, UNIT, i * UNIT);
	for (unsigned long at = 3 * UNIT; at < 4 * UNIT; at += PAGE)
		place(&view, at, PAGE, 9 * UNIT - at);
	CHECK(pwrite(view.fd, "ab", 2, 0) == 2 && mapped[UNIT] == memory[UNIT]);
	CHECK(!fsync(view.fd) && stat_of(&view).flushed == 0);
	mapped[3 * UNIT + PAGE] = 1;
	mapped[3 * UNIT + 3 * PAGE] = 1;
	CHECK(!fsync(view.fd) && stat_of(&view).flushed == 2);
	CHECK(!fsync(view.fd) && stat_of(&view).flushed == 2);
	mapped[3 * UNIT + PAGE] = 2;
	mapped[0] = 2;
	CHECK(!msync(mapped + UNIT, UNIT, MS_SYNC) && stat_of(&view).flushed == 2);
	CHECK(!msync(mapped, UNIT, MS_SYNC) && stat_of(&view).flushed == 514);
	forget(&view, 3 * UNIT + PAGE, PAGE);
	CHECK(stat_of(&view).flushed == 515);
	mapped[UNIT] = 3;
	place(&view, UNIT, UNIT, 12 * UNIT);
	CHECK(stat_of(&view).flushed == 1027);
	mapped[3 * UNIT + 9 * PAGE] = 3;
	CHECK(!revoke_view(&view) && stat_of(&view).flushed == 1028);
}

/* The kernel's version is at least that. */
static bool kernel_has(int major, int minor)
{
	struct utsname is;
	int has[2];

	CHECK(!uname(&is) && sscanf(is.release, "%d.%d", &has[0], &has[1]) == 2);
	return has[0] > major || (has[0] == major && has[1] >= minor);
}

static long faults_of_loads(volatile char *mapped)
{
	long before = minor_faults();

	for (unsigned long at = 0; at < UNIT; at += PAGE)
		(void)mapped[at];
	return minor_faults() - before;
}

/* Some pages of a unit that is dirty are flushed: a store to any page of it is seen, in those, and
 * in the others. */
static void flush_part(const struct view *view, char *mapped, unsigned long first,
		       unsigned long pages, unsigned long stored)
{
	__u64 before;

	memset(mapped, 'f', UNIT);
	before = stat_of(view).flushed;
	CHECK(!msync(mapped + first * PAGE, pages * PAGE, MS_SYNC));
	CHECK(stat_of(view).flushed == before + pages);
	mapped[stored * PAGE] = 'g';
	CHECK(!msync(mapped + stored * PAGE, PAGE, MS_SYNC));
	CHECK(stat_of(view).flushed == before + pages + 1);
	CHECK(!fsync(view->fd) && !fsync(view->fd));
	CHECK(memory[stored * PAGE] == 'g' && memory[(stored ^ 1) * PAGE] == 'f');
}

/* What was flushed is mapped still, where the kernel lets a module protect it: for loads. */
static void stays_mapped(void)
{
	struct view view = backwards(open_session(), 1);
	char *mapped = map(&view, UNIT, SHARED), *shifted, *own;
	bool stays = kernel_has(6, 17);

	shifted = map(&view, UNIT, SHARED) + PAGE;
	shifted = mmap(shifted, UNIT, SHARED | MAP_FIXED, view.fd, 0);
	own = map(&view, UNIT, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	CHECK(shifted != MAP_FAILED);
	memset(mapped, 'a', UNIT);
	memset(shifted, 'b', UNIT);
	memset(own, 'o', UNIT / 2);
	faults_of_loads(own);
	CHECK(!fsync(view.fd) && stat_of(&view).flushed == 512);
	if (stays)
		CHECK(!faults_of_loads(mapped) && !faults_of_loads(shifted) &&
		      !faults_of_loads(own));
	CHECK(own[0] == 'o' && own[UNIT / 2] == 'b');
	shifted[3 * PAGE] = 'c';
	CHECK(!fsync(view.fd) && stat_of(&view).flushed == 513);
	mapped[5 * PAGE] = 'd';
	CHECK(!fsync(view.fd) && stat_of(&view).flushed == 1025);
	CHECK(memory[3 * PAGE] == 'c' && shifted[5 * PAGE] == 'd' && own[0] == 'o');
	CHECK(!munmap(shifted, UNIT));
	flush_part(&view, mapped, 0, 1, 0);
	flush_part(&view, mapped, 0, 1, 511);
	flush_part(&view, mapped, 63, 2, 64);
	flush_part(&view, mapped, 1, 510, 0);
	flush_part(&view, mapped, 100, 300, 101);
	flush_part(&view, mapped, 0, 512, 7);
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

/* A process with a session gives its view away, and is killed. */
static struct view make_with_hole(void)
{
	struct view view = backwards(open_session(), 4);

	place(&view, UNIT, UNIT, DAXVIEW_HOLE);
	return view;
}

static pid_t killed_owner(struct view *view, struct view (*make)(void), bool kill_now)
{
	int ends[2];
	pid_t child;

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	child = fork();
	if (!child) {
		struct msghdr message = { 0 };
		char control[CMSG_SPACE(sizeof(int))] = { 0 };
		struct iovec vector = { &view->number, sizeof(view->number) };
		struct cmsghdr *header;

		*view = make();
		message = (struct msghdr){ .msg_iov = &vector,
					   .msg_iovlen = 1,
					   .msg_control = control,
					   .msg_controllen = sizeof(control) };
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &view->fd, sizeof(int));
		CHECK(sendmsg(ends[0], &message, 0) > 0);
		for (;;)
			pause();
	}
	struct iovec vector = { &view->number, sizeof(view->number) };
	char control[CMSG_SPACE(sizeof(int))];
	struct msghdr message = { .msg_iov = &vector,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };

	CHECK(recvmsg(ends[1], &message, 0) == sizeof(view->number));
	memcpy(&view->fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	close(ends[0]);
	close(ends[1]);
	if (kill_now) {
		CHECK(!kill(child, SIGKILL) && waitpid(child, NULL, 0) == child);
	}
	return child;
}

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
		CHECK(pwrite(view.fd, "x", 1, UNIT) == -1 && errno == EIO);
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

static void bounds(void)
{
	struct daxview_session wish = { .size = sizeof(wish), .device = device };
	struct daxview_create make = { .size = sizeof(make), .file_size = ~0ull };
	int session = open_session(), other = open(DAXVIEW_PATH, O_RDWR), null;
	struct view view = create(session, 4 * UNIT), none = { session, -1, 99999 };
	struct view foreign = { other, -1, view.number };
	struct daxview_piece ok = { .length = UNIT }, piece = ok;
	struct daxview_question question;
	__u64 big = 1ull << 62;

	FAILS(EISCONN, ioctl(session, DAXVIEW_IOC_SESSION, &wish));
	FAILS(ENOTCONN, try_set(&foreign, 0, UNIT, &ok, 1));
	FAILS(ENOTCONN, read(other, &question, sizeof(question)));
	FAILS(ENOTCONN, busy(other, 0, UNIT, 0));
	FAILS(ENOTTY, ioctl(session, _IO(0xda, 77)));
	FAILS(ENOTTY, ioctl(session, _IO(0xda, 0)));
	FAILS(ENOTTY, ioctl(session, TCGETS, &wish));
	FAILS(EFAULT, ioctl(session, DAXVIEW_IOC_STAT, 8));
	FAILS(EFBIG, ioctl(session, DAXVIEW_IOC_CREATE, &make));
	make.flags = 1;
	FAILS(EINVAL, ioctl(session, DAXVIEW_IOC_CREATE, &make));
	make = (struct daxview_create){ .size = 4 };
	FAILS(EINVAL, ioctl(session, DAXVIEW_IOC_CREATE, &make));
	make.size = 1 << 20;
	FAILS(EINVAL, ioctl(session, DAXVIEW_IOC_CREATE, &make));
	FAILS(ENOENT, try_set(&none, 0, UNIT, &ok, 1));
	FAILS(EINVAL, try_set(&view, 1, UNIT, &ok, 1));
	FAILS(EINVAL, try_set(&view, 0, 0, NULL, 0));
	FAILS(EINVAL, try_set(&view, 0, PAGE, &ok, 1)); /* longer than the range */
	FAILS(EINVAL, try_set(&view, big, big * 2, NULL, 0));
	FAILS(EINVAL, try_set(&view, PAGE, ~0ull - 4095, NULL, 0));
	FAILS(EINVAL, try_set(&view, 0, UNIT, &ok, DAXVIEW_PIECES_MAX + 1));
	FAILS(EFAULT, try_set(&view, 0, UNIT, nowhere, 1));
	piece.device = big;
	FAILS(ERANGE, try_set(&view, 0, UNIT, &piece, 1));
	piece.device = ~0ull - 4095;
	FAILS(ERANGE, try_set(&view, 0, UNIT, &piece, 1));
	piece.device = 512ul << 20;
	FAILS(ERANGE, try_set(&view, 0, UNIT, &piece, 1));
	piece = (struct daxview_piece){ .length = 1ull << 40 };
	FAILS(ERANGE, try_set(&view, 0, 1ull << 40, &piece, 1));
	piece = (struct daxview_piece){ .offset = 100, .length = PAGE };
	FAILS(EINVAL, try_set(&view, 0, UNIT, &piece, 1));
	piece = (struct daxview_piece){ .length = PAGE, .device = 100 };
	FAILS(ERANGE, try_set(&view, 0, UNIT, &piece, 1));
	struct daxview_piece twice[2] = { ok, ok };
	FAILS(EINVAL, try_set(&view, 0, 2 * UNIT, twice, 2));
	FAILS(EINVAL, busy(session, 0, 1ull << 50, 0));
	FAILS(EINVAL, busy(session, big, PAGE, 0));
	FAILS(EINVAL, busy(session, 0, 0, 0));
	FAILS(EINVAL, clean(&view, DAXVIEW_IOC_PROTECT, 0, UNIT, NULL));
	FAILS(EINVAL, clean(&view, DAXVIEW_IOC_SYNC, 3, UNIT, NULL));
	FAILS(ENOENT, answer(session, 12345, 0));
	FAILS(EINVAL, answer(session, 12345, 1 << 30));
	FAILS(EINVAL, read(session, &question, 3));
	wish.flags = 4;
	FAILS(EINVAL, ioctl(other, DAXVIEW_IOC_SESSION, &wish));
	wish.flags = 0;
	wish.device = -1;
	FAILS(EBADF, ioctl(other, DAXVIEW_IOC_SESSION, &wish));
	null = open("/dev/null", O_RDWR);
	wish.device = null;
	FAILS(EOPNOTSUPP, ioctl(other, DAXVIEW_IOC_SESSION, &wish));
	CHECK(wish.reason == DAXVIEW_REASON_DEVICE);
	wish.device = open(DEVICE, O_RDONLY);
	FAILS(EOPNOTSUPP, ioctl(other, DAXVIEW_IOC_SESSION, &wish));
	CHECK(wish.reason == DAXVIEW_REASON_READONLY);
	place(&view, (1ull << 50), UNIT, 0); /* far behind the end: no harm */
	CHECK(!try_set(&view, 0, 4 * UNIT, &ok, 1));
	CHECK(!setuid(1000));
	CHECK(open(DAXVIEW_PATH, O_RDWR) == -1);
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
	CHECK(!madvise(mapped + UNIT + 3 * PAGE, PAGE, MADV_HWPOISON));
	CHECK(load_fails(mapped + UNIT + 3 * PAGE) && signal_code == BUS_MCEERR_AR);
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
	CHECK(mapped[0] == 'u' && !munmap(mapped, 2 * UNIT));
	CHECK(!syscall(SYS_delete_module, "daxview", O_NONBLOCK));
}

/* ---- tails ----------------------------------------------------------------------------- */

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

static void append(const struct view *view, __u64 at, size_t length, char byte)
{
	char buffer[20000];

	memset(buffer, byte, length);
	CHECK(pwrite(view->fd, buffer, length, (off_t)at) == (ssize_t)length);
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
	append(&view, 0, 10, 'o'); /* over bytes of the file: the times alone */
	when = word_at(WORDS);
	CHECK(when && word_at(WORDS + 8) == when && !word_at(WORDS + 16));
	CHECK(!give_tail(&view, 1000, UNIT - 100));
	append(&view, 1000, 5000, 'a');
	CHECK(word_at(WORDS + 16) == 6000 && word_at(WORDS) > when);
	CHECK(all_are(1000, 6000, 'a') && all_are(6000, 2 * PAGE, 0));
	append(&view, 20001, 2, 'b'); /* behind a gap */
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
	append(&view, 100, 50, 'a');
	CHECK(memory[PAGE + 99] == 'f' && memory[PAGE + 100] == 'a' && !stat_of(&view).questions);
	CHECK(take_tail(&view) == 150);
	place(&view, 0, PAGE, PAGE);
	CHECK(mapped[149] == 'a');
	mapped[0] = 'm';
	faults = stat_of(&view).faults_page;
	CHECK(!ioctl(view.session, DAXVIEW_IOC_TAIL, &tail));
	append(&view, 150, 2 * PAGE - 150, 'b');
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
	append(&view, 0, 2 * PAGE, 'a');
	CHECK(load_fails(mapped + 2 * PAGE)); /* not in the file */
	CHECK(pread(view.fd, buffer, 1, PAGE) == 1 && *buffer == 'a');
	CHECK(!server.asked[DAXVIEW_ASK_READ] && !server.asked[DAXVIEW_ASK_WRITE]);
	CHECK(mapped[PAGE] == 0 && server.asked[DAXVIEW_ASK_READ] == 1); /* the server's piece */
	CHECK(!server.asked[DAXVIEW_ASK_EXTEND]);
	append(&view, 3 * PAGE - 3, 6, 'b'); /* half in the tail; the server says what is next */
	CHECK(server.asked[DAXVIEW_ASK_EXTEND] == 1 && word_at(WORDS + 16) == 3 * PAGE);
	CHECK(stat_of(&view).file_size == 3 * PAGE + 3);
	resize(&view, PAGE);
	CHECK(!give_tail(&view, PAGE, 3 * PAGE));
	append(&view, PAGE, 10, 'c');
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

/* A user's write asks for them to be taken away, once; root's does not. */
static void strips(void)
{
	struct view view = backwards(open_session(), 1);
	pthread_t thread = start_server(&view, 1);
	pid_t child;
	int status;

	set_privileged(&view, true);
	append(&view, 0, 10, 'r');
	CHECK(!server.asked[DAXVIEW_ASK_STRIP]);
	for (int i = 0; i < 2; i++) {
		child = fork();
		if (!child) {
			CHECK(!setgid(1000) && !setuid(1000));
			append(&view, 5, 10, 'u');
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
	append(&view, 0, PAGE + 1, 'a');
	CHECK(word_at(WORDS + 16) == PAGE + 1);
	CHECK(!open_session_with(DAXVIEW_ADOPT, "test", &view.session));
	CHECK(stat_of(&view).file_size == PAGE + 1);
	thread = start_server(&view, 1);
	append(&view, PAGE + 1, 1, 'b');
	CHECK(server.asked[DAXVIEW_ASK_EXTEND] == 1 && word_at(WORDS + 16) == PAGE + 1);
	stop_server(thread);
}

/* ---- everything at once ---------------------------------------------------------------- */

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

/* ioctls with arguments that nobody means. */
static void fuzz(void)
{
	static const unsigned long commands[] = {
		DAXVIEW_IOC_CREATE,  DAXVIEW_IOC_SET,     DAXVIEW_IOC_SET,    DAXVIEW_IOC_SYNC,
		DAXVIEW_IOC_PROTECT, DAXVIEW_IOC_BUSY,    DAXVIEW_IOC_REVOKE, DAXVIEW_IOC_ANSWER,
		DAXVIEW_IOC_STAT,    DAXVIEW_IOC_SESSION, DAXVIEW_IOC_TAIL,
	};
	static __u64 words[1024];
	int sessions[2] = { open_session(), open(DAXVIEW_PATH, O_RDWR) };
	struct view view = backwards(sessions[0], 8);
	double end = now() + seconds;
	unsigned long calls = 0, taken = 0;

	for (; now() < end || taken <= 100; calls++) {
		unsigned long command = commands[any(11)];
		unsigned int count = _IOC_SIZE(command) / 8;
		int session = sessions[any(8) == 0];

		for (unsigned int i = 0; i < 16; i++) {
			static const __u64 odd[] = { 0,     1,          PAGE,       UNIT,
						     ~0ull, 1ull << 63, 1ull << 40, 511 * UNIT };

			words[i] = any(3) ? odd[any(8)] : any(3) ? any(64) * PAGE : any(1 << 30);
		}
		words[0] = any(20) ? count * 8 : any(9000);
		words[0] |= (__u64)(any(10) ? 0 : any(8)) << 32;
		if (any(4))
			words[1] = view.number;
		if (command == DAXVIEW_IOC_SET && any(4)) {
			words[5] = (uintptr_t)(words + any(20));
			words[6] = any(3);
		}
		if (command == DAXVIEW_IOC_TAIL && any(4)) {
			words[4] = (uintptr_t)(words + any(20));
			words[5] = any(3);
		}
		if (command == DAXVIEW_IOC_BUSY)
			words[4] = any(3);
		if (command == DAXVIEW_IOC_CREATE)
			words[1] = any(100);
		if (!ioctl(session, command, words)) {
			taken++;
			if (command == DAXVIEW_IOC_CREATE)
				close((int)words[4]);
		}
		if (any(50) == 0)
			madvise(memory, UNIT, MADV_DONTNEED);
		if (any(1000) == 0) {
			close(view.fd);
			view = backwards(sessions[0], 8);
			(void)load_fails(map(&view, UNIT, SHARED));
		}
	}
	CHECK(calls > taken);
	printf("%lu calls, %lu of them taken\n", calls, taken);
}

static const struct {
	const char *name;
	void (*run)(void);
} scenarios[] = {
	{ "maps", maps },
	{ "edges", edges },
	{ "shapes", shapes },
	{ "private", private },
	{ "reads", reads },
	{ "holes", holes },
	{ "sizes", sizes },
	{ "read_times", read_times },
	{ "crossed", crossed },
	{ "relocates", relocates },
	{ "in_place", in_place },
	{ "protects", protects },
	{ "read_only", read_only },
	{ "closed", closed },
	{ "flushes", flushes },
	{ "stays_mapped", stays_mapped },
	{ "revokes", revokes },
	{ "revoked_in_use", revoked_in_use },
	{ "busy_pages", busy_pages },
	{ "adopted", adopted },
	{ "replaced", replaced },
	{ "bounds", bounds },
	{ "directed", directed },
	{ "tail", tail },
	{ "tail_of_a_page", tail_of_a_page },
	{ "tail_asks", tail_asks },
	{ "tail_bounds", tail_bounds },
	{ "strips", strips },
	{ "tail_races", tail_races },
	{ "tail_adopted", tail_adopted },
	{ "stress", stress },
	{ "fuzz", fuzz },
	{ "poison", poison },
	{ "unload", unload },
};

int main(int argc, char **argv)
{
	if (argc > 2)
		seconds = atoi(argv[2]);
	for (unsigned int i = 0; argc > 1 && i < sizeof(scenarios) / sizeof(*scenarios); i++) {
		if (strcmp(argv[1], scenarios[i].name))
			continue;
		open_device();
		catch_bus();
		scenarios[i].run();
		return 0;
	}
	return 2;
}
