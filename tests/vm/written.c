/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs that write to files of a mount with kernel views, and know nothing of them: the files are
 * large when they are opened, so writes go to the memory itself.
 *
 *     written SCENARIO FOLDER
 */
#define _GNU_SOURCE
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>

#include "program.h"

static void *volatile nowhere = (void *)8;

/* A file of that size, open as flags say. */
static int open_large(const char *name, size_t size, int flags)
{
	int fd = make_file(name, 'w', size);

	CHECK(!close(fd));
	fd = open(name, flags);
	CHECK(fd >= 0);
	return fd;
}

static off_t size_of(int fd)
{
	struct stat stat;

	CHECK(!fstat(fd, &stat));
	return stat.st_size;
}

static void check_bytes(int fd, const char *flat, size_t size)
{
	char *bytes = malloc(size + 1);

	CHECK(pread(fd, bytes, size + 1, 0) == (ssize_t)size && !memcmp(bytes, flat, size));
	free(bytes);
}

/* All ways to write over bytes; mappings and other open files see them, holes become memory. */
static void overwrites(void)
{
	int fd = open_large("file", SIZE, O_RDWR), reader = open("file", O_RDONLY), pipes[2];
	int direct = open("file", O_WRONLY | O_DIRECT), other = make_file("other", 'o', UNIT);
	char *memory = map(fd, SIZE), *flat = malloc(SIZE);
	static char aligned[PAGE] __attribute__((aligned(4096)));
	struct iovec pieces[2] = { { "abc", 3 }, { flat, UNIT } };
	unsigned int state = 3;
	loff_t to = 3 * UNIT - 2;
	off_t from = 7;

	CHECK(direct >= 0 && reader >= 0 && !pipe(pipes));
	memset(flat, 'w', SIZE);
	for (int i = 0; i < 200; i++) {
		size_t at = number(&state) % SIZE, length = 1 + number(&state) % (UNIT / 4);

		length = at + length > SIZE ? SIZE - at : length;
		memset(flat + at, i & 127, length);
		CHECK(pwrite(fd, flat + at, length, (off_t)at) == (ssize_t)length);
		CHECK(memory[at] == (i & 127) && memory[at + length - 1] == (i & 127));
	}
	CHECK(pwritev(fd, pieces, 2, UNIT - 1) == (ssize_t)UNIT + 3);
	memmove(flat + UNIT + 2, flat, UNIT);
	memcpy(flat + UNIT - 1, "abc", 3);
	memset(aligned, 'd', PAGE);
	CHECK(pwrite(direct, aligned, PAGE, 5 * UNIT) == (ssize_t)PAGE);
	memset(flat + 5 * UNIT, 'd', PAGE);
	CHECK(write(pipes[1], "splice", 6) == 6);
	CHECK(splice(pipes[0], NULL, fd, &to, 6, 0) == 6);
	memcpy(flat + 3 * UNIT - 2, "splice", 6);
	CHECK(lseek(fd, 11, SEEK_SET) == 11 && sendfile(fd, other, &from, 9) == 9);
	memset(flat + 11, 'o', 9);
	CHECK(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 6 * UNIT, UNIT));
	memset(flat + 6 * UNIT, 0, UNIT);
	CHECK(pwrite(fd, "hole", 4, 6 * UNIT + PAGE - 2) == 4);
	memcpy(flat + 6 * UNIT + PAGE - 2, "hole", 4);
	memory[4 * UNIT] = flat[4 * UNIT] = 'm';
	check_bytes(fd, flat, SIZE);
	check_bytes(reader, flat, SIZE);
	CHECK(!memcmp(memory, flat, SIZE));
	CHECK(pwrite(fd, memory + UNIT, UNIT, 2 * UNIT + 5) == (ssize_t)UNIT); /* its own mapping */
	CHECK(!memcmp(memory + 2 * UNIT + 5, flat + UNIT, UNIT));
	FAILS(EFAULT, pwrite(fd, nowhere, 9, 0));
	CHECK(size_of(fd) == SIZE);
}

