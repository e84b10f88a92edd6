/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs that map files of a mount with kernel views, and know nothing of them.
 *
 *     viewed SCENARIO FOLDER
 */
#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/sendfile.h>

#include "program.h"

static long faults(void)
{
	struct rusage usage;

	CHECK(!getrusage(RUSAGE_SELF, &usage));
	return usage.ru_minflt + usage.ru_majflt;
}

static unsigned long touch(char *memory, size_t size)
{
	unsigned long sum = 0;

	for (size_t at = 0; at < size; at += PAGE)
		sum += *(volatile char *)(memory + at);
	return sum;
}

/* 16 MiB are 8 faults, and 8 more to store; reads see the stores, and mappings what is written. */
static void counts(void)
{
	int fd = make_file("file", 'a', SIZE);
	char *memory = map(fd, SIZE), word[3] = "";
	long before = faults();

	CHECK(touch(memory, SIZE) == SIZE / PAGE * 'a');
	CHECK(faults() - before == 8);
	before = faults();
	for (size_t at = 0; at < SIZE; at += PAGE)
		memory[at] = 'b';
	CHECK(faults() - before == 8);
	CHECK(pread(fd, word, 2, 5 * UNIT) == 2 && !strcmp(word, "ba"));
	CHECK(pwrite(fd, "zz", 2, 3 * UNIT + 1) == 2 && !memcmp(memory + 3 * UNIT, "bzza", 4));
}

/* A byte of each page in order, to be counted by the test: loads, or stores to holes. */
static void in_order(bool stores)
{
	int fd = open("file", O_RDWR | O_CREAT, 0600);
	char *memory;

	CHECK(fd >= 0 && !ftruncate(fd, 4 * SIZE));
	memory = map(fd, 4 * SIZE);
	for (size_t at = 0; at < 4 * SIZE; at += PAGE) {
		if (stores)
			memory[at] = 'o';
		else
			CHECK(memory[at] == 'o');
	}
}

static void stores_in_order(void)
{
	in_order(true);
}

static void loads_in_order(void)
{
	in_order(false);
}

/* The mapping is all that is left of the file; its memory is nobody else's. */
static void outlives_name(void)
{
	int fd = make_file("file", 'k', SIZE);
	char *memory = map(fd, SIZE);

	memory[0] = 'K';
	CHECK(!close(fd) && !unlink("file"));
	sleep(2); /* time to free it */
	for (int i = 0; i < 6; i++) {
		char name[16];

		sprintf(name, "other%d", i);
		close(make_file(name, 'o', SIZE));
	}
	CHECK(memory[0] == 'K' && is_all(memory + 1, 'k', SIZE - 1));
	memset(memory, 'm', SIZE);
	for (int i = 0; i < 6; i++) {
		char name[16];

		sprintf(name, "other%d", i);
		fd = open(name, O_RDWR);
		CHECK(is_all(map(fd, SIZE), 'o', SIZE));
		close(fd);
	}
	CHECK(is_all(memory, 'm', SIZE));
}

static void shrinks(void)
{
	int fd = make_file("file", 's', SIZE);
	char *memory = map(fd, SIZE);

	touch(memory, SIZE);
	CHECK(!ftruncate(fd, 3 * UNIT + PAGE + 5));
	CHECK(memory[3 * UNIT] == 's' && memory[3 * UNIT + PAGE + 4] == 's');
	CHECK(memory[3 * UNIT + PAGE + 5] == 0); /* the rest of the page */
	CHECK(load_fails(memory + 3 * UNIT + 2 * PAGE) && load_fails(memory + 7 * UNIT));
	memory[3 * UNIT + PAGE + 9] = 'x'; /* behind the end */
	close(make_file("other", 'o', 2 * SIZE));
	CHECK(!ftruncate(fd, SIZE));
	CHECK(memory[3 * UNIT + PAGE + 9] == 0 && is_all(memory + 4 * UNIT, 0, UNIT));
	CHECK(is_all(memory, 's', 3 * UNIT + PAGE + 5));
	memory[7 * UNIT] = 'y';
	CHECK(!fsync(fd) && memory[7 * UNIT] == 'y');
}

