/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Space: the claims of inodes, against unit words and bitmaps. One byte a unit, and one bit a block
 * of units in which blocks are claimed (memory of units that aren't is never touched).
 *
 * Claims are the truth. Once all are known, words and bitmaps follow them, and space for repairs is
 * taken from the rest; it is marked on media before anything points to it, so a crash loses space
 * but never gives it out twice.
 */
#include <stdlib.h>
#include <string.h>

#include "state.h"
#include "daxfuse/base/errint.h"

#define WORDS_AT_ONCE 512

errint_t ck_space_open(struct check *c)
{
	uint64_t first = c->vol.super.data_offset / DXF_UNIT_SIZE;

	c->unit_use = calloc(c->units, sizeof(*c->unit_use));
	c->block_use = calloc(c->units, sizeof(*c->block_use));
	if (!c->unit_use || !c->block_use)
		return -ENOMEM;
	memset(c->unit_use, DXF_UNIT_SYSTEM, first);
	c->unit_use[c->units - 1] = DXF_UNIT_SYSTEM;
	c->cursor = first;
	return 0;
}

void ck_space_close(struct check *c)
{
	free(c->unit_use);
	free(c->block_use);
}

static bool in_data_area(const struct check *c, uint64_t offset)
{
	return offset >= c->vol.super.data_offset &&
	       offset < c->vol.super.pool_size - DXF_UNIT_SIZE;
}

static uint64_t block_word(uint64_t offset)
{
	return offset / DXF_BLOCK_SIZE % DXF_UNIT_BLOCKS / 64;
}

static uint64_t block_bit(uint64_t offset)
{
	return UINT64_C(1) << offset / DXF_BLOCK_SIZE % 64;
}

enum claim ck_space_claim_block(struct check *c, uint64_t offset)
{
	uint64_t unit = offset / DXF_UNIT_SIZE, *word;

	if (!in_data_area(c, offset) || !is_aligned(offset, DXF_BLOCK_SIZE) ||
	    c->unit_use[unit] == DXF_UNIT_INODES)
		return CLAIM_WRONG;
	if (c->unit_use[unit] == DXF_UNIT_DATA)
		return CLAIM_SHARED;
	word = &c->block_use[unit][block_word(offset)];
	if (*word & block_bit(offset))
		return CLAIM_SHARED;
	c->unit_use[unit] = DXF_UNIT_SPLIT;
	*word |= block_bit(offset);
	return CLAIM_OK;
}

enum claim ck_space_claim_unit(struct check *c, uint64_t offset, enum dxf_unit_state state)
{
	uint8_t *use = &c->unit_use[offset / DXF_UNIT_SIZE % c->units];

	if (!in_data_area(c, offset) || !is_aligned(offset, DXF_UNIT_SIZE) ||
	    *use == DXF_UNIT_INODES)
		return CLAIM_WRONG;
	if (*use != DXF_UNIT_FREE)
		return CLAIM_SHARED;
	*use = (uint8_t)state;
	return CLAIM_OK;
}

void ck_space_release_block(struct check *c, uint64_t offset)
{
	c->block_use[offset / DXF_UNIT_SIZE][block_word(offset)] &= ~block_bit(offset);
}

void ck_space_release_unit(struct check *c, uint64_t offset)
{
	c->unit_use[offset / DXF_UNIT_SIZE] = DXF_UNIT_FREE;
}

/* ---- words and bitmaps ---------------------------------------------------- */

static uint64_t word_offset(const struct check *c, uint64_t unit)
{
	return c->vol.super.unit_offset + unit * sizeof(uint64_t);
}

static uint64_t bitmap_offset(const struct check *c, uint64_t unit)
{
	return c->vol.super.bitmap_offset + unit * sizeof(c->block_use[0]);
}

static unsigned count_bits(const uint64_t *have, const uint64_t *without)
{
	unsigned count = 0;

	for (unsigned i = 0; i < 8; i++)
		count += bits_count(have[i] & ~without[i]);
	return count;
}

/* The blocks of a unit that is split on media. */
static void check_bitmap(struct check *c, uint64_t unit, bool quiet)
{
	const uint64_t *use = c->block_use[unit];
	uint64_t media[8] = { 0 };
	unsigned lost, free;
	bool repair;

	if (check_read(c, media, bitmap_offset(c, unit), sizeof(media)) != 0) {
		repair = check_found(c, CHECK_POISON, 0, "unit %" PRIu64 ": poisoned bitmap", unit);
	} else {
		lost = count_bits(media, use);
		free = count_bits(use, media);
		if (!lost && !free)
			return;
		repair = quiet;
		if (!quiet && lost)
			repair = check_found(c, CHECK_BLOCK_LOST, 0,
					     "unit %" PRIu64 ": %u blocks are taken, but not used",
					     unit, lost);
		if (!quiet && free)
			repair = check_found(c, CHECK_BLOCK_FREE, 0,
					     "unit %" PRIu64 ": %u blocks are used, but not taken",
					     unit, free);
	}
	if (repair)
		check_overwrite(c, bitmap_offset(c, unit), use, sizeof(c->block_use[0]));
}

/* Order: the bitmap, which means nothing before; fence; the word. */
static void set_state(struct check *c, uint64_t unit)
{
	if (c->unit_use[unit] == DXF_UNIT_SPLIT)
		check_overwrite(c, bitmap_offset(c, unit), c->block_use[unit],
				sizeof(c->block_use[0]));
	check_store64(c, word_offset(c, unit), c->unit_use[unit]);
}

static void check_unit(struct check *c, uint64_t unit, uint64_t word, bool quiet)
{
	static const char *const name[] = { "free", "data", "split", "inodes", "system" };
	enum dxf_unit_state use = c->unit_use[unit];
	const char *says = word < ARRAY_SIZE(name) ? name[word] : "nonsense";
	bool repair = quiet;

	if (word == DXF_UNIT_SPLIT && (use == DXF_UNIT_SPLIT || use == DXF_UNIT_FREE)) {
		check_bitmap(c, unit, quiet);
		return;
	}
	if (word == use)
		return;
	if (!quiet && use == DXF_UNIT_FREE)
		repair = check_found(c, CHECK_UNIT_LOST, 0,
				     "unit %" PRIu64 " is not used, its word says %s", unit, says);
	else if (!quiet)
		repair = check_found(c, CHECK_UNIT_STATE, 0,
				     "unit %" PRIu64 " is used as %s, its word says %s", unit,
				     name[use], says);
	if (repair)
		set_state(c, unit);
}

static void count_use(struct check *c)
{
	struct check_result *result = &c->result;

	result->data_units = result->split_units = result->inode_units = result->blocks = 0;
	for (uint64_t unit = 0; unit < c->units; unit++) {
		static const uint64_t none[8];

		result->data_units += c->unit_use[unit] == DXF_UNIT_DATA;
		result->inode_units += c->unit_use[unit] == DXF_UNIT_INODES;
		if (c->unit_use[unit] == DXF_UNIT_SPLIT) {
			result->split_units++;
			result->blocks += count_bits(c->block_use[unit], none);
		}
	}
}

int ck_space_pass(struct check *c, bool quiet)
{
	uint64_t words[WORDS_AT_ONCE];

	for (uint64_t unit = 0; unit < c->units; unit += WORDS_AT_ONCE) {
		uint64_t count = MIN(c->units - unit, (uint64_t)WORDS_AT_ONCE);

		check_progress(c, "units", unit, c->units);
		if (check_read(c, words, word_offset(c, unit), count * 8) != 0) {
			if (!check_found(c, CHECK_POISON, 0,
					 "units from %" PRIu64 " on: poisoned words", unit))
				continue;
			memset(words, 0, sizeof(words));
			check_overwrite(c, word_offset(c, unit), words, count * 8);
		}
		for (uint64_t i = 0; i < count; i++)
			check_unit(c, unit + i, words[i], quiet);
	}
	count_use(c);
	return 0;
}

/* ---- taking --------------------------------------------------------------- */

static bool is_bad(const struct check *c, uint64_t offset, uint64_t length)
{
	for (size_t i = 0; i < c->pm->bad_count; i++) {
		const struct pmem_range *bad = &c->pm->bad[i];

		if (offset < bad->offset + bad->length && bad->offset < offset + length)
			return true;
	}
	return false;
}

static errint_t take_block_of(struct check *c, uint64_t unit, uint64_t *ret_offset)
{
	uint64_t offset = unit * DXF_UNIT_SIZE;

	for (unsigned i = 0; i < DXF_UNIT_BLOCKS; i++, offset += DXF_BLOCK_SIZE) {
		uint64_t *word = &c->block_use[unit][i / 64];

		if (*word & block_bit(offset) || is_bad(c, offset, DXF_BLOCK_SIZE))
			continue;
		*word |= block_bit(offset);
		if (c->unit_use[unit] == DXF_UNIT_FREE) {
			c->unit_use[unit] = DXF_UNIT_SPLIT;
			set_state(c, unit);
		} else {
			check_store64(c, bitmap_offset(c, unit) + i / 64 * 8, *word);
		}
		*ret_offset = offset;
		return 0;
	}
	return -ENOSPC;
}

/* A free unit may be marked as split on media: set_state() makes no difference. */
errint_t ck_space_take_block(struct check *c, uint64_t *ret_offset)
{
	for (; c->cursor < c->units; c->cursor++) {
		uint8_t use = c->unit_use[c->cursor];

		if ((use == DXF_UNIT_SPLIT || use == DXF_UNIT_FREE) &&
		    take_block_of(c, c->cursor, ret_offset) == 0)
			return 0;
	}
	return -ENOSPC;
}

errint_t ck_space_take_unit(struct check *c, enum dxf_unit_state state, uint64_t *ret_offset)
{
	for (uint64_t unit = c->units - 1; unit > 0; unit--) {
		uint64_t offset = unit * DXF_UNIT_SIZE;

		if (c->unit_use[unit] != DXF_UNIT_FREE || is_bad(c, offset, DXF_UNIT_SIZE))
			continue;
		c->unit_use[unit] = (uint8_t)state;
		set_state(c, unit);
		*ret_offset = offset;
		return 0;
	}
	return -ENOSPC;
}