/* At the end, again and again: by O_APPEND, by offsets, and by two files in turns. */
static void appends(void)
{
	int fd = open_large("file", UNIT, O_RDWR), log = open("file", O_WRONLY | O_APPEND);
	int later = open("file", O_WRONLY), reader = open("file", O_RDONLY);
	char *flat = malloc(4 * SIZE), *memory = map(fd, 4 * SIZE);
	unsigned int state = 9;
	size_t size = UNIT;

	CHECK(log >= 0 && later >= 0 && reader >= 0);
	CHECK(fcntl(later, F_SETFL, O_APPEND) == 0);
	memset(flat, 'w', UNIT);
	for (int i = 0; i < 600; i++) {
		size_t length = 1 + number(&state) % (i % 50 ? 9000 : UNIT);
		int way = (int)(number(&state) % 3);

		memset(flat + size, i & 127, length);
		CHECK(way ? write(way == 1 ? log : later, flat + size, length) == (ssize_t)length
			  : pwrite(fd, flat + size, length, (off_t)size) == (ssize_t)length);
		size += length;
		CHECK(size_of(reader) == (off_t)size && lseek(fd, 0, SEEK_END) == (off_t)size);
		CHECK(memory[size - 1] == (i & 127));
	}
	check_bytes(reader, flat, size);
	CHECK(!memcmp(memory, flat, size));
	CHECK(load_fails(memory + ((size + PAGE) & ~(PAGE - 1))));
	CHECK(!fsync(log) && !msync(memory, size, MS_SYNC));
	for (int i = 0; i < 3; i++) { /* its own last bytes, which are mapped */
		size_t length = size % PAGE < 40 ? size % PAGE : 40;

		memcpy(flat + size, flat + size - length, length);
		CHECK(write(log, memory + size - length, length) == (ssize_t)length);
		size += length;
	}
	check_bytes(reader, flat, size);
}

/* Behind the end there are zeroes, whatever was stored there, and however far it is. */
static void gaps(void)
{
	int fd = open_large("file", UNIT + 100, O_RDWR);
	char *memory = map(fd, 8 * SIZE), *flat = calloc(1, 8 * SIZE);
	static const size_t at[] = { UNIT + 200,     UNIT + 5 * PAGE, 2 * UNIT - 3, 3 * UNIT,
				     5 * UNIT + 123, 5 * UNIT + 130,  8 * UNIT - 4, 6 * SIZE + 1 };
	size_t size = UNIT + 100;

	memset(flat, 'w', size);
	for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++) {
		if (size % PAGE)
			memory[size | (PAGE - 1)] = 'x'; /* in its page, behind the end */
		memcpy(flat + at[i], "words", 5);
		CHECK(pwrite(fd, "words", 5, (off_t)at[i]) == 5);
		size = at[i] + 5;
		CHECK(size_of(fd) == (off_t)size && !memcmp(memory, flat, size));
	}
	CHECK(!ftruncate(fd, SIZE + 1) && !ftruncate(fd, 2 * SIZE));
	memset(flat + SIZE + 1, 0, SIZE);
	check_bytes(fd, flat, 2 * SIZE);
}

/* Writes that are passed, and all that is not, in any order. */
static void changes(void)
{
	char *flat = calloc(1, 2 * AREA), *memory;
	unsigned int state = 21;
	struct stat stat;

	for (int round = 0; round < 4; round++) {
		int fd = open_large("changing", AREA, O_RDWR), other = open("changing", O_WRONLY);
		size_t size = AREA;

		memory = map(fd, AREA);
		memset(flat, 'w', AREA);
		for (int i = 0; i < 60; i++) {
			size = change(i % 3 ? fd : other, memory, flat, size, &state);
			CHECK(!memcmp(memory, flat, size));
			if (i % 8 == 0)
				CHECK(!fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, AREA + 3 * PAGE));
			if (i % 16 == 5)
				CHECK(!rename("changing", "renamed") &&
				      !link("renamed", "changing") && !unlink("renamed") &&
				      !fchmod(fd, 0600 | i));
			check_bytes(fd, flat, size);
		}
		CHECK(!unlink("changing"));
		CHECK(pwrite(other, "unlinked", 8, (off_t)size) == 8);
		memcpy(flat + size, "unlinked", 8);
		check_bytes(fd, flat, size + 8);
		CHECK(!fstat(fd, &stat) && stat.st_nlink == 0 && !close(fd) && !close(other));
		CHECK(!munmap(memory, AREA));
	}
}