static void punches(void)
{
	int fd = make_file("file", 'p', SIZE);
	char *memory = map(fd, SIZE), word[2];

	touch(memory, SIZE);
	CHECK(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, UNIT, 2 * UNIT));
	CHECK(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * UNIT + PAGE, PAGE));
	CHECK(is_all(memory + UNIT, 0, 2 * UNIT) && is_all(memory + 5 * UNIT + PAGE, 0, PAGE));
	CHECK(memory[UNIT - 1] == 'p' && memory[3 * UNIT] == 'p' && memory[5 * UNIT + 8191] == 0);
	CHECK(memory[5 * UNIT + 8192] == 'p');
	memory[UNIT + 77] = 'q';
	memory[5 * UNIT + PAGE] = 'q';
	CHECK(pread(fd, word, 2, UNIT + 76) == 2 && word[0] == 0 && word[1] == 'q');
	CHECK(pwrite(fd, "w", 1, 2 * UNIT + 5) == 1 && memory[2 * UNIT + 5] == 'w');
}

/* A sparse file gets memory where it is stored to; a small one is mapped, too, and grows. */
static void grows(void)
{
	int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
	struct stat stat;
	char *memory;

	CHECK(fd >= 0 && !ftruncate(fd, SIZE));
	memory = map(fd, 2 * SIZE);
	CHECK(is_all(memory, 0, SIZE) && load_fails(memory + SIZE));
	memory[3 * UNIT + 3] = 'g';
	CHECK(!fstat(fd, &stat) && stat.st_blocks >= 8 && stat.st_blocks < 8192);
	CHECK(pwrite(fd, "tail", 4, SIZE + 10) == 4);
	CHECK(!memcmp(memory + SIZE + 10, "tail", 4) && load_fails(memory + SIZE + PAGE));
	close(fd);
	fd = make_file("small", 'x', 100);
	memory = map(fd, PAGE);
	memory[0] = 'y';
	memory[200] = 'z'; /* behind the end: not in the file */
	CHECK(pwrite(fd, "tail", 4, 300) == 4 && memory[200] == 0 && memory[99] == 'x');
	CHECK(!fstat(fd, &stat) && stat.st_size == 304);
}

static bool has_aged(int fd, struct stat *last)
{
	struct stat before = *last;

	CHECK(!fstat(fd, last) && last->st_mtim.tv_nsec == last->st_ctim.tv_nsec);
	return last->st_mtim.tv_nsec != before.st_mtim.tv_nsec;
}

/* Stores move the time of change, loads do not; the first one, and the first after what was stored
 * has been flushed. */
