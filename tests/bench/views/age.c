/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ages a mounted file system, of any kind, through ordinary calls: STREAMS files grow at the same
 * time, a piece each in turn, as files of several programs do; a tenth of all steps appends to an old
 * file; some are cut short; half of what is removed is young, the rest of any age.
 *
 *     bench-age FOLDER MIB WRITTEN-MIB SEED
 *
 * makes the folder, fills it with so many MiB of files, and keeps it so full until so many MiB are
 * written. What is done depends on the arguments only: how full it is is what the files would take,
 * not what the file system says, and calls that it refuses (ENOSPC) are counted, and not made up for.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/bench/aging/sizes.h"
#include "tests/bench/common/random.h"
#include "tests/support/check.h"

#define STREAMS 4
#define MIB (UINT64_C(1) << 20)
#define BLOCK UINT64_C(4096)
#define PIECE_MAX MIB
#define APPEND_MAX (UINT64_C(64) << 10)
/* A file is at most so much of all. */
#define SHARE_MAX 32

struct aged_file {
	uint64_t number; /* its name */
	uint64_t size;
};

struct stream {
	struct aged_file file;
	uint64_t target; /* size it grows to; 0 = no file */
	uint64_t piece;  /* bytes a write */
	int fd;
};

struct churn {
	uint64_t random, size_cap, next_number;
	struct stream streams[STREAMS];
	unsigned int turn;
	struct aged_file *files; /* oldest first, roughly */
	uint64_t count, room;
	uint64_t used; /* by all files, in whole blocks */
	char *buffer;  /* PIECE_MAX bytes */
	uint64_t written, appended, cut, removed, refused;
};

/* A call may fail for want of space only. */
static bool churn_done(struct churn *churn, int64_t result)
{
	CHECK(result >= 0 || errno == ENOSPC);
	churn->refused += result < 0;
	return result >= 0;
}

static uint64_t churn_dice(struct churn *churn, uint64_t sides)
{
	return bench_random(&churn->random) % sides;
}

static void set_size(struct churn *churn, struct aged_file *file, uint64_t size)
{
	churn->used -= (file->size + BLOCK - 1) / BLOCK * BLOCK;
	churn->used += (size + BLOCK - 1) / BLOCK * BLOCK;
	file->size = size;
}

static int open_aged(struct churn *churn, const struct aged_file *file, int flags)
{
	char name[24];
	int fd;

	snprintf(name, sizeof(name), "%" PRIx64, file->number);
	fd = open(name, O_RDWR | O_APPEND | flags, 0644);
	churn_done(churn, fd);
	return fd;
}

static void append(struct churn *churn, struct aged_file *file, int fd, uint64_t bytes)
{
	ssize_t done = fd < 0 ? 0 : write(fd, churn->buffer, bytes);

	if (churn_done(churn, done))
		churn->refused += (uint64_t)done < bytes;
	churn->written += bytes;
	set_size(churn, file, file->size + bytes);
}

static void close_aged(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void keep(struct churn *churn, const struct aged_file *file)
{
	if (churn->count == churn->room) {
		churn->room = churn->room ? 2 * churn->room : 1024;
		churn->files = reallocarray(churn->files, churn->room, sizeof(*churn->files));
		CHECK(churn->files);
	}
	churn->files[churn->count++] = *file;
}

static void grow_stream(struct churn *churn)
{
	struct stream *stream = &churn->streams[churn->turn++ % STREAMS];
	uint64_t left;

	if (!stream->target) {
		stream->file = (struct aged_file){ .number = churn->next_number++ };
		stream->target = aging_size(&churn->random, churn->size_cap);
		stream->piece = PIECE_MAX >> churn_dice(churn, 6);
		stream->fd = open_aged(churn, &stream->file, O_CREAT | O_EXCL);
	}
	left = stream->target - stream->file.size;
	append(churn, &stream->file, stream->fd, left < stream->piece ? left : stream->piece);
	if (stream->file.size < stream->target)
		return;
	close_aged(stream->fd);
	keep(churn, &stream->file);
	stream->target = 0;
}

static void append_some(struct churn *churn)
{
	struct aged_file *file = &churn->files[churn_dice(churn, churn->count)];
	int fd = open_aged(churn, file, 0);

	append(churn, file, fd, 1 + churn_dice(churn, APPEND_MAX));
	close_aged(fd);
	churn->appended++;
}

static void cut_some(struct churn *churn)
{
	struct aged_file *file = &churn->files[churn_dice(churn, churn->count)];
	uint64_t size = churn_dice(churn, file->size + 1);
	int fd = open_aged(churn, file, 0);
	struct stat st;

	/* It is shorter already if writes of it were refused. */
	if (fd >= 0 && !fstat(fd, &st) && (uint64_t)st.st_size > size)
		churn_done(churn, ftruncate(fd, (off_t)size));
	close_aged(fd);
	set_size(churn, file, size);
	churn->cut++;
}

static void remove_some(struct churn *churn)
{
	uint64_t young = churn->count / 10 + 1;
	uint64_t victim = churn_dice(churn, 2) ? churn->count - 1 - churn_dice(churn, young)
					       : churn_dice(churn, churn->count);
	struct aged_file file = churn->files[victim];
	char name[24];

	snprintf(name, sizeof(name), "%" PRIx64, file.number);
	/* It is not there if it was refused when it was to be created. */
	CHECK(!unlink(name) || errno == ENOENT);
	set_size(churn, &file, 0);
	/* The order of age may suffer by one file. */
	churn->files[victim] = churn->files[--churn->count];
	churn->removed++;
}

static void churn_run(struct churn *churn, uint64_t fill, uint64_t bytes)
{
	while (churn->written < bytes) {
		uint64_t dice = churn_dice(churn, 100);

		if (churn->used >= fill && churn->count)
			remove_some(churn);
		else if (dice < 2 && churn->count)
			cut_some(churn);
		else if (dice < 12 && churn->count)
			append_some(churn);
		else
			grow_stream(churn);
	}
}

int main(int argc, char **argv)
{
	struct churn churn = { 0 };
	uint64_t fill;

	if (argc != 5) {
		fprintf(stderr, "usage: bench-age FOLDER MIB WRITTEN-MIB SEED\n");
		return 2;
	}
	fill = strtoull(argv[2], NULL, 10) * MIB;
	churn.random = strtoull(argv[4], NULL, 10);
	churn.size_cap = fill / SHARE_MAX;
	churn.buffer = malloc(PIECE_MAX);
	CHECK(churn.buffer && memset(churn.buffer, 'a', PIECE_MAX));
	CHECK(!mkdir(argv[1], 0755) && !chdir(argv[1]));
	churn_run(&churn, fill, strtoull(argv[3], NULL, 10) * MIB);
	printf("{\"written\": %" PRIu64 ", \"used\": %" PRIu64 ", \"files\": %" PRIu64
	       ", \"created\": %" PRIu64 ", \"appended\": %" PRIu64 ", \"cut\": %" PRIu64
	       ", \"removed\": %" PRIu64 ", \"refused\": %" PRIu64 "}\n",
	       churn.written, churn.used, churn.count, churn.next_number, churn.appended, churn.cut,
	       churn.removed, churn.refused);
	return 0;
}