/* A size limit, a device that is full: as much as fits is in the file, and the error is told. */
static void limits(void)
{
	const struct rlimit limit = { 3 * UNIT, 3 * UNIT };
	int fd = open_large("file", UNIT, O_RDWR | O_APPEND), status;
	char *bytes = calloc(1, UNIT);
	off_t size = UNIT;
	ssize_t n;
	pid_t child = fork();

	if (!child) {
		signal(SIGXFSZ, SIG_IGN);
		CHECK(!setrlimit(RLIMIT_FSIZE, &limit));
		CHECK(write(fd, bytes, UNIT) == (ssize_t)UNIT);
		CHECK(write(fd, bytes, UNIT - 7) == (ssize_t)UNIT - 7);
		CHECK(write(fd, bytes, 100) == 7);
		FAILS(EFBIG, write(fd, bytes, 1));
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0 && size_of(fd) == 3 * (off_t)UNIT);
	size = 3 * UNIT;
	while ((n = write(fd, bytes, UNIT - 11)) > 0)
		size += n;
	CHECK(n == -1 && errno == ENOSPC && size_of(fd) == size);
	CHECK(pread(fd, bytes, 9, size - 4) == 4);
	CHECK(!ftruncate(fd, size / 2));
	CHECK(write(fd, "again", 5) == 5 && size_of(fd) == size / 2 + 5);
}

static void set_flags(int fd, int flags)
{
	int old;

	CHECK(!ioctl(fd, FS_IOC_GETFLAGS, &old));
	flags |= old & ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
	CHECK(!ioctl(fd, FS_IOC_SETFLAGS, &flags));
}

