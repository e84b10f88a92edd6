/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each inode in use: its fields, then its data (walk.c) and its attributes
 * (xattr.c), which claim space.
 *
 * A slot that is no inode is cleared; its names go when names are looked at. One that is only wrong
 * in its checksum is kept: it is worth more than a blank.
 */
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "daxfuse/base/crc.h"
#include "state.h"
#include "daxfuse/base/errint.h"

uint32_t ck_inode_crc_of(const struct dxf_inode *inode)
{
	struct dxf_inode copy = *inode;
	size_t after = offsetof(struct dxf_inode, crc) + sizeof(copy.crc);
	uint32_t crc;

	/* the CRC itself and the times are left out, tail_size is there as 0 */
	copy.tail_size = 0;
	crc = crc32c(0, &copy, offsetof(struct dxf_inode, crc));
	crc = crc32c(crc, (char *)&copy + after, offsetof(struct dxf_inode, atime) - after);
	return crc32c(crc, &copy.btime, sizeof(copy) - offsetof(struct dxf_inode, btime));
}

errint_t ck_inode_load(struct check *c, uint32_t ino, struct dxf_inode *ret_inode)
{
	return check_read(c, ret_inode, ck_inode_offset(c, ino), sizeof(*ret_inode));
}

errint_t ck_inode_store(struct check *c, struct dxf_inode *inode)
{
	inode->crc = ck_inode_crc_of(inode);
	return check_commit(c, ck_inode_offset(c, inode->ino), inode, sizeof(*inode));
}

errint_t ck_inode_set_parent(struct check *c, uint32_t ino, uint32_t parent)
{
	struct dxf_inode inode;
	int err = ck_inode_load(c, ino, &inode);

	inode.parent = parent;
	return err ? err : ck_inode_store(c, &inode);
}

errint_t ck_inode_add_links(struct check *c, uint32_t ino, int32_t links)
{
	struct dxf_inode inode;
	int err = ck_inode_load(c, ino, &inode);

	inode.nlink += (uint32_t)links;
	return err ? err : ck_inode_store(c, &inode);
}

/* ---- fields --------------------------------------------------------------- */

static bool type_is_known(uint32_t mode)
{
	return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISFIFO(mode) ||
	       S_ISSOCK(mode) || S_ISCHR(mode) || S_ISBLK(mode);
}

/* Why the slot holds no inode, or NULL. */
static const char *reject(const struct subject *s)
{
	const struct dxf_inode *inode = &s->inode;

	if (inode->magic != DXF_INODE_MAGIC)
		return "no magic";
	if (inode->ino != s->ino)
		return "another inode's number";
	if (!type_is_known(inode->mode) || inode->mode > 0177777)
		return "impossible mode";
	if (inode->size > DXF_FILE_MAX)
		return "impossible size";
	if (inode->data_format > DXF_DATA_TABLE || inode->table_level > DXF_LEVEL_MAX)
		return "unknown data format";
	if (inode->data_format == DXF_DATA_INLINE && inode->size > DXF_INLINE_MAX)
		return "more inline data than fits";
	if (S_ISDIR(inode->mode) && inode->size % DXF_BLOCK_SIZE)
		return "a directory with part of a bucket";
	if (S_ISLNK(inode->mode) && (!inode->size || inode->size > DXF_BLOCK_SIZE))
		return "impossible length of a symlink";
	if (S_ISDIR(inode->mode) && inode->size && inode->data_format == DXF_DATA_INLINE)
		return "an inline directory";
	return NULL;
}

static void check_inline(struct subject *s)
{
	struct dxf_inode *inode = &s->inode;
	static const uint8_t none[DXF_INLINE_MAX];
	size_t size = inode->size;

	if (memcmp(inode->data + size, none, DXF_INLINE_MAX - size) == 0)
		return;
	if (check_found(s->c, CHECK_INODE_FIELD, s->ino, "bytes behind the inline data")) {
		memset(inode->data + size, 0, DXF_INLINE_MAX - size);
		s->changed = true;
	}
}

static void check_fields(struct subject *s)
{
	struct dxf_inode *inode = &s->inode;
	bool is_data = S_ISREG(inode->mode) || S_ISDIR(inode->mode) || S_ISLNK(inode->mode);

	if (inode->crc != ck_inode_crc_of(inode) &&
	    check_found(s->c, CHECK_INODE_CRC, s->ino, "wrong checksum"))
		s->changed = true;
	if ((inode->flags & ~DXF_FLAG_KNOWN) &&
	    check_found(s->c, CHECK_INODE_FIELD, s->ino, "unknown flags")) {
		inode->flags &= DXF_FLAG_KNOWN;
		s->changed = true;
	}
	if (!is_data && (inode->size || inode->data_format != DXF_DATA_INLINE) &&
	    check_found(s->c, CHECK_INODE_FIELD, s->ino, "a special file with data")) {
		inode->size = 0;
		inode->data_format = DXF_DATA_INLINE;
		memset(inode->data, 0, sizeof(inode->data));
		s->changed = true;
	}
	if (inode->data_format == DXF_DATA_INLINE && inode->size <= DXF_INLINE_MAX)
		check_inline(s);
}

