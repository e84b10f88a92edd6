/* SPDX-License-Identifier: BSD-3-Clause */
/* An empty pool in memory, opened as a volume, without the room that makes and
 * mounts filesystems: stored by hand, from the format. */
#ifndef DAXFUSE_TESTS_UNIT_MEDIA_POOL_H
#define DAXFUSE_TESTS_UNIT_MEDIA_POOL_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../one_cpu.h"
#include "daxfuse/media/alloc.h"
#include "daxfuse/media/ialloc.h"
#include "daxfuse/media/inode.h"
#include "daxfuse/media/journal.h"
#include "daxfuse/pmem/memory.h"

struct pool {
	struct pmem *pm;
	struct dxf_super super;
	struct volume *vol;
};

static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * UINT64_C(0x2545f4914f6cdd1d) >> 16;
}

static inline void pool_format(struct pool *pool, unsigned units)
{
	struct dxf_super *super = &pool->super;
	uint64_t *word, *map;
	struct dxf_chunk *chunk;

	assert_int_equal(pmem_memory_new(units * DXF_UNIT_SIZE, 0, &pool->pm), 0);
	memset(super, 0, sizeof(*super));
	memcpy(super->magic, DXF_MAGIC, sizeof(super->magic));
	super->version = DXF_VERSION;
	super->pool_size = units * DXF_UNIT_SIZE;
	super->generation = 1;
	super->root_ino = DXF_ROOT_INO;
	super->hash_seed = 7;
	super_layout(super);
	word = pmem_at(pool->pm, super->unit_offset);
	for (uint64_t i = 0; i < super->data_offset / DXF_UNIT_SIZE; i++)
		word[i] = DXF_UNIT_SYSTEM;
	word[units - 1] = DXF_UNIT_SYSTEM;
	word[super->data_offset / DXF_UNIT_SIZE] = DXF_UNIT_INODES;
	map = pmem_at(pool->pm, super->inode_map_offset);
	map[0] = super->data_offset;
	chunk = pmem_at(pool->pm, super->data_offset);
	chunk->magic = DXF_CHUNK_MAGIC;
	chunk->used[0] = UINT64_C(1) << DXF_ROOT_INO;
	super_store(pool->pm, super);
}

static inline void pool_open(struct pool *pool)
{
	unsigned replayed;

	assert_int_equal(volume_open(pool->pm, &pool->super, NULL, &pool->vol, &replayed), 0);
}

static inline void pool_make(struct pool *pool, unsigned units)
{
	stay_on_cpu();
	pool_format(pool, units);
	pool_open(pool);
}

static inline void pool_reopen(struct pool *pool)
{
	volume_close(pool->vol);
	pool_open(pool);
}

static inline void pool_free(struct pool *pool)
{
	volume_close(pool->vol);
	pmem_memory_free(pool->pm);
}

/* For tests that each begin with a pool of their own. */
static inline struct pool *pool_new(unsigned units)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	assert_non_null(pool);
	pool_make(pool, units);
	return pool;
}

static inline int pool_teardown(void **state)
{
	pool_free(*state);
	free(*state);
	return 0;
}

static inline struct tx *begin(struct pool *pool)
{
	struct tx *tx;

	assert_int_equal(tx_begin(pool->vol, &tx), 0);
	return tx;
}

static inline void commit(struct tx *tx)
{
	assert_int_equal(tx_commit(tx), 0);
}

/* 4 KiB blocks free in all, in whole units or not. */
static inline uint64_t free_space(struct pool *pool)
{
	struct alloc_space space;

	alloc_space(pool->vol, &space);
	return space.free_units * DXF_UNIT_BLOCKS + space.free_blocks;
}

static inline bool inode_is_used(struct pool *pool, uint32_t ino)
{
	struct dxf_inode *inode;

	return ialloc_inode(pool->vol, ino, &inode) == 0;
}

/* An inode of the given type in a transaction of its own. */
static inline struct dxf_inode *make_inode(struct pool *pool, uint32_t mode)
{
	struct tx *tx = begin(pool);
	struct dxf_inode *media, *di;
	uint32_t ino;

	assert_int_equal(ialloc_get(tx, false, &ino), 0);
	media = ialloc_slot(pool->vol, ino);
	di = tx_edit_inode(tx, media);
	memset(di, 0, sizeof(*di));
	di->magic = DXF_INODE_MAGIC;
	di->ino = ino;
	di->mode = mode;
	di->nlink = 1;
	commit(tx);
	assert_true(inode_is_valid(media, ino));
	return media;
}

static inline uint64_t take_block(struct pool *pool)
{
	struct tx *tx = begin(pool);
	uint64_t offset;

	assert_int_equal(alloc_blocks(tx, 1, &offset), 0);
	commit(tx);
	return offset;
}

static inline void give_block(struct pool *pool, uint64_t offset)
{
	struct tx *tx = begin(pool);

	free_block(tx, offset);
	commit(tx);
}

#endif
