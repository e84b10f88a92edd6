/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Of the room: what one check has learnt so far, and how its parts read, report
 * and store. The passes, in order (check.c):
 *
 *   super.c      superblocks; journal.c: live records
 *   chunk.c      where inodes are; inode.c, walk.c, xattr.c: each inode, and
 *                the space that it claims (space.c)
 *   space.c      unit words and bitmaps against the claims; from here on space
 *                can be allocated for repairs, and walk.c copies what is shared
 *   name.c       every name of every directory (bucket.c)
 *   connect.c    inodes without a name, or out of reach, go to lost+found
 *   rebuild.c    directories in which anything was wrong are written anew
 *   count.c      links, orphans; quota.c: projects; space.c once more
 *
 * The claims are the truth: unit words and bitmaps are made to follow them.
 */
#ifndef DAXFUSE_CHECK_STATE_H
#define DAXFUSE_CHECK_STATE_H

#include <errno.h>
#include <inttypes.h>

#include "daxfuse/base/bits.h"
#include "check.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/format.h"
#include "daxfuse/media/volume.h"

/* What is known of an inode. Low bits: DT_* of a valid inode, 0 of none. */
#define INODE_TYPE 0x0f
#define INODE_ORPHAN 0x10  /* may have no name */
#define INODE_NAMED 0x20   /* a name was found */
#define INODE_REACHED 0x40 /* a directory below the root */
#define INODE_ON_PATH 0x80 /* being looked at by connect.c; emitted by rebuild.c */

struct chunk_state {
	uint64_t offset;                  /* on media */
	uint8_t state[DXF_CHUNK_INODES];  /* INODE_* */
	uint32_t links[DXF_CHUNK_INODES]; /* links found less links said, modulo 2^32 */
};

/* Space of a directory: a bucket, or what only belongs to it. */
#define DIR_BLOCK_TABLE (UINT64_C(1) << 63)  /* a table, no bucket */
#define DIR_BLOCK_SHARED (UINT64_C(1) << 62) /* belongs to somebody else */
#define DIR_BLOCK_UNIT (UINT64_C(1) << 61)   /* a part of a unit */
#define DIR_BLOCK_CHAIN (UINT64_C(1) << 60)  /* continues the bucket before it */
#define DIR_BLOCK_INDEX (DIR_BLOCK_CHAIN - 1)
struct dir_block {
	uint64_t index;  /* of the bucket, and DIR_BLOCK_* */
	uint64_t offset; /* on media */
};

struct dir {
	uint32_t ino;
	uint32_t parent; /* as far as is known the right one */
	uint32_t project;
	bool rebuild;
	uint64_t buckets;            /* that it should have */
	uint64_t entries;            /* slots that it says it has */
	uint64_t held;               /* blocks it holds, without xattrs */
	size_t first, count;         /* of check.dir_block */
	size_t old_first, old_count; /* what it lay in before rebuild.c */
};

/* Space that two inodes use: the word that is to point to a copy. */
struct shared_space {
	uint32_t ino;
	uint64_t at; /* of the word, on media */
};

/* A directory that was found under another parent than it says. */
struct misplaced {
	uint32_t ino, found_in;
};

struct usage { /* of a project */
	uint32_t project;
	uint64_t blocks, inodes;
};

/* An array that grows. */
#define VECTOR(type)                \
	struct {                    \
		type *item;         \
		size_t count, room; \
	}
#define VECTOR_ADD(vector)                                                                     \
	((__typeof__((vector)->item))ck_vector_add((void **)&(vector)->item, &(vector)->count, \
						   &(vector)->room, sizeof(*(vector)->item)))

struct journal_view; /* what live records would change */

struct check {
	const struct pmem *pm;
	const struct check_options *options;
	struct check_result result;
	struct volume vol; /* only what journal.h needs: pm, super, journals */
	struct journal_view *view;
	bool hands_off; /* preen met what it must not repair */

