/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the inodes are: the inode map, the chunks' headers and bitmaps.
 *
 * The map and the headers name each other, so either can be restored from the
 * other. A bitmap that is poisoned is rebuilt from the inodes themselves.
 */
#include <stdlib.h>
#include <string.h>

#include "state.h"
#include "daxfuse/base/errint.h"

#define MAP_AT_ONCE 512

uint8_t *ck_inode_state(struct check *c, uint64_t ino)
{
	uint64_t index = ino / DXF_CHUNK_INODES;

	if (index >= c->chunks || !c->chunk[index] || ino % DXF_CHUNK_INODES < DXF_CHUNK_FIRST)
		return NULL;
	return &c->chunk[index]->state[ino % DXF_CHUNK_INODES];
}

uint32_t *ck_inode_links(struct check *c, uint32_t ino)
{
	return &c->chunk[ino / DXF_CHUNK_INODES]->links[ino % DXF_CHUNK_INODES];
}

uint64_t ck_inode_offset(struct check *c, uint32_t ino)
{
	return c->chunk[ino / DXF_CHUNK_INODES]->offset + ino % DXF_CHUNK_INODES * DXF_INODE_SIZE;
}

static uint64_t map_offset(const struct check *c, uint32_t index)
{
	return c->vol.super.inode_map_offset + index * sizeof(uint64_t);
}

/* Whether the unit at offset can be chunk `index`, by its own header. */
static bool header_says(struct check *c, uint64_t offset, uint32_t *ret_index)
{
	uint32_t header[2];

	if (check_read(c, header, offset, sizeof(header)) != 0 || header[0] != DXF_CHUNK_MAGIC)
		return false;
	*ret_index = header[1];
	return true;
}

static uint64_t unit_word(struct check *c, uint64_t offset)
{
	uint64_t word;
	uint64_t at = c->vol.super.unit_offset + offset / DXF_UNIT_SIZE * sizeof(word);

	return check_read(c, &word, at, sizeof(word)) == 0 ? word : DXF_UNIT_FREE;
}

static errint_t accept_chunk(struct check *c, uint32_t index, uint64_t offset)
{
	c->chunk[index] = calloc(1, sizeof(*c->chunk[index]));
	if (!c->chunk[index])
		return -ENOMEM;
	c->chunk[index]->offset = offset;
	return 0;
}

/* Order: the whole first line, non-temporal, which heals poison; fence. */
static void write_header(struct check *c, uint64_t offset, uint32_t index)
{
	uint32_t line[16] = { DXF_CHUNK_MAGIC, index };

	check_overwrite(c, offset, line, sizeof(line));
}

/* Whether the header's own index is the better guess: the map has this chunk
 * there, too, or nothing. */
static bool belongs_elsewhere(struct check *c, uint64_t offset, uint32_t index)
{
	uint64_t word;

	return index < c->chunks && check_read(c, &word, map_offset(c, index), sizeof(word)) == 0 &&
	       (!word || word == offset);
}

static bool chunk_can_be(struct check *c, uint32_t index, uint64_t offset, bool *ret_named)
{
	const struct dxf_super *super = &c->vol.super;
	uint32_t says;
	bool has_header;

	if (!is_aligned(offset, DXF_UNIT_SIZE) || offset < super->data_offset ||
	    offset >= super->pool_size - DXF_UNIT_SIZE)
		return false;
	has_header = header_says(c, offset, &says);
	*ret_named = has_header && says == index;
	if (!*ret_named && ((has_header && belongs_elsewhere(c, offset, says)) ||
			    unit_word(c, offset) != DXF_UNIT_INODES))
		return false;
	return ck_space_claim_unit(c, offset, DXF_UNIT_INODES) == CLAIM_OK;
}

static errint_t check_map_word(struct check *c, uint32_t index, uint64_t offset)
{
	bool named;

	if (!chunk_can_be(c, index, offset, &named)) {
		if (check_found(c, CHECK_CHUNK_MAP, 0,
				"inode chunk %" PRIu32 " can't be at %" PRIu64, index, offset))
			check_store64(c, map_offset(c, index), 0);
		return 0;
	}
	if (!named && check_found(c, CHECK_CHUNK_HEADER, 0,
				  "inode chunk %" PRIu32 " has a wrong header", index))
		write_header(c, offset, index);
	return accept_chunk(c, index, offset);
}

static errint_t check_map(struct check *c)
{
	uint64_t words[MAP_AT_ONCE];
	int err = 0;

	for (uint32_t index = 0; !err && index < c->chunks; index += MAP_AT_ONCE) {
		uint32_t count = MIN(c->chunks - index, (uint32_t)MAP_AT_ONCE);

		if (check_read(c, words, map_offset(c, index), count * 8) != 0) {
			memset(words, 0, sizeof(words));
			if (check_found(c, CHECK_POISON, 0,
					"inode map from %" PRIu32 " on: poisoned", index))
				check_overwrite(c, map_offset(c, index), words, count * 8);
		}
		for (uint32_t i = 0; !err && i < count; i++)
			if (words[i])
				err = check_map_word(c, index + i, words[i]);
	}
	return err;
}

/* A unit that says it holds inodes, but the map doesn't know it. */
static errint_t check_stray(struct check *c, uint64_t unit)
{
	uint64_t offset = unit * DXF_UNIT_SIZE;
	uint32_t index;

	if (!header_says(c, offset, &index) || index >= c->chunks || c->chunk[index] ||
	    ck_space_claim_unit(c, offset, DXF_UNIT_INODES) != CLAIM_OK)
		return 0;
	if (check_found(c, CHECK_CHUNK_LOST, 0,
			"inode chunk %" PRIu32 " is at %" PRIu64 ", the inode map does not say so",
			index, offset))
		check_store64(c, map_offset(c, index), offset);
	return accept_chunk(c, index, offset);
}