static void ages(void)
{
	int fd = make_file("file", 'a', SIZE);
	const struct timespec old[2] = { { 1000, 0 }, { 1000, 0 } };
	char *memory = map(fd, SIZE);
	struct stat before, after;

	sleep(1);
	CHECK(!fstat(fd, &before));
	touch(memory, SIZE);
	CHECK(!fstat(fd, &after) && after.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
	memory[UNIT] = 1;
	CHECK(!fstat(fd, &after) && after.st_mtim.tv_sec >= before.st_mtim.tv_sec);
	CHECK(after.st_mtim.tv_nsec != before.st_mtim.tv_nsec && after.st_ctim.tv_sec);
	memory[UNIT] = 2;
	CHECK(!has_aged(fd, &after));
	CHECK(!msync(memory, SIZE, MS_SYNC) && !has_aged(fd, &after));
	memory[UNIT] = 3;
	CHECK(has_aged(fd, &after));
	CHECK(!fsync(fd) && !has_aged(fd, &after));
	memory[UNIT] = 4;
	CHECK(has_aged(fd, &after));
	CHECK(!fsync(fd) && !futimens(fd, old) && !fstat(fd, &after));
	CHECK(after.st_mtim.tv_sec == 1000);
	memory[UNIT] = 5;
	CHECK(has_aged(fd, &after) && after.st_mtim.tv_sec > 1000);
}

/* Takes what space was freed, and fills it. */
static void use_space(void)
{
	for (int i = 0; i < 3; i++) {
		char name[16];

		sprintf(name, "other%d", i);
		close(make_file(name, 'o', 2 * SIZE));
		unlink(name);
	}
	close(make_file("other", 'o', 2 * SIZE));
}

/* A page that is in a pipe leaves the file, and is given to nobody else. */
static void in_use(void)
{
	int fd = make_file("file", 'u', SIZE), pipes[2];
	char *memory = map(fd, SIZE), bytes[PAGE];
	struct iovec piece = { memory + UNIT, PAGE };

	CHECK(!pipe(pipes) && memory[UNIT] == 'u');
	CHECK(vmsplice(pipes[1], &piece, 1, 0) == (ssize_t)PAGE);
	CHECK(!ftruncate(fd, 0));
	use_space();
	CHECK(read(pipes[0], bytes, PAGE) == (ssize_t)PAGE && is_all(bytes, 'u', PAGE));
}

/* The same when nothing else is left of the file. */
static void in_use_alone(void)
{
	int fd = make_file("file", 'u', SIZE), pipes[2];
	char *memory = map(fd, SIZE), bytes[PAGE];
	struct iovec piece = { memory + UNIT, PAGE };

	CHECK(!pipe(pipes) && memory[UNIT] == 'u');
	CHECK(vmsplice(pipes[1], &piece, 1, 0) == (ssize_t)PAGE);
	CHECK(!munmap(memory, SIZE) && !close(fd) && !unlink("file"));
	sleep(1);
	use_space();
	CHECK(read(pipes[0], bytes, PAGE) == (ssize_t)PAGE && is_all(bytes, 'u', PAGE));
}

/* A reader through the page cache has the file open first: both see the same. */
static void beside_cache(void)
{
	int reader, fd = make_file("file", 'c', 5 * PAGE);
	char *cached, *memory, byte;

	close(fd);
	reader = open("file", O_RDONLY);
	cached = mmap(NULL, 5 * PAGE, PROT_READ, MAP_SHARED, reader, 0);
	CHECK(cached != MAP_FAILED && cached[0] == 'c');
	fd = open("file", O_RDWR);
	memory = map(fd, 5 * PAGE);
	memory[0] = 'd';
	CHECK(!msync(memory, 5 * PAGE, MS_SYNC));
	CHECK(pread(fd, &byte, 1, 0) == 1 && byte == 'd' && cached[0] == 'd');
	CHECK(!munmap(cached, 5 * PAGE) && !close(reader) && !munmap(memory, 5 * PAGE) &&
	      !close(fd));
	sleep(1);
	fd = open("file", O_RDWR);
	memory = map(fd, 5 * PAGE);
	reader = open("file", O_RDONLY);
	memory[1] = 'e';
	CHECK(pread(reader, &byte, 1, 1) == 1 && byte == 'e');
	cached = mmap(NULL, 5 * PAGE, PROT_READ, MAP_SHARED, reader, 0);
	memory[2] = 'f';
	CHECK(cached[2] == 'f' && memory[0] == 'd');
}

/* Each page of "file" by itself, twice; to be counted by the test. */
static void reads_all(void)
{
	int fd = open("file", O_RDONLY);
	char bytes[PAGE];

	CHECK(fd >= 0);
	for (size_t at = 0; at < 2 * SIZE; at += PAGE) {
		CHECK(pread(fd, bytes, PAGE, (off_t)(at % SIZE)) == (ssize_t)PAGE);
		CHECK(is_all(bytes, 'r', PAGE));
	}
}

/* All ways to read a file that is open for reading only; of a hole nothing becomes memory. */
static void reads(void)
{
	int fd = make_file("file", 'r', SIZE), reader = open("file", O_RDONLY), pipes[2];
	int direct = open("file", O_RDONLY | O_DIRECT), copy = make_file("copy", 'c', 1);
	static char bytes[2 * UNIT], aligned[PAGE] __attribute__((aligned(4096)));
	struct iovec pieces[2] = { { bytes, 3 }, { bytes + UNIT, UNIT } };
	struct stat before, after;
	off_t at = UNIT - 1;
	loff_t from = UNIT + 3;

	CHECK(reader >= 0 && direct >= 0 && !pipe(pipes));
	CHECK(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * UNIT, 2 * UNIT));
	CHECK(!fstat(fd, &before));
	CHECK(preadv(reader, pieces, 2, 2 * UNIT - 4) == (ssize_t)UNIT + 3);
	CHECK(is_all(bytes, 'r', 3) && bytes[UNIT] == 'r' && is_all(bytes + UNIT + 1, 0, UNIT - 1));
	CHECK(pread(reader, bytes, 2 * UNIT, 2 * UNIT) == (ssize_t)(2 * UNIT));
	CHECK(is_all(bytes, 0, 2 * UNIT));
	CHECK(pread(direct, aligned, PAGE, 5 * UNIT) == (ssize_t)PAGE &&
	      is_all(aligned, 'r', PAGE));
	CHECK(lseek(reader, 0, SEEK_HOLE) == 2 * (off_t)UNIT);
	CHECK(lseek(reader, 2 * UNIT, SEEK_DATA) == 4 * (off_t)UNIT);
	CHECK(lseek(reader, 0, SEEK_END) == (off_t)SIZE && read(reader, bytes, 1) == 0);
	CHECK(!fstat(fd, &after) && after.st_blocks == before.st_blocks);
	CHECK(sendfile(pipes[1], reader, &at, 9) == 9 && read(pipes[0], bytes, 9) == 9);
	CHECK(is_all(bytes, 'r', 9) && at == (off_t)UNIT + 8);
	CHECK(splice(reader, &from, pipes[1], NULL, 9, 0) == 9 && read(pipes[0], bytes, 9) == 9);
	CHECK(is_all(bytes, 'r', 9) && from == (loff_t)UNIT + 12);
	CHECK(copy_file_range(reader, &from, copy, NULL, 100, 0) == 100);
	CHECK(pwrite(fd, "end", 3, SIZE) == 3 && pread(reader, bytes, 9, SIZE) == 3);
	CHECK(!memcmp(bytes, "end", 3) && pread(reader, bytes, 9, SIZE + 3) == 0);
	CHECK(!ftruncate(fd, UNIT + 5) && pread(reader, bytes, UNIT, UNIT) == 5);
	CHECK(pread(reader, bytes, UNIT, 2 * UNIT) == 0);
	FAILS(EBADF, pwrite(reader, bytes, 1, 0));
}

