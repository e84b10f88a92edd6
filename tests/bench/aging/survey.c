/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/bench/aging/survey.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/bench/common/pool.h"

#define PIECE (UINT64_C(1) << 20)

static const struct fs_request request = { .umask = 022 };

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

/* A block of a unit, as media says; taken if the unit holds no blocks. */
static bool is_free(const struct dxf_super *super, const struct pmem *pm, uint64_t unit,
		    uint64_t block)
{
	const uint64_t *words = pmem_at(pm, super->unit_offset);
	const uint64_t *bitmap = pmem_at(pm, super->bitmap_offset + unit * DXF_UNIT_BLOCKS / 8);

	if (words[unit] == DXF_UNIT_SPLIT)
		return !(bitmap[block / 64] >> block % 64 & 1);
	return words[unit] == DXF_UNIT_FREE;
}

/* Blocks in free runs of at least a unit's length. */
static uint64_t blocks_in_runs(struct fs *fs)
{
	const struct dxf_super *super = fs_super(fs);
	uint64_t units = super->pool_size / DXF_UNIT_SIZE, run = 0, sum = 0;

	for (uint64_t i = super->data_offset / DXF_BLOCK_SIZE; i < units * DXF_UNIT_BLOCKS; i++) {
		if (is_free(super, fs_pmem(fs), i / DXF_UNIT_BLOCKS, i % DXF_UNIT_BLOCKS)) {
			run++;
			continue;
		}
		sum += run >= DXF_UNIT_BLOCKS ? run : 0;
		run = 0;
	}
	return sum;
}

void survey_space(struct fs *fs, struct survey_space *ret_space)
{
	struct fs_space space;
	uint64_t best, runs = blocks_in_runs(fs);

	fs_get_space(fs, &space);
	best = free_bytes(&space) / DXF_UNIT_SIZE;
	*ret_space = (struct survey_space){
		.fullness = survey_fullness(fs),
		.free_bytes = free_bytes(&space),
		.free_units = space.free_units,
		.split_units = space.split_units,
		.whole_of_runs = runs ? (double)space.free_units * DXF_UNIT_BLOCKS / (double)runs
				      : 1,
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
	bench_check(fs_mknod(fs, &request, DXF_ROOT_INO, name, S_IFREG | 0644, 0, &attr), "create");
	bench_check(fs_open(fs, attr.ino, O_RDWR, &attr), "open");
	for (uint64_t at = 0; at < size; at += PIECE) {
		ssize_t written = fs_write(fs, NULL, attr.ino, piece, PIECE, at, 0);

		bench_check(written < 0 ? written : written == PIECE ? 0 : -ENOSPC, "write");
	}
	fs_release(fs, attr.ino);
	return attr.ino;
}

static void look_at_large(struct fs *fs, uint64_t ino, struct survey_large *large)
{
	bool aligned = true;
	uint64_t last = 0;

	for (uint64_t at = 0; at < large->size;) {
		struct fs_iomap iomap;

		bench_check(fs_iomap(fs, ino, at, DXF_UNIT_SIZE - at % DXF_UNIT_SIZE, &iomap),
			    "iomap");
		aligned = aligned && iomap.unit && iomap.length == DXF_UNIT_SIZE &&
			  iomap.device_offset % DXF_UNIT_SIZE == 0;
		large->extents += !at || iomap.device_offset != last;
		last = iomap.device_offset + iomap.length;
		at += iomap.length;
	}
	large->aligned += aligned;
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

		look_at_large(fs, ino, ret_large);
	}
	for (uint64_t i = 0; i < ret_large->files; i++) {
		struct fs_attr attr;
		char name[32];

		large_name(i, name, sizeof(name));
		bench_check(fs_lookup(fs, DXF_ROOT_INO, name, &attr), "lookup");
		bench_check(fs_unlink(fs, NULL, DXF_ROOT_INO, name), "unlink");
		fs_forget(fs, attr.ino);
	}
	free(piece);
}