/* It ends where the 2 MiB end that the end of the file lies in. */
static bool has_possible_tail(const struct dxf_inode *inode)
{
	return inode->tail_size >= inode->size &&
	       inode->tail_size <= round_down(inode->size, DXF_UNIT_SIZE) + DXF_UNIT_SIZE;
}

/* What a mount would not believe is ended as a mount would: the file stays as large as it was. Its
 * space may stay, too: it counts as not written. */
static void check_tail(struct subject *s)
{
	struct dxf_inode *inode = &s->inode;
	const char *why = NULL;

	if (!s->tail)
		return;
	if (!S_ISREG(inode->mode) || inode->data_format == DXF_DATA_INLINE)
		why = "a tail of what has no blocks";
	else if (s->truncating)
		why = "a tail of what is being truncated";
	else if (inode->tail_first > DXF_UNIT_BLOCKS)
		why = "a tail from an impossible block on";
	else if (!has_possible_tail(inode) || s->tail_blocks != s->tail_end - s->end)
		why = "a tail that has grown over what it does not have";
	if (!why || !check_found(s->c, CHECK_TAIL, s->ino, "%s", why))
		return;
	inode->flags &= ~DXF_FLAG_TAIL;
	inode->tail_first = 0;
	s->tail = false;
	s->changed = true;
}

/* An orphan has no name left, is being truncated, or has a tail. */
static void check_orphan(struct subject *s, bool orphan)
{
	struct check *c = s->c;
	bool should = s->inode.nlink == 0 || s->truncating || s->tail;

	if (orphan != should &&
	    check_found(c, CHECK_ORPHAN_BIT, s->ino,
			should ? "should be an orphan"
			       : "an orphan with links and nothing to complete"))
		ck_inode_mark_orphan(c, s->ino, should);
	if (should && c->options->settled)
		check_found(c, CHECK_ORPHAN, s->ino, "an orphan was left behind");
	c->result.orphans += should;
}

static errint_t open_directory(struct subject *s)
{
	struct dir *dir = ck_dir_add(s->c, s->ino);

	if (!dir)
		return -ENOMEM;
	dir->parent = s->inode.parent;
	dir->project = s->inode.project;
	dir->buckets = s->inode.size / DXF_BLOCK_SIZE;
	dir->entries = s->inode.entries;
	s->dir = dir;
	s->c->result.directories++;
	return 0;
}

static void check_blocks(struct subject *s)
{
	if (s->inode.blocks == s->blocks)
		return;
	if (check_found(s->c, CHECK_BLOCKS, s->ino, "holds %" PRIu64 " blocks, says %" PRIu64,
			s->blocks, s->inode.blocks)) {
		s->inode.blocks = s->blocks;
		s->changed = true;
	}
}

static void note_state(struct subject *s)
{
	uint8_t *state = ck_inode_state(s->c, s->ino);

	*state = (uint8_t)IFTODT(s->inode.mode);
	if (!s->inode.nlink)
		*state |= INODE_ORPHAN;
	*ck_inode_links(s->c, s->ino) = 0 - s->inode.nlink;
	s->c->result.inodes++;
}

/* Order: the whole slot, non-temporal, which heals poison; fence. */
static void wipe(struct check *c, uint32_t ino)
{
	static const struct dxf_inode none;

	check_overwrite(c, ck_inode_offset(c, ino), &none, sizeof(none));
}

static void reject_inode(struct check *c, uint32_t ino, bool poisoned, const char *why)
{
	if (!check_found(c, poisoned ? CHECK_POISON : CHECK_INODE, ino, "no inode: %s", why))
		return;
	ck_inode_clear(c, ino);
	if (poisoned)
		wipe(c, ino);
}

