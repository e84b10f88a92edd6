/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/bench/aging/crowd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "daxfuse/base/bits.h"
#include "tests/bench/common/pool.h"
#include "tests/bench/common/random.h"

#define PIECE (UINT64_C(256) << 10)
#define SMALL_MAX (UINT64_C(128) << 10)

static const struct fs_request request = { .umask = 022 };

struct crowd_file {
	uint64_t ino;
	uint64_t number; /* its name */
	bool small;
};

struct crowd {
	struct fs *fs;
	uint64_t directory, random, next_number;
	struct crowd_file *files;
	uint64_t count, room;
	bool full;
	char *buffer; /* PIECE bytes */
};

static void file_name(const struct crowd_file *file, char *ret_name, size_t size)
{
	snprintf(ret_name, size, "%llx", (unsigned long long)file->number);
}

static void keep(struct crowd *crowd, const struct crowd_file *file)
{
	if (crowd->count == crowd->room) {
		crowd->room = crowd->room ? 2 * crowd->room : 1024;
		crowd->files = reallocarray(crowd->files, crowd->room, sizeof(*crowd->files));
		bench_check(crowd->files ? 0 : -ENOMEM, "memory");
	}
	crowd->files[crowd->count++] = *file;
}

/* ---- writing --------------------------------------------------------------- */

/* An open file; false: the pool is full. */
static bool create(struct crowd *crowd, bool small, struct crowd_file *ret_file)
{
	struct crowd_file file = { .number = crowd->next_number++, .small = small };
	struct fs_attr attr;
	char name[24];
	int err;

	file_name(&file, name, sizeof(name));
	err = fs_mknod(crowd->fs, &request, crowd->directory, name, S_IFREG | 0644, 0, &attr);
	crowd->full |= err == -ENOSPC;
	if (crowd->full)
		return false;
	bench_check(err, "create");
	bench_check(fs_open(crowd->fs, attr.ino, O_RDWR, &attr), "open");
	file.ino = attr.ino;
	keep(crowd, &file);
	*ret_file = file;
	return true;
}

/* At most PIECE bytes. */
static void append(struct crowd *crowd, const struct crowd_file *file, uint64_t at, uint64_t bytes)
{
	ssize_t written = fs_write(crowd->fs, NULL, file->ino, crowd->buffer, bytes, at, 0);

	bench_check(written == -ENOSPC ? 0 : written, "write");
	crowd->full |= written < (ssize_t)bytes;
}

static void write_small(struct crowd *crowd, uint64_t bytes)
{
	while (bytes && !crowd->full) {
		uint64_t size = MIN(1 + bench_random(&crowd->random) % SMALL_MAX, bytes);
		struct crowd_file file;

		if (!create(crowd, true, &file))
			break;
		append(crowd, &file, 0, size);
		fs_release(crowd->fs, file.ino);
		bytes -= size;
	}
}

/* One large file; with each piece of it, as many bytes of small ones. */
static void write_large(struct crowd *crowd, bool alone)
{
	uint64_t max = MAX(fs_super(crowd->fs)->pool_size / 128, 2 * DXF_UNIT_SIZE);
	uint64_t size = DXF_UNIT_SIZE + bench_random(&crowd->random) % (max - DXF_UNIT_SIZE);
	struct crowd_file file;

	if (!create(crowd, false, &file))
		return;
	for (uint64_t at = 0; at < size && !crowd->full; at += PIECE) {
		append(crowd, &file, at, MIN(PIECE, size - at));
		if (!alone)
			write_small(crowd, PIECE);
	}
	fs_release(crowd->fs, file.ino);
}

/* ---- removing -------------------------------------------------------------- */

static void drop(struct crowd *crowd, const struct crowd_file *file)
{
	char name[24];

	file_name(file, name, sizeof(name));
	bench_check(fs_unlink(crowd->fs, NULL, crowd->directory, name), "unlink");
	fs_forget(crowd->fs, file->ino);
}

static void thin(struct crowd *crowd, double share, bool small_only)
{
	uint64_t kept = 0;

	for (uint64_t i = 0; i < crowd->count; i++) {
		struct crowd_file *file = &crowd->files[i];
		double dice = (double)(bench_random(&crowd->random) >> 12) * 0x1p-52;

		if (dice < share && (file->small || !small_only))
			drop(crowd, file);
		else
			crowd->files[kept++] = *file;
	}
	crowd->count = kept;
	crowd->full = false;
}

/* ---- all of it ------------------------------------------------------------- */

struct crowd *crowd_new(struct fs *fs)
{
	struct crowd *crowd = calloc(1, sizeof(*crowd));
	struct fs_attr attr;

	bench_check(crowd ? 0 : -ENOMEM, "memory");
	crowd->fs = fs;
	crowd->random = 1;
	crowd->buffer = calloc(1, PIECE);
	bench_check(crowd->buffer ? 0 : -ENOMEM, "memory");
	bench_check(fs_mkdir(fs, &request, DXF_ROOT_INO, "crowd", 0755, &attr), "mkdir");
	crowd->directory = attr.ino;
	while (!crowd->full)
		write_large(crowd, false);
	thin(crowd, 0.75, true);
	while (!crowd->full)
		write_large(crowd, true);
	return crowd;
}

void crowd_thin(struct crowd *crowd, double share)
{
	thin(crowd, share, false);
}

void crowd_free(struct crowd *crowd)
{
	free(crowd->files);
	free(crowd->buffer);
	free(crowd);
}