static errint_t find_strays(struct check *c)
{
	uint64_t words[MAP_AT_ONCE];
	int err = 0;

	for (uint64_t unit = 0; !err && unit < c->units; unit += MAP_AT_ONCE) {
		uint64_t count = MIN(c->units - unit, (uint64_t)MAP_AT_ONCE);

		if (check_read(c, words, c->vol.super.unit_offset + unit * 8, count * 8) != 0)
			continue;
		for (uint64_t i = 0; !err && i < count; i++)
			if (words[i] == DXF_UNIT_INODES && c->unit_use[unit + i] == DXF_UNIT_FREE)
				err = check_stray(c, unit + i);
	}
	return err;
}

errint_t ck_chunk_pass(struct check *c)
{
	int err;

	c->chunk = calloc(c->chunks, sizeof(*c->chunk));
	if (!c->chunk)
		return -ENOMEM;
	err = check_map(c);
	return err ? err : find_strays(c);
}

/* ---- slots ---------------------------------------------------------------- */

static uint64_t bit_word(struct check *c, uint32_t ino, size_t bitmap)
{
	return c->chunk[ino / DXF_CHUNK_INODES]->offset + bitmap + ino % DXF_CHUNK_INODES / 64 * 8;
}

static void set_bit(struct check *c, uint32_t ino, size_t bitmap, bool value)
{
	uint64_t at = bit_word(c, ino, bitmap), word, mask = UINT64_C(1) << ino % 64;

	if (check_read(c, &word, at, sizeof(word)) == 0)
		check_store64(c, at, value ? word | mask : word & ~mask);
}

void ck_inode_clear(struct check *c, uint32_t ino)
{
	set_bit(c, ino, offsetof(struct dxf_chunk, used), false);
	set_bit(c, ino, offsetof(struct dxf_chunk, orphan), false);
}

void ck_inode_mark_used(struct check *c, uint32_t ino)
{
	set_bit(c, ino, offsetof(struct dxf_chunk, used), true);
}

void ck_inode_mark_orphan(struct check *c, uint32_t ino, bool orphan)
{
	set_bit(c, ino, offsetof(struct dxf_chunk, orphan), orphan);
}

static errint_t free_slot_of(struct check *c, uint32_t index, uint32_t *ret_ino)
{
	uint64_t used[DXF_CHUNK_INODES / 64];

	if (check_read(c, used, c->chunk[index]->offset + offsetof(struct dxf_chunk, used),
		       sizeof(used)) != 0)
		return -EIO;
	for (unsigned slot = DXF_CHUNK_FIRST; slot < DXF_CHUNK_INODES; slot++) {
		if (used[slot / 64] >> slot % 64 & 1)
			continue;
		*ret_ino = index * (uint32_t)DXF_CHUNK_INODES + slot;
		return 0;
	}
	return -ENOSPC;
}

errint_t ck_inode_free_slot(struct check *c, uint32_t *ret_ino)
{
	for (uint32_t index = 0; index < c->chunks; index++)
		if (c->chunk[index] && free_slot_of(c, index, ret_ino) == 0)
			return 0;
	return -ENOSPC;
}

/* ---- bitmaps -------------------------------------------------------------- */

/* The used bitmap as it must have been: a bit for each inode with a name. */
static void rebuild_used(struct check *c, uint32_t index, uint64_t *used)
{
	struct dxf_inode inode;

	memset(used, 0, DXF_CHUNK_INODES / 8);
	for (unsigned slot = DXF_CHUNK_FIRST; slot < DXF_CHUNK_INODES; slot++) {
		uint32_t ino = index * (uint32_t)DXF_CHUNK_INODES + slot;

		if (ck_inode_load(c, ino, &inode) == 0 && inode.magic == DXF_INODE_MAGIC &&
		    inode.ino == ino && inode.crc == ck_inode_crc_of(&inode) && inode.nlink)
			used[slot / 64] |= UINT64_C(1) << slot % 64;
	}
}

void ck_chunk_bitmaps(struct check *c, uint32_t index, uint64_t *ret_used, uint64_t *ret_orphan)
{
	uint64_t offset = c->chunk[index]->offset;

	if (check_read(c, ret_used, offset + offsetof(struct dxf_chunk, used),
		       DXF_CHUNK_INODES / 8) != 0) {
		rebuild_used(c, index, ret_used);
		if (check_found(c, CHECK_POISON, 0,
				"inode chunk %" PRIu32 ": poisoned bitmap of inodes in use", index))
			check_overwrite(c, offset + offsetof(struct dxf_chunk, used), ret_used,
					DXF_CHUNK_INODES / 8);
	}
	if (check_read(c, ret_orphan, offset + offsetof(struct dxf_chunk, orphan),
		       DXF_CHUNK_INODES / 8) != 0) {
		memset(ret_orphan, 0, DXF_CHUNK_INODES / 8);
		if (check_found(c, CHECK_POISON, 0,
				"inode chunk %" PRIu32 ": poisoned bitmap of orphans", index))
			check_overwrite(c, offset + offsetof(struct dxf_chunk, orphan), ret_orphan,
					DXF_CHUNK_INODES / 8);
	}
}