/* Times move with each write; a user's write takes the set-user-ID bit away. */
static void attributes(void)
{
	int fd = open_large("file", UNIT, O_RDWR), log = open("file", O_WRONLY | O_APPEND), status;
	const struct timespec old[2] = { { 1000, 0 }, { 1000, 0 } };
	struct stat before, after;
	pid_t child;

	for (int i = 0; i < 4; i++) {
		CHECK(!futimens(fd, old) && !fstat(fd, &before) && before.st_mtim.tv_sec == 1000);
		CHECK(pwrite(fd, "t", 1, i < 2 ? 5 : (off_t)UNIT + i * PAGE) == 1);
		CHECK(!fstat(fd, &after) && after.st_mtim.tv_sec > 1000);
		CHECK(after.st_mtim.tv_sec == after.st_ctim.tv_sec &&
		      (after.st_ctim.tv_sec > before.st_ctim.tv_sec ||
		       after.st_ctim.tv_nsec > before.st_ctim.tv_nsec));
	}
	CHECK(after.st_blocks >= before.st_blocks && after.st_size == (off_t)UNIT + 3 * PAGE + 1);
	set_flags(fd, FS_IMMUTABLE_FL);
	FAILS(EPERM, pwrite(fd, "i", 1, 5));
	FAILS(EPERM, pwrite(fd, "i", 1, after.st_size));
	set_flags(log, FS_APPEND_FL);
	CHECK(write(log, "a", 1) == 1 && size_of(fd) == after.st_size + 1);
	set_flags(log, 0);
	CHECK(pwrite(fd, "i", 1, 5) == 1);
	CHECK(!fchown(fd, 1000, 1000) && !fchmod(fd, 06755));
	child = fork();
	if (!child) {
		CHECK(!setgid(1000) && !setuid(1000));
		CHECK(pwrite(fd, "u", 1, 9) == 1);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(!fstat(fd, &after) && (after.st_mode & 07777) == 0755);
}

/* ---- to be counted by the test -------------------------------------------------------------- */

static void written_over(void)
{
	int fd = open("file", O_WRONLY);
	char bytes[PAGE];

	CHECK(fd >= 0);
	memset(bytes, 'o', PAGE);
	for (size_t at = 0; at < 2 * SIZE; at += PAGE)
		CHECK(pwrite(fd, bytes, PAGE, (off_t)(at % SIZE)) == (ssize_t)PAGE);
}

static void appended(void)
{
	int fd = open("file", O_WRONLY | O_APPEND);
	char bytes[PAGE];

	CHECK(fd >= 0);
	memset(bytes, 'a', PAGE);
	for (size_t at = 0; at < 2 * SIZE; at += PAGE)
		CHECK(write(fd, bytes, PAGE) == (ssize_t)PAGE);
	CHECK(size_of(fd) == 3 * (off_t)SIZE);
}

/* ---- while the daemon dies ------------------------------------------------------------------ */

struct record {
	uint64_t who, number, inverse, rest[5];
};

static void append_records(unsigned int who, unsigned long count)
{
	int fd = open("log", O_WRONLY | O_APPEND);
	struct record record = { .who = who };

	CHECK(fd >= 0);
	for (unsigned long i = 1; i <= count; i++) {
		record.number = record.rest[4] = i;
		record.inverse = ~record.number;
		CHECK(write(fd, &record, sizeof(record)) == sizeof(record));
	}
	_exit(0);
}

/* What is in the file is whole, and of each writer in order; the last number of each. */
static void check_records(const struct record *record, size_t count, uint64_t last[2])
{
	last[0] = last[1] = 0;
	for (size_t i = 0; i < count; i++) {
		CHECK(record[i].who < 2 && record[i].number == last[record[i].who] + 1);
		CHECK(record[i].inverse == ~record[i].number &&
		      record[i].rest[4] == record[i].number);
		last[record[i].who]++;
	}
}

/* Two programs append to one file, whose size a third one looks at, and reads up to it. */
static void append_beside(unsigned int *state)
{
	enum { RECORDS = 3000 };
	int fd = open_large("log", UNIT, O_RDWR), status;
	struct record *records = malloc(2 * RECORDS * sizeof(*records));
	pid_t child[2];
	uint64_t last[2];
	ssize_t n;

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		child[i] = fork();
		CHECK(child[i] >= 0 && (child[i] || !prctl(PR_SET_PDEATHSIG, SIGKILL)));
		if (!child[i])
			append_records(i, RECORDS);
	}
	do {
		off_t size = size_of(fd);

		n = pread(fd, records, 2 * RECORDS * sizeof(*records), UNIT);
		CHECK(n >= size - (off_t)UNIT && n % sizeof(*records) == 0);
		check_records(records, n / sizeof(*records), last);
		usleep(number(state) % 20000);
	} while (last[0] + last[1] < 2 * RECORDS);
	for (int i = 0; i < 2; i++)
		CHECK(waitpid(child[i], &status, 0) == child[i] && status == 0);
	CHECK(!close(fd));
	free(records);
}

static void change_written(unsigned int *state)
{
	int fd = open_large("written", AREA, O_RDWR);
	char *flat = malloc(AREA), *bytes = malloc(AREA), *memory = map(fd, AREA);
	size_t size = AREA;

	memset(flat, 'w', AREA);
	for (int i = 0; i < 40; i++) {
		size = change(fd, memory, flat, size, state);
		CHECK(!memcmp(memory, flat, size));
		CHECK(pread(fd, bytes, AREA, 0) == (ssize_t)size && !memcmp(bytes, flat, size));
	}
	CHECK(!munmap(memory, AREA) && !close(fd));
	free(flat);
	free(bytes);
}

static void (*const lasting[])(unsigned int *state) = { append_beside, change_written };

static void lasts(void)
{
	last(lasting, sizeof(lasting) / sizeof(*lasting), 5);
}

static const struct scenario scenarios[] = {
	{ "overwrites", overwrites }, { "appends", appends }, { "gaps", gaps },
	{ "changes", changes },       { "limits", limits },   { "attributes", attributes },
};

/* Of which the test wants to see more than that they end. */
static const struct scenario others[] = {
	{ .name = "written_over", .run = written_over },
	{ .name = "appended", .run = appended },
	{ .name = "lasts", .run = lasts },
};

int main(int argc, char **argv)
{
	run_scenario(argc, argv, scenarios, sizeof(scenarios) / sizeof(*scenarios));
	run_scenario(argc, argv, others, sizeof(others) / sizeof(*others));
	return 2; /* there is no such scenario */
}