/* Reads move the time of access as relatime says. */
static void ages_by_reads(void)
{
	int fd = make_file("file", 'a', SIZE), reader = open("file", O_RDONLY);
	int quiet = open("file", O_RDONLY | O_NOATIME);
	struct timespec times[2] = { { 1000, 0 }, { 0, UTIME_OMIT } };
	struct stat stat;
	char byte;

	CHECK(reader >= 0 && quiet >= 0 && pread(quiet, &byte, 1, 0) == 1);
	CHECK(!fstat(fd, &stat) && stat.st_atim.tv_sec <= stat.st_mtim.tv_sec);
	CHECK(!futimens(fd, times) && !fstat(fd, &stat) && stat.st_atim.tv_sec == 1000);
	CHECK(pread(quiet, &byte, 1, 0) == 1 && !fstat(fd, &stat) && stat.st_atim.tv_sec == 1000);
	CHECK(pread(reader, &byte, 1, 0) == 1 && !fstat(fd, &stat));
	CHECK(stat.st_atim.tv_sec >= stat.st_mtim.tv_sec);
	CHECK(pread(reader, &byte, 1, 0) == 1 && !futimens(fd, times));
	CHECK(!fstat(fd, &stat) && stat.st_atim.tv_sec == 1000);
	CHECK(pread(reader, &byte, 1, 0) == 1 && !close(reader) && !fstat(fd, &stat));
	CHECK(stat.st_atim.tv_sec >= stat.st_mtim.tv_sec);
}