	uint64_t units;
	uint8_t *unit_use;        /* enum dxf_unit_state that the claims make it */
	uint64_t (*block_use)[8]; /* claimed blocks */
	uint64_t cursor;          /* space before this unit is all taken */

	uint32_t chunks;
	struct chunk_state **chunk; /* NULL: there is none */
	VECTOR(struct dir) dirs;    /* by ino, but for lost+found if it was made */
	VECTOR(struct dir_block) dir_block;
	VECTOR(struct shared_space) shared;
	VECTOR(struct misplaced) misplaced;
	VECTOR(uint32_t) lost; /* inodes for lost+found */
	uint32_t lost_found;   /* inode, 0 = none yet */
	bool lost_found_made;  /* by this check, the root has no name for it yet */
	struct usage *usage;   /* a hash table */
	size_t usage_room, usage_count;
};

/* A new zeroed item, or NULL. */
void *ck_vector_add(void **item, size_t *count, size_t *room, size_t size);

/* ---- report ------------------------------------------------------------ */

/* Report; true: go and repair it. ino 0: about none. */
bool check_found(struct check *c, enum check_problem problem, uint64_t ino, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* A repair that check_found() has counted could not be made. */
void check_not_repaired(struct check *c);
/* Whether stores are allowed at all at this point. */
bool check_may_repair(const struct check *c);
void check_progress(const struct check *c, const char *what, uint64_t done, uint64_t total);

/* ---- media ------------------------------------------------------------- */

/* Read the pool as it would be after replay. -EIO: poison. */
errint_t check_read(struct check *c, void *dst, uint64_t offset, size_t length);
/* Durable when it returns; an aligned word. */
void check_store64(struct check *c, uint64_t offset, uint64_t value);
/* Durable when it returns; torn by a crash. Whole lines heal poison, where the
 * media can. */
void check_overwrite(struct check *c, uint64_t offset, const void *src, size_t length);
/* Durable when it returns, all or nothing; lengths and offsets are multiples of 8. */
errint_t check_commit(struct check *c, uint64_t offset, const void *src, size_t length);

/* super.c, journal.c */
errint_t ck_super_pass(struct check *c);
errint_t ck_journal_pass(struct check *c);
void ck_journal_view_free(struct journal_view *view);
/* Change bytes that were read at offset to those after replay. */
void ck_journal_view_apply(const struct journal_view *view, uint64_t offset, void *dst,
			   size_t length);

/* ---- space ------------------------------------------------------------- */

enum claim {
	CLAIM_OK,
	CLAIM_SHARED, /* another claimed it before */
	CLAIM_WRONG,  /* not a place for data */
};
errint_t ck_space_open(struct check *c);
void ck_space_close(struct check *c);
enum claim ck_space_claim_block(struct check *c, uint64_t offset);
enum claim ck_space_claim_unit(struct check *c, uint64_t offset, enum dxf_unit_state state);
void ck_space_release_block(struct check *c, uint64_t offset);
void ck_space_release_unit(struct check *c, uint64_t offset);
/* Unit words and bitmaps against the claims. quiet: only follow repairs. */
int ck_space_pass(struct check *c, bool quiet);
/* Claimed and marked on media. -ENOSPC. */
errint_t ck_space_take_block(struct check *c, uint64_t *ret_offset);
errint_t ck_space_take_unit(struct check *c, enum dxf_unit_state state, uint64_t *ret_offset);

/* ---- inodes ------------------------------------------------------------ */

errint_t ck_chunk_pass(struct check *c); /* finds the chunks */
/* A chunk's bitmaps, DXF_CHUNK_INODES / 64 words each; healed if poisoned. */
void ck_chunk_bitmaps(struct check *c, uint32_t index, uint64_t *ret_used, uint64_t *ret_orphan);
errint_t ck_inode_pass(struct check *c);                /* checks what is in them */
uint8_t *ck_inode_state(struct check *c, uint64_t ino); /* NULL: no such slot */
uint32_t *ck_inode_links(struct check *c, uint32_t ino);
uint64_t ck_inode_offset(struct check *c, uint32_t ino);
uint32_t ck_inode_crc_of(const struct dxf_inode *inode);
errint_t ck_inode_load(struct check *c, uint32_t ino, struct dxf_inode *ret_inode);
/* With a new CRC, all or nothing. */
errint_t ck_inode_store(struct check *c, struct dxf_inode *inode);
/* Take a slot out of use; its inode is not one. */
void ck_inode_clear(struct check *c, uint32_t ino);
/* Mark a slot in use; the inode in it is ready. */
void ck_inode_mark_used(struct check *c, uint32_t ino);
void ck_inode_mark_orphan(struct check *c, uint32_t ino, bool orphan);
errint_t ck_inode_free_slot(struct check *c, uint32_t *ret_ino);
/* An empty directory in that slot, below the root. */
errint_t ck_inode_make_directory(struct check *c, uint32_t ino, uint32_t mode);
/* Set a directory's parent on media. */
errint_t ck_inode_set_parent(struct check *c, uint32_t ino, uint32_t parent);
/* A repair gives a directory so many more children: change its links on media. */
errint_t ck_inode_add_links(struct check *c, uint32_t ino, int32_t links);

/* An inode under inspection: a copy, changed by repairs and stored at the end. */
struct subject {
	struct check *c;
	struct dxf_inode inode;
	uint32_t ino;
	bool changed;
	uint64_t blocks; /* held, as counted */
	uint64_t end;    /* blocks up to the end of file */
	bool truncating;
	bool tail;            /* somebody may have appended to it up to tail_size */
	uint64_t tail_end;    /* blocks up to there */
	uint64_t tail_blocks; /* held from `end` up to there */
	struct dir *dir;      /* a directory's record; its damage is left to rebuild.c */
};

errint_t ck_walk_data(struct subject *s);
errint_t ck_walk_shared_pass(struct check *c);
errint_t ck_xattr_check(struct subject *s);

/* ---- names ------------------------------------------------------------- */

struct dir *ck_dir_find(struct check *c, uint32_t ino);
struct dir *ck_dir_add(struct check *c, uint32_t ino);
errint_t ck_dir_add_block(struct check *c, struct dir *dir, uint64_t index, uint64_t offset);
/* Follow the blocks that continue a bucket and claim them. */
errint_t ck_dir_claim_chain(struct subject *s, uint64_t index, uint64_t offset);

/* The key that a name wants. */
uint64_t ck_name_hash(const struct check *c, const char *name, size_t length);
/* The bucket, of count, that a key belongs to. */
uint64_t ck_name_bucket(uint64_t key, uint64_t count);

/* A name in a directory. */
struct name {
	uint64_t key;
	uint64_t hash; /* that the key should be at; rebuild.c's */
	uint32_t ino;
	uint8_t type;
	uint8_t length;
	char text[DXF_NAME_MAX];
};
/*
 * Call fn for every name of dir that could be one, in the order of buckets, until it returns
 * non-zero. loud: report malformed names, and mark dir for rebuilding. *ret_slots: slots in use.
 */
typedef errint_t (*name_fn)(struct check *c, struct dir *dir, const struct name *name, void *arg);
errint_t ck_dir_for_each(struct check *c, struct dir *dir, bool loud, uint64_t *ret_slots,
			 name_fn fn, void *arg);
errint_t ck_name_pass(struct check *c);
errint_t ck_connect_pass(struct check *c);
errint_t ck_rebuild_pass(struct check *c);
/* How many slots a name takes. */
static inline unsigned ck_name_slots(unsigned length)
{
	return length <= DXF_SLOT_NAME ? 1
				       : 1 + (unsigned)div_round_up(length - DXF_SLOT_NAME,
								    sizeof(struct dxf_slot));
}

/* ---- counts ------------------------------------------------------------ */

errint_t ck_count_pass(struct check *c);
errint_t ck_quota_pass(struct check *c);
errint_t ck_usage_add(struct check *c, uint32_t project, int64_t blocks, int64_t inodes);

#endif
