/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Poisoned pages, for the tests of this room: mapped from an empty file, so that a
 * touch is a SIGBUS, as the kernel answers where the media is bad.
 */
#ifndef DAXFUSE_TESTS_UNIT_CORE_POISON_H
#define DAXFUSE_TESTS_UNIT_CORE_POISON_H

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pool.h"

static inline void map_page(struct pool *pool, uint64_t offset, int fd, uint64_t at)
{
	offset -= offset % DXF_BLOCK_SIZE;
	assert_ptr_not_equal(mmap(pmem_at(pool->pm, offset), DXF_BLOCK_SIZE, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, fd, (off_t)at),
			     MAP_FAILED);
}

static inline void poison(struct pool *pool, uint64_t offset)
{
	int fd = memfd_create("poison", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pmem_poison_init(), 0); /* cmocka has put its own handler before */
	map_page(pool, offset, fd, 0);
	close(fd);
}

static inline void heal(struct pool *pool, uint64_t offset)
{
	map_page(pool, offset, pmem_memory_fd(pool->pm), offset - offset % DXF_BLOCK_SIZE);
}

static inline uint64_t device_offset(struct pool *pool, uint64_t ino, uint64_t at)
{
	struct fs_iomap map;

	assert_int_equal(fs_iomap(pool->fs, ino, at, 1, &map), 0);
	assert_int_equal(map.kind, FS_IOMAP_MAPPED);
	return map.device_offset;
}

/* An inode of the first chunk. */
static inline struct dxf_inode *media_inode(struct pool *pool, uint64_t ino)
{
	return pmem_at(pool->pm, fs_super(pool->fs)->data_offset + ino * DXF_INODE_SIZE);
}

#endif
