/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/bench/aging/whole.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "daxfuse/base/bits.h"
#include "tests/bench/common/measure.h"
#include "tests/bench/common/pool.h"

typedef void (*file_fn)(struct fs *fs, uint64_t ino, uint64_t size, void *arg);

struct walk {
	struct fs *fs;
	file_fn fn;
	void *arg;
};

static int visit(const struct fs_dirent *entry, void *arg)
{
	struct walk *walk = arg;
	struct fs_attr attr;

	if (entry->name[0] == '.')
		return 0;
	if (entry->type == DT_DIR)
		return fs_readdir(walk->fs, entry->ino, 0, visit, walk);
	bench_check(fs_getattr(walk->fs, entry->ino, &attr), "getattr");
	if (attr.size >= DXF_UNIT_SIZE)
		walk->fn(walk->fs, entry->ino, attr.size, walk->arg);
	return 0;
}

static void walk_files(struct fs *fs, file_fn fn, void *arg)
{
	struct walk walk = { fs, fn, arg };

	bench_check(fs_readdir(fs, DXF_ROOT_INO, 0, visit, &walk), "readdir");
}

/* ---- looking --------------------------------------------------------------- */

struct look {
	uint64_t files, units, units_whole, bytes, bytes_whole;
	char *map;
};

static void map_units(struct fs *fs, char *map)
{
	static const char letters[] = {
		[DXF_UNIT_FREE] = '.',   [DXF_UNIT_DATA] = 'w',   [DXF_UNIT_SPLIT] = 'b',
		[DXF_UNIT_INODES] = 's', [DXF_UNIT_SYSTEM] = 's',
	};
	const struct dxf_super *super = fs_super(fs);
	const uint64_t *words = pmem_at(fs_pmem(fs), super->unit_offset);

	for (uint64_t i = 0; i < super->pool_size / DXF_UNIT_SIZE; i++)
		map[i] = words[i] < sizeof(letters) ? letters[words[i]] : '?';
}

static void look_at_extent(const struct fs_iomap *iomap, uint64_t length, struct look *look)
{
	if (iomap->kind == FS_IOMAP_HOLE)
		return;
	look->bytes += length;
	if (iomap->unit) {
		look->bytes_whole += length;
		return;
	}
	for (uint64_t at = iomap->device_offset; at < iomap->device_offset + iomap->length;
	     at += DXF_BLOCK_SIZE)
		look->map[at / DXF_UNIT_SIZE] = 'l';
}

static void look_at_file(struct fs *fs, uint64_t ino, uint64_t size, void *arg)
{
	struct look *look = arg;
	struct fs_iomap iomap;

	look->files++;
	for (uint64_t at = 0; at < size; at += iomap.length) {
		bench_check(fs_iomap(fs, ino, at, DXF_UNIT_SIZE - at % DXF_UNIT_SIZE, &iomap),
			    "iomap");
		look_at_extent(&iomap, MIN(iomap.length, size - at), look);
		if (at % DXF_UNIT_SIZE || at + DXF_UNIT_SIZE > size)
			continue;
		look->units++;
		look->units_whole += iomap.unit;
	}
}

static void add_number(struct json_object *object, const char *key, uint64_t number)
{
	json_object_object_add(object, key, json_object_new_uint64(number));
}

static struct json_object *look(struct fs *fs)
{
	struct json_object *object = json_object_new_object();
	struct look look = { .map = calloc(1, fs_super(fs)->pool_size / DXF_UNIT_SIZE + 1) };
	struct fs_space space;

	bench_check(look.map ? 0 : -ENOMEM, "memory");
	map_units(fs, look.map);
	walk_files(fs, look_at_file, &look);
	fs_get_space(fs, &space);
	add_number(object, "files", look.files);
	add_number(object, "units", look.units);
	add_number(object, "units_whole", look.units_whole);
	add_number(object, "bytes", look.bytes);
	add_number(object, "bytes_whole", look.bytes_whole);
	add_number(object, "free_units", space.free_units);
	add_number(object, "split_units", space.split_units);
	json_object_object_add(object, "map", json_object_new_string(look.map));
	free(look.map);
	return object;
}

/* ---- realigning ------------------------------------------------------------ */

struct realigned {
	uint64_t gathered, errors;
};

static void realign(struct fs *fs, uint64_t ino, uint64_t size, void *arg)
{
	struct realigned *realigned = arg;
	uint64_t offset = 0;

	(void)size;
	while (offset != UINT64_MAX) {
		bool moved;
		int err = fs_realign(fs, ino, &offset, &moved);

		bench_check(err == -ENOSPC ? 0 : err, "realign");
		realigned->gathered += !err && moved;
		realigned->errors += err == -ENOSPC;
	}
}

struct json_object *whole_realign(struct fs *fs)
{
	struct json_object *object = json_object_new_object();
	struct realigned realigned = { 0 };
	uint64_t start;

	json_object_object_add(object, "before", look(fs));
	start = bench_now();
	walk_files(fs, realign, &realigned);
	json_object_object_add(object, "seconds",
			       json_object_new_double((double)(bench_now() - start) / 1e9));
	json_object_object_add(object, "after", look(fs));
	add_number(object, "gathered", realigned.gathered);
	add_number(object, "errors", realigned.errors);
	return object;
}
