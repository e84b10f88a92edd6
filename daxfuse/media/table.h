/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where an inode's data lies: entries in the inode itself, or a table of the
 * shape of a page table. All under the inode's lock (shared to look, exclusive
 * to change); an inode that is changed is a transaction's shadow. Formats
 * DXF_DATA_DIRECT and DXF_DATA_TABLE only. Block numbers count 4 KiB of the file.
 */
#ifndef DAXFUSE_MEDIA_TABLE_H
#define DAXFUSE_MEDIA_TABLE_H

#include "tx.h"
#include "daxfuse/base/errint.h"

/* Blocks of one kind, contiguous in the file and on the device. */
struct run {
	uint64_t count;  /* blocks, at least 1 */
	uint64_t offset; /* device offset of the first, bytes; 0 = hole */
	bool written;    /* otherwise it reads as zeroes */
	bool unit;       /* in a whole unit */
};

/* The run at block, at most max blocks of it. tx may be NULL. -EUCLEAN, -EIO. */
errint_t table_find(const struct volume *vol, struct tx *tx, const struct dxf_inode *inode,
		    uint64_t block, uint64_t max, struct run *ret_run);

/*
 * The word (in shadows) that maps block, made if need be: level 0 for a block
 * entry, level 1 for the entry of the whole aligned 2 MiB (a unit, or a table
 * of blocks, or a hole). -ENOSPC, -EFBIG, -EUCLEAN (also: level 0 asked where a
 * unit is), -EIO.
 */
errint_t table_word(struct tx *tx, struct dxf_inode *inode, unsigned level, uint64_t block,
		    uint64_t **ret_word);

/* The level-1 entry that covers block, or 0; DIRECT inodes have none. */
errint_t table_region(const struct volume *vol, struct tx *tx, const struct dxf_inode *inode,
		      uint64_t block, uint64_t *ret_entry);

/* Copies of the 512 block entries of block's 2 MiB region; a unit: -EEXIST. */
errint_t table_region_blocks(const struct volume *vol, struct tx *tx, const struct dxf_inode *inode,
			     uint64_t block, uint64_t *ret_entries);

/* Free the table of blocks behind a level-1 word whose blocks all have gone or
 * moved elsewhere, and clear the word. */
void table_drop_leaf(struct tx *tx, struct dxf_inode *inode, uint64_t *word);

/*
 * Free blocks [from, to), highest first, at most about budget of them;
 * *ret_done: all. A unit that lies in it in part is cut (unwritten from `from`
 * on) if its rest lies in it, and left alone otherwise.
 */
errint_t table_prune(struct tx *tx, struct dxf_inode *inode, uint64_t from, uint64_t to,
		     unsigned budget, bool *ret_done);

/* Whether an entry (not 0) may be followed: the right kind for a table of that
 * level, to space of the right state. The callers of table_word() check what they
 * find in level 0 words. */
bool table_entry_is_right(const struct volume *vol, struct tx *tx, uint64_t entry, int level);

/* More runs than that no file has; for walks over tables that may be malformed. */
uint64_t table_steps_max(const struct volume *vol, const struct dxf_inode *inode);

/* How many separate pieces the data has on the device. */
errint_t table_count_extents(const struct volume *vol, const struct dxf_inode *inode,
			     uint32_t *ret_count);

#endif
