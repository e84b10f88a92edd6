/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What makes it hard for an allocator: STREAMS files grow at the same time, a
 * piece each in turn, as files of several programs do; a tenth of all steps
 * appends a little to an old file; some files are cut short; half of what is
 * removed is young, the rest of any age, so that old files pin what lies around
 * them.
 */
#include "tests/bench/aging/churn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/bench/aging/sizes.h"
#include "tests/bench/aging/survey.h"
#include "tests/bench/common/pool.h"
#include "tests/bench/common/random.h"

#define STREAMS 4
#define PIECE_MAX (UINT64_C(1) << 20)
#define APPEND_MAX (UINT64_C(64) << 10)
/* Steps between two looks at the fullness. */
#define LOOK 8

static const struct fs_request request = { .umask = 022 };

struct aged_file {
	uint64_t ino;
	uint64_t number; /* its name */
	uint64_t size;
};

struct stream {
	struct aged_file file;
	uint64_t target; /* size it grows to; 0 = no file */
	uint64_t piece;  /* bytes a write */
};

struct churn {
	struct fs *fs;
	uint64_t directory;
	uint64_t random;
	uint64_t size_cap;
	uint64_t next_number;
	struct stream streams[STREAMS];
	unsigned turn;
	struct aged_file *files; /* oldest first, roughly */
	uint64_t count, room;
	char *buffer; /* PIECE_MAX bytes */
	struct churn_totals totals;
};

struct churn *churn_new(struct fs *fs, unsigned number, uint64_t size_cap)
{
	struct churn *churn = calloc(1, sizeof(*churn));
	struct fs_attr attr;
	char name[16];

	bench_check(churn ? 0 : -ENOMEM, "memory");
	churn->fs = fs;
	churn->random = number + 1;
	churn->size_cap = size_cap;
	churn->buffer = calloc(1, PIECE_MAX);
	bench_check(churn->buffer ? 0 : -ENOMEM, "memory");
	snprintf(name, sizeof(name), "aged-%u", number);
	bench_check(fs_mkdir(fs, &request, DXF_ROOT_INO, name, 0755, &attr), "mkdir");
	churn->directory = attr.ino;
	return churn;
}

void churn_free(struct churn *churn)
{
	free(churn->files);
	free(churn->buffer);
	free(churn);
}

static void keep(struct churn *churn, const struct aged_file *file)
{
	if (churn->count == churn->room) {
		churn->room = churn->room ? 2 * churn->room : 1024;
		churn->files = reallocarray(churn->files, churn->room, sizeof(*churn->files));
		bench_check(churn->files ? 0 : -ENOMEM, "memory");
	}
	churn->files[churn->count++] = *file;
}

static void file_name(const struct aged_file *file, char *ret_name, size_t size)
{
	snprintf(ret_name, size, "%llx", (unsigned long long)file->number);
}

/* Returns whether all of it was written. */
static bool write_piece(struct churn *churn, struct aged_file *file, uint64_t bytes)
{
	ssize_t written = fs_write(churn->fs, NULL, file->ino, churn->buffer, bytes, file->size, 0);

	if (written == -ENOSPC)
		written = 0;
	bench_check(written, "write");
	file->size += (uint64_t)written;
	churn->totals.written += (uint64_t)written;
	if ((uint64_t)written == bytes)
		return true;
	churn->totals.refused++;
	return false;
}

static void start_stream(struct churn *churn, struct stream *stream)
{
	struct fs_attr attr;
	char name[24];
	int err;

	stream->file = (struct aged_file){ .number = churn->next_number++ };
	file_name(&stream->file, name, sizeof(name));
	err = fs_mknod(churn->fs, &request, churn->directory, name, S_IFREG | 0644, 0, &attr);
	if (err == -ENOSPC) {
		churn->totals.refused++;
		return;
	}
	bench_check(err, "create");
	bench_check(fs_open(churn->fs, attr.ino, O_RDWR, &attr), "open");
	stream->file.ino = attr.ino;
	stream->target = aging_size(&churn->random, churn->size_cap);
	stream->piece = PIECE_MAX >> (bench_random(&churn->random) % 6);
	churn->totals.created++;
}

static void grow_stream(struct churn *churn)
{
	struct stream *stream = &churn->streams[churn->turn++ % STREAMS];
	uint64_t left;

	if (!stream->target)
		start_stream(churn, stream);
	if (!stream->target)
		return;
	left = stream->target - stream->file.size;
	if (write_piece(churn, &stream->file, left < stream->piece ? left : stream->piece) &&
	    stream->file.size < stream->target)
		return;
	fs_release(churn->fs, stream->file.ino);
	keep(churn, &stream->file);
	stream->target = 0;
}

static void append_some(struct churn *churn)
{
	struct aged_file *file = &churn->files[bench_random(&churn->random) % churn->count];
	struct fs_attr attr;

	bench_check(fs_open(churn->fs, file->ino, O_RDWR, &attr), "open");
	write_piece(churn, file, 1 + bench_random(&churn->random) % APPEND_MAX);
	fs_release(churn->fs, file->ino);
	churn->totals.appended++;
}

static void truncate_some(struct churn *churn)
{
	struct aged_file *file = &churn->files[bench_random(&churn->random) % churn->count];
	struct fs_setattr set = { .valid = FS_SET_SIZE };
	struct fs_attr attr;

	set.size = bench_random(&churn->random) % (file->size + 1);
	bench_check(fs_setattr(churn->fs, file->ino, &set, &attr), "truncate");
	file->size = set.size;
	churn->totals.truncated++;
}

static void remove_some(struct churn *churn)
{
	uint64_t young = churn->count / 10 + 1;
	uint64_t victim = bench_random(&churn->random) & 1
				  ? churn->count - 1 - bench_random(&churn->random) % young
				  : bench_random(&churn->random) % churn->count;
	struct aged_file file = churn->files[victim];
	char name[24];

	file_name(&file, name, sizeof(name));
	bench_check(fs_unlink(churn->fs, NULL, churn->directory, name), "unlink");
	fs_forget(churn->fs, file.ino);
	/* The order of age may suffer by one file. */
	churn->files[victim] = churn->files[--churn->count];
	churn->totals.removed++;
}

void churn_run(struct churn *churn, double fullness, uint64_t bytes)
{
	uint64_t end = churn->totals.written + bytes;
	bool full = false;

	for (uint64_t step = 0; churn->totals.written < end; step++) {
		unsigned dice = (unsigned)(bench_random(&churn->random) % 100);

		if (step % LOOK == 0)
			full = survey_fullness(churn->fs) >= fullness;
		if (full && churn->count)
			remove_some(churn);
		else if (dice < 2 && churn->count)
			truncate_some(churn);
		else if (dice < 12 && churn->count)
			append_some(churn);
		else
			grow_stream(churn);
	}
}

void churn_add_totals(const struct churn *churn, struct churn_totals *totals)
{
	totals->written += churn->totals.written;
	totals->created += churn->totals.created;
	totals->appended += churn->totals.appended;
	totals->truncated += churn->totals.truncated;
	totals->removed += churn->totals.removed;
	totals->refused += churn->totals.refused;
	totals->files += churn->count;
	for (uint64_t i = 0; i < churn->count; i++)
		totals->bytes += churn->files[i].size;
	for (unsigned i = 0; i < STREAMS; i++)
		if (churn->streams[i].target)
			totals->bytes += churn->streams[i].file.size;
}