static int run(char **argv)
{
	int status;
	pid_t child = fork();

	if (!child) {
		execvp(argv[0], argv);
		_exit(127);
	}
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* A program on the mount is executed, by a mapping of its file. */
static void runs(void)
{
	char *copy[] = { "cp", "/daxfuse/bin/viewed", "program", NULL };
	char *program[] = { "./program", "nothing", ".", NULL };
	char *memory;
	int fd;

	CHECK(!run(copy) && !chmod("program", 0755));
	fd = open("program", O_RDWR);
	memory = map(fd, PAGE);
	CHECK(memory[1] == 'E' && !munmap(memory, PAGE) && !close(fd));
	CHECK(run(program) == 2);
}

/* A page of memory fails: that page is lost to whoever has that file, and nothing else. */
static void fails(void)
{
	int fd = make_file("file", 'f', SIZE), beside = make_file("beside", 'b', SIZE);
	char *memory = map(fd, SIZE), *other = map(beside, SIZE), *page = memory + UNIT + 3 * PAGE;

	CHECK(touch(memory, SIZE) == SIZE / PAGE * 'f' && touch(other, SIZE) == SIZE / PAGE * 'b');
	*page = 'g';
	CHECK(!madvise(page, PAGE, MADV_HWPOISON));
	CHECK(load_fails(page) && bus_code == BUS_MCEERR_AR);
	CHECK(load_fails(page + PAGE - 1) && !load_fails(page - 1) && !load_fails(page + PAGE));
	for (size_t at = 0; at < SIZE; at += PAGE) {
		other[at] = 'c';
		if (memory + at != page)
			memory[at] = 'h';
	}
	CHECK(page[PAGE] == 'h' && page[-1] == 'f' && load_fails(page));
	CHECK(!msync(other, SIZE, MS_SYNC));
}

/* ---- while the daemon dies ------------------------------------------------------------------ */

/* Stores to holes through a mapping, all pages of a file, in any order: each was zero before, and
 * is seen afterwards. */
static void fill_holes(unsigned int *state)
{
	int fd = open("holes", O_RDWR | O_CREAT | O_TRUNC, 0600);
	unsigned long pages = SIZE / PAGE, step = number(state) % (pages / 2) * 2 + 1, value;
	char *memory;

	CHECK(fd >= 0 && !ftruncate(fd, SIZE));
	memory = map(fd, SIZE);
	for (unsigned long i = 0; i < pages; i++) {
		unsigned long *word = (unsigned long *)(memory + i * step % pages * PAGE);

		CHECK(word[0] == 0 && word[511] == 0);
		word[0] = word[511] = i + 1;
	}
	for (unsigned long i = 0; i < pages; i++) {
		unsigned long at = i * step % pages * PAGE;

		CHECK(*(unsigned long *)(memory + at) == i + 1);
		CHECK(pread(fd, &value, 8, at + PAGE - 8) == 8 && value == i + 1);
	}
	CHECK(!msync(memory, SIZE, MS_SYNC) && !munmap(memory, SIZE) && !close(fd));
}

/* Files that are made, mapped, and lose their names and open files before their mapping ends. */
static void outlive_names(unsigned int *state)
{
	char name[32], byte = 'a' + number(state) % 26;
	int fd;
	char *memory;

	sprintf(name, "short-lived-%u", number(state));
	fd = make_file(name, byte, UNIT + PAGE);
	memory = map(fd, UNIT + PAGE);
	memory[PAGE] = 'A';
	CHECK(!unlink(name) && !close(fd));
	CHECK(is_all(memory, byte, PAGE) && memory[PAGE] == 'A');
	CHECK(is_all(memory + PAGE + 1, byte, UNIT - 1));
	memory[UNIT] = 'B';
	CHECK(memory[UNIT] == 'B' && !munmap(memory, UNIT + PAGE));
}

static void change_all(unsigned int *state)
{
	int fd = open("changing", O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *flat = calloc(1, AREA), *bytes = malloc(AREA), *memory;
	size_t size = 0;

	CHECK(fd >= 0 && flat && bytes);
	memory = map(fd, AREA);
	for (int i = 0; i < 40; i++) {
		size = change(fd, memory, flat, size, state);
		CHECK(!memcmp(memory, flat, size));
		CHECK(pread(fd, bytes, AREA, 0) == (ssize_t)size && !memcmp(bytes, flat, size));
	}
	CHECK(!munmap(memory, AREA) && !close(fd));
	free(flat);
	free(bytes);
}

/* What readers know of a file that somebody changes. */
struct beside {
	atomic_uint turn; /* odd: it is being changed; 0: it is not there yet */
	atomic_bool ends;
	atomic_ulong size;
	char flat[AREA];
};

/* A read is compared if the file was not changed meanwhile; in any case it has bytes of no other
 * file. */
static void read_beside(struct beside *beside, unsigned int *state)
{
	int fd = open("beside", O_RDONLY);
	char *bytes = malloc(AREA);
	unsigned long compared = 0;

	CHECK(fd >= 0 && bytes);
	do {
		unsigned int turn = atomic_load(&beside->turn);
		size_t at = number(state) % AREA, most = 1 + number(state) % (AREA / 8);
		ssize_t n = pread(fd, bytes, most, (off_t)at);
		size_t size = atomic_load(&beside->size), left = at < size ? size - at : 0;
		bool same = n == (ssize_t)(left < most ? left : most) &&
			    !memcmp(bytes, beside->flat + at, (size_t)n);

		CHECK(n >= 0);
		for (ssize_t i = 0; i < n; i++)
			CHECK(!(bytes[i] & 128));
		if (turn % 2 || atomic_load(&beside->turn) != turn)
			continue;
		CHECK(same);
		compared++;
	} while (!atomic_load(&beside->ends) || !compared);
	_exit(0);
}

/* What is freed is another file's at once. */
static void take_space(int other, unsigned int *state)
{
	static char bytes[UNIT];

	memset(bytes, 0xee, UNIT);
	CHECK(!ftruncate(other, 0));
	CHECK(pwrite(other, bytes, UNIT, number(state) % 2 * UNIT) == (ssize_t)UNIT);
}

static void change_beside(struct beside *beside, int fd, unsigned int *state)
{
	int other = open("beside-other", O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *memory = map(fd, AREA);

	CHECK(other >= 0);
	for (int i = 0; i < 40; i++) {
		atomic_fetch_add(&beside->turn, 1);
		atomic_store(&beside->size,
			     change(fd, memory, beside->flat, atomic_load(&beside->size), state));
		atomic_fetch_add(&beside->turn, 1);
		if (i % 2)
			take_space(other, state);
	}
	CHECK(!munmap(memory, AREA) && !close(other));
}

/* Two programs read a file that a third one writes to, cuts, punches and stores to. */
static void readers_beside(unsigned int *state)
{
	struct beside *beside = mmap(NULL, sizeof(*beside), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = make_file("beside", 'b', AREA), status;
	pid_t reader[2];

	CHECK(beside != MAP_FAILED);
	memset(beside->flat, 'b', AREA);
	atomic_store(&beside->size, AREA);
	for (int i = 0; i < 2; i++) {
		reader[i] = fork();
		CHECK(reader[i] >= 0 && (reader[i] || !prctl(PR_SET_PDEATHSIG, SIGKILL)));
		if (!reader[i]) {
			*state += (unsigned int)i + 1;
			read_beside(beside, state);
		}
	}
	change_beside(beside, fd, state);
	atomic_store(&beside->ends, true);
	for (int i = 0; i < 2; i++)
		CHECK(waitpid(reader[i], &status, 0) == reader[i] && status == 0);
	CHECK(!close(fd) && !munmap(beside, sizeof(*beside)));
}

static void reads_beside_writer(void)
{
	unsigned int state = 5;

	for (int i = 0; i < 4; i++)
		readers_beside(&state);
}

/* A page is in a pipe, while its file is cut and its space is asked for. */
static void keep_in_use(unsigned int *state)
{
	int fd = make_file("piped", 'u', AREA), pipes[2];
	char *memory = map(fd, AREA), bytes[PAGE];
	struct iovec piece = { memory + number(state) % 512 * PAGE, PAGE };

	CHECK(!pipe(pipes) && memory[UNIT] == 'u' && *(char *)piece.iov_base == 'u');
	CHECK(vmsplice(pipes[1], &piece, 1, 0) == (ssize_t)PAGE);
	CHECK(!ftruncate(fd, 0));
	close(make_file("piped-other", 'o', 2 * AREA));
	usleep(100000);
	CHECK(read(pipes[0], bytes, PAGE) == (ssize_t)PAGE && is_all(bytes, 'u', PAGE));
	CHECK(!close(pipes[0]) && !close(pipes[1]) && !munmap(memory, AREA) && !close(fd));
	CHECK(!unlink("piped-other"));
}

static void (*const lasting[])(unsigned int *state) = {
	fill_holes, outlive_names, change_all, keep_in_use, readers_beside,
};

static void lasts(void)
{
	last(lasting, sizeof(lasting) / sizeof(*lasting), 0);
}

static const struct scenario scenarios[] = {
	{ "counts", counts },
	{ "outlives_name", outlives_name },
	{ "shrinks", shrinks },
	{ "punches", punches },
	{ "grows", grows },
	{ "ages", ages },
	{ "in_use", in_use },
	{ "in_use_alone", in_use_alone },
	{ "beside_cache", beside_cache },
	{ "runs", runs },
	{ "reads", reads },
	{ "ages_by_reads", ages_by_reads },
	{ "reads_beside_writer", reads_beside_writer },
};

/* Of which the test wants to see more than that they end. */
static const struct scenario others[] = {
	{ .name = "lasts", .run = lasts },
	{ .name = "reads_all", .run = reads_all },
	{ .name = "fails", .run = fails },
	{ .name = "stores_in_order", .run = stores_in_order },
	{ .name = "loads_in_order", .run = loads_in_order },
};

int main(int argc, char **argv)
{
	run_scenario(argc, argv, scenarios, sizeof(scenarios) / sizeof(*scenarios));
	run_scenario(argc, argv, others, sizeof(others) / sizeof(*others));
	return 2; /* there is no such scenario */
}
