/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/bench/aging/survey.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/bench/common/pool.h"

#define PIECE (UINT64_C(1) << 20)

static const struct fs_cred cred = { .umask = 022 };

static uint64_t free_bytes(const struct fs_space *space)
{
	return space->free_units * DXF_UNIT_SIZE + space->free_blocks * DXF_BLOCK_SIZE;
}

double survey_fullness(struct fs *fs)
{
	struct fs_space space;

	fs_get_space(fs, &space);
	return 1 - (double)free_bytes(&space) / (double)(space.units * DXF_UNIT_SIZE);
}

void survey_space(struct fs *fs, struct survey_space *ret_space)
{
	struct fs_space space;
	uint64_t best;

	fs_get_space(fs, &space);
	best = free_bytes(&space) / DXF_UNIT_SIZE;
	*ret_space = (struct survey_space){
		.fullness = survey_fullness(fs),
		.free_bytes = free_bytes(&space),
		.free_units = space.free_units,
		.broken_units = space.broken_units,
		.whole = best ? (double)space.free_units / (double)best : 1,
	};
}

static void large_name(uint64_t i, char *ret_name, size_t size)
{
	snprintf(ret_name, size, "large-%llu", (unsigned long long)i);
}

static uint64_t write_large(struct fs *fs, uint64_t i, uint64_t size, const char *piece)
{
	struct fs_attr attr;
	char name[32];

	large_name(i, name, sizeof(name));
	bench_check(fs_mknod(fs, &cred, DXF_ROOT_INO, name, S_IFREG | 0644, 0, &attr), "create");
	bench_check(fs_open(fs, attr.ino, O_RDWR, &attr), "open");
	for (uint64_t at = 0; at < size; at += PIECE) {
		ssize_t written = fs_write(fs, attr.ino, piece, PIECE, at, 0);

		bench_check(written < 0 ? written : written == PIECE ? 0 : -ENOSPC, "write");
	}
	fs_release(fs, attr.ino);
	return attr.ino;
}

static bool is_aligned_file(struct fs *fs, uint64_t ino, uint64_t size)
{
	for (uint64_t at = 0; at < size; at += DXF_UNIT_SIZE) {
		struct fs_iomap iomap;

		bench_check(fs_iomap(fs, ino, at, DXF_UNIT_SIZE, &iomap), "iomap");
		if (!iomap.unit || iomap.length != DXF_UNIT_SIZE ||
		    iomap.device_offset % DXF_UNIT_SIZE)
			return false;
	}
	return true;
}

void survey_large(struct fs *fs, uint64_t size, struct survey_large *ret_large)
{
	char *piece = calloc(1, PIECE);
	struct fs_space space;

	bench_check(piece ? 0 : -ENOMEM, "memory");
	*ret_large = (struct survey_large){ .size = size };
	/* One unit more than the data: the file's tables and its name. */
	for (fs_get_space(fs, &space); space.free_units > size / DXF_UNIT_SIZE;
	     fs_get_space(fs, &space)) {
		uint64_t ino = write_large(fs, ret_large->files++, size, piece);

		ret_large->aligned += is_aligned_file(fs, ino, size);
	}
	for (uint64_t i = 0; i < ret_large->files; i++) {
		struct fs_attr attr;
		char name[32];

		large_name(i, name, sizeof(name));
		bench_check(fs_lookup(fs, DXF_ROOT_INO, name, &attr), "lookup");
		bench_check(fs_unlink(fs, DXF_ROOT_INO, name), "unlink");
		fs_forget(fs, attr.ino);
	}
	free(piece);
}