static errint_t check_inode(struct check *c, uint32_t ino, bool orphan)
{
	struct subject s = { .c = c, .ino = ino };
	int err = ck_inode_load(c, ino, &s.inode);
	const char *why = err ? "poisoned" : reject(&s);

	if (why) {
		reject_inode(c, ino, err != 0, why);
		return 0;
	}
	check_fields(&s);
	s.truncating = s.inode.flags & DXF_FLAG_TRUNCATING;
	s.tail = s.inode.flags & DXF_FLAG_TAIL;
	s.end = div_round_up(s.inode.size, DXF_BLOCK_SIZE);
	s.tail_end = s.end;
	if (s.tail && has_possible_tail(&s.inode))
		s.tail_end = div_round_up(s.inode.tail_size, DXF_BLOCK_SIZE);
	note_state(&s);
	if (S_ISDIR(s.inode.mode))
		err = open_directory(&s);
	if (!err)
		err = ck_walk_data(&s);
	if (s.dir)
		s.dir->held = s.blocks;
	if (!err)
		err = ck_xattr_check(&s);
	if (err)
		return err;
	check_blocks(&s);
	check_tail(&s);
	check_orphan(&s, orphan);
	err = ck_usage_add(c, s.inode.project, (int64_t)s.blocks, 1);
	if (!err && s.changed && check_may_repair(c))
		err = ck_inode_store(c, &s.inode);
	return err;
}

static errint_t check_chunk(struct check *c, uint32_t index)
{
	uint64_t used[DXF_CHUNK_INODES / 64], orphan[DXF_CHUNK_INODES / 64];
	uint32_t first = index * (uint32_t)DXF_CHUNK_INODES;
	int err = 0;

	ck_chunk_bitmaps(c, index, used, orphan);
	used[0] &= ~bits_mask(0, DXF_CHUNK_FIRST);
	for (unsigned w = 0; !err && w < DXF_CHUNK_INODES / 64; w++) {
		for (uint64_t left = orphan[w] & ~used[w]; left; left &= left - 1) {
			uint32_t ino = first + w * 64 + bits_first(left);

			if (check_found(c, CHECK_ORPHAN_BIT, ino, "an orphan that is not in use"))
				ck_inode_mark_orphan(c, ino, false);
		}
		for (uint64_t left = used[w]; !err && left; left &= left - 1) {
			unsigned bit = bits_first(left);

			err = check_inode(c, first + w * 64 + bit, orphan[w] >> bit & 1);
		}
	}
	return err;
}

/* ---- the root ------------------------------------------------------------- */

static bool is_root(struct check *c, const uint64_t *used)
{
	struct subject s = { .c = c, .ino = DXF_ROOT_INO };

	return used[0] >> DXF_ROOT_INO & 1 && ck_inode_load(c, DXF_ROOT_INO, &s.inode) == 0 &&
	       !reject(&s) && S_ISDIR(s.inode.mode);
}

/* Without a root nothing can be reached: an empty one, so that the files below the old one are
 * found in lost+found. */
static errint_t check_root(struct check *c)
{
	uint64_t used[DXF_CHUNK_INODES / 64], orphan[DXF_CHUNK_INODES / 64];

	if (!c->chunk[0]) {
		if (check_found(c, CHECK_ROOT, DXF_ROOT_INO, "the chunk of the root is gone"))
			check_not_repaired(c);
		c->hands_off = true;
		return 0;
	}
	ck_chunk_bitmaps(c, 0, used, orphan);
	if (is_root(c, used) ||
	    !check_found(c, CHECK_ROOT, DXF_ROOT_INO, "there is no root directory"))
		return 0;
	return ck_inode_make_directory(c, DXF_ROOT_INO, S_IFDIR | 0755);
}

errint_t ck_inode_make_directory(struct check *c, uint32_t ino, uint32_t mode)
{
	struct dxf_inode old = { 0 };
	struct timespec now;
	struct dxf_inode inode = {
		.magic = DXF_INODE_MAGIC,
		.ino = ino,
		.mode = mode,
		.nlink = 2,
		.parent = DXF_ROOT_INO,
	};
	int err;

	if (ck_inode_load(c, ino, &old) != 0) {
		old.generation = 0;
		wipe(c, ino);
	}
	clock_gettime(CLOCK_REALTIME, &now);
	inode.generation = old.generation + 1;
	inode.btime = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
	inode.atime = inode.mtime = inode.ctime = inode.btime;
	err = ck_inode_store(c, &inode);
	if (!err) {
		ck_inode_mark_used(c, ino);
		ck_inode_mark_orphan(c, ino, false);
	}
	return err;
}

errint_t ck_inode_pass(struct check *c)
{
	int err = check_root(c);

	for (uint32_t index = 0; !err && index < c->chunks; index++) {
		check_progress(c, "inodes", index, c->chunks);
		if (c->chunk[index])
			err = check_chunk(c, index);
	}
	return err;
}
