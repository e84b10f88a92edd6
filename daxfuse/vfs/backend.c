/* SPDX-License-Identifier: BSD-3-Clause */
/* The filesystem as the mapping engine sees it (map/backend.h). */
#include "internal.h"
#include "daxfuse/base/errint.h"

/* From here on a unit that lies in blocks is worth a whole one (as core's growth). */
enum { WORTH_A_UNIT = 64 * 4096 };

static struct fs *fs_of(void *file)
{
	return ((struct vfs_file *)file)->vfs->config.fs;
}

static uint64_t ino_of(void *file)
{
	return ((struct vfs_file *)file)->ino;
}

static const struct pmem *pmem_of(void *pool)
{
	return fs_pmem(((struct vfs *)pool)->config.fs);
}

static uint64_t id(void *file)
{
	return ino_of(file);
}

static errint_t size(void *file, uint64_t *ret_size)
{
	struct fs_attr attr;
	int err = fs_getattr(fs_of(file), ino_of(file), &attr);

	if (!err)
		*ret_size = attr.size;
	return err;
}

/*
 * Core says what is in the file; a unit that is mapped whole goes on behind the end of the
 * file, where it holds zeroes (prepare_end_locked() in clients/layout.c) and is nobody else's.
 */
static void add_rest_of_unit(struct vfs_file *file, const struct fs_iomap *map, uint64_t length,
			     struct map_extent *extent)
{
	uint64_t end = extent->file_offset + extent->length, bytes;

	if (!map->unit || map->kind != FS_IOMAP_MAPPED || extent->length == length ||
	    size(file, &bytes) || end < bytes)
		return;
	end = MIN(round_up(end, MAP_UNIT_SIZE), extent->file_offset + length);
	extent->length = end - extent->file_offset;
}

/* Bytes that lie in the inode get a block of their own: these can't be mapped. */
static errint_t iomap(void *file, uint64_t offset, uint64_t length, struct map_extent *ret_extent)
{
	static const enum map_extent_kind kinds[] = {
		[FS_IOMAP_HOLE] = MAP_HOLE,
		[FS_IOMAP_UNWRITTEN] = MAP_UNWRITTEN,
		[FS_IOMAP_MAPPED] = MAP_MAPPED,
	};
	struct fs_iomap map;
	int err = fs_iomap(fs_of(file), ino_of(file), offset, length, &map);

	if (!err && map.kind == FS_IOMAP_MAPPED &&
	    (map.device_offset - offset) % MAP_PAGE_SIZE != 0) {
		err = fs_map_allocate(fs_of(file), ino_of(file), 0, MAP_PAGE_SIZE);
		if (!err)
			err = fs_iomap(fs_of(file), ino_of(file), offset, length, &map);
	}
	if (err)
		return err;
	*ret_extent = (struct map_extent){
		kinds[map.kind],
		map.file_offset,
		map.length,
		map.device_offset,
	};
	add_rest_of_unit(file, &map, length, ret_extent);
	return 0;
}

static errint_t allocate(void *file, uint64_t offset, uint64_t length)
{
	return fs_map_allocate(fs_of(file), ino_of(file), offset, length);
}

static errint_t promote(void *file, uint64_t offset)
{
	struct vfs_file *f = file;
	int err = fs_map_promote(fs_of(file), ino_of(file), offset);

	/* it has other blocks now: also where it is only to be loaded from */
	if (!err)
		f->vfs->config.forget(f->vfs->config.transport, f->ino, false);
	return err;
}

static errint_t zero(void *file, uint64_t offset, uint64_t length)
{
	return fs_map_zero(fs_of(file), ino_of(file), offset, length);
}

bool vfs_is_worth_a_unit(struct vfs_file *file, uint64_t unit)
{
	uint64_t used = 0;

	for (uint64_t at = unit; at < unit + MAP_UNIT_SIZE && used < WORTH_A_UNIT;) {
		struct fs_iomap map;

		if (fs_iomap(file->vfs->config.fs, file->ino, at, unit + MAP_UNIT_SIZE - at,
			     &map) ||
		    !map.length)
			return false;
		used += map.kind == FS_IOMAP_HOLE ? 0 : map.length;
		at += map.length;
	}
	return used >= WORTH_A_UNIT;
}

static bool is_worth(void *file, uint64_t offset)
{
	return vfs_is_worth_a_unit(file, offset);
}

static errint_t touch(void *file)
{
	return fs_map_touch(fs_of(file), ino_of(file));
}

/* Known bad ranges only: a range that turns bad later is the mapper's SIGBUS. */
static bool is_bad(void *pool, uint64_t device_offset, uint64_t length)
{
	return pmem_is_bad(pmem_of(pool), device_offset, length);
}

static void flush(void *pool, uint64_t device_offset, uint64_t length)
{
	const struct pmem *pm = pmem_of(pool);

	pmem_flush(pm, pmem_at(pm, device_offset), length);
	pmem_fence(pm);
}

static void release(void *pool, uint64_t device_offset, uint64_t length)
{
	fs_busy_clear(((struct vfs *)pool)->config.fs, device_offset, length);
}

const struct map_backend vfs_backend = {
	.size = size,
	.iomap = iomap,
	.allocate = allocate,
	.promote = promote,
	.zero = zero,
	.is_worth_a_unit = is_worth,
	.touch = touch,
	.is_bad = is_bad,
	.flush = flush,
	.release = release,
	.id = id,
};
