/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making an empty pool.
 *
 * Order: the old first superblock is wiped, fence; journals, unit words, maps, the first inode
 * chunk with the root, and the second superblock, which counts for nothing without a first one,
 * fence; the first one, fence. A mkfs that is interrupted leaves no superblock, or a pool.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <uuid/uuid.h>

#include "internal.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/media/ialloc.h"
#include "daxfuse/media/inode.h"

enum { STEP = 64 << 20, FILL_BYTE = 0xdb };

struct progress {
	const struct fs_format *format;
	uint64_t done, total;
};

static void advance(struct progress *p, uint64_t bytes)
{
	p->done += bytes;
	if (p->format->progress)
		p->format->progress(p->done, p->total, p->format->progress_arg);
}

static void zero(const struct pmem *pm, uint64_t offset, uint64_t bytes, struct progress *p)
{
	while (bytes) {
		uint64_t n = MIN(bytes, (uint64_t)STEP);

		pmem_zero_nt(pm, pmem_at(pm, offset), n);
		offset += n;
		bytes -= n;
		advance(p, n);
	}
}

static void fill(const struct pmem *pm, const struct dxf_super *super)
{
	char block[DXF_BLOCK_SIZE];

	memset(block, FILL_BYTE, sizeof(block));
	for (uint64_t at = super->data_offset; at < super->pool_size - DXF_UNIT_SIZE;
	     at += sizeof(block))
		pmem_copy_nt(pm, pmem_at(pm, at), block, sizeof(block));
}

static errint_t choose(struct dxf_super *super, const struct pmem *pm,
		       const struct fs_format *format)
{
	static const uint8_t none[16];

	memset(super, 0, sizeof(*super));
	memcpy(super->magic, DXF_MAGIC, sizeof(super->magic));
	super->version = DXF_VERSION;
	super->pool_size = pm->size / DXF_UNIT_SIZE * DXF_UNIT_SIZE;
	super->generation = 1;
	super->root_ino = DXF_ROOT_INO;
	super->created = format->now ? format->now : fs_clock();
	super->hash_seed = format->hash_seed;
	memcpy(super->uuid, format->uuid, sizeof(super->uuid));
	memcpy(super->label, format->label, sizeof(super->label) - 1);
	if (memcmp(format->uuid, none, sizeof(none)) == 0)
		uuid_generate(super->uuid);
	if (!super->hash_seed &&
	    getrandom(&super->hash_seed, sizeof(super->hash_seed), 0) != sizeof(super->hash_seed))
		return -EIO;
	super_layout(super);
	return 0;
}

static void store_words(const struct pmem *pm, const struct dxf_super *super, uint64_t chunk)
{
	uint64_t *word = pmem_at(pm, super->unit_offset);
	uint64_t units = super->pool_size / DXF_UNIT_SIZE, system = DXF_UNIT_SYSTEM;
	uint64_t inodes = DXF_UNIT_INODES;

	for (uint64_t i = 0; i < super->data_offset / DXF_UNIT_SIZE; i++)
		pmem_copy_nt(pm, &word[i], &system, 8);
	pmem_copy_nt(pm, &word[units - 1], &system, 8);
	pmem_copy_nt(pm, &word[chunk / DXF_UNIT_SIZE], &inodes, 8);
	pmem_copy_nt(pm, pmem_at(pm, super->inode_map_offset), &chunk, 8);
}

static void store_root(const struct pmem *pm, const struct dxf_super *super,
		       const struct fs_format *format, uint64_t chunk)
{
	struct dxf_chunk header = { .magic = DXF_CHUNK_MAGIC };
	struct dxf_inode root = {
		.magic = DXF_INODE_MAGIC,
		.ino = DXF_ROOT_INO,
		.generation = 1,
		.mode = S_IFDIR | 0755,
		.uid = format->root_uid,
		.gid = format->root_gid,
		.nlink = 2,
		.flags = format->dax ? DXF_FLAG_DAX : 0,
		.parent = DXF_ROOT_INO,
		.atime = super->created,
		.mtime = super->created,
		.ctime = super->created,
		.btime = super->created,
	};

	root.crc = inode_crc(&root);
	header.used[0] = UINT64_C(1) << DXF_ROOT_INO;
	pmem_copy_nt(pm, pmem_at(pm, chunk), &header, sizeof(header));
	pmem_copy_nt(pm, pmem_at(pm, chunk + DXF_ROOT_INO * DXF_INODE_SIZE), &root, sizeof(root));
}

errint_t fs_mkfs(const struct pmem *pm, const struct fs_format *format)
{
	static const struct fs_format defaults;
	struct progress progress = { .format = format ? format : &defaults };
	struct dxf_super super;
	uint64_t meta, maps;
	int err;

	format = progress.format;
	if (pm->size < DXF_POOL_MIN || pm->size > DXF_POOL_MAX)
		return -EINVAL;
	err = choose(&super, pm, format);
	if (err)
		return err;
	/* bitmaps need no zeroes: a unit's is written when the unit is split */
	meta = super.bitmap_offset;
	maps = super.data_offset - super.inode_map_offset;
	progress.total = meta + maps;
	pmem_zero_nt(pm, pmem_at(pm, 0), DXF_BLOCK_SIZE);
	pmem_fence(pm);
	if (format->fill_free)
		fill(pm, &super);
	zero(pm, 0, meta, &progress);
	zero(pm, super.inode_map_offset, maps, &progress);
	store_words(pm, &super, super.data_offset);
	store_root(pm, &super, format, super.data_offset);
	super_store(pm, &super);
	return 0;
}
