/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inodes that can't be reached from the root: inodes without a name, directories whose chain of
 * parents does not end at the root. They get a name in /lost+found, "#INODE"; its directory is
 * written by rebuild.c.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "state.h"
#include "daxfuse/base/errint.h"

static errint_t make_lost_found(struct check *c)
{
	uint32_t ino;
	int err = ck_inode_free_slot(c, &ino);

	if (!err)
		err = ck_inode_make_directory(c, ino, S_IFDIR | 0700);
	if (!err)
		err = ck_usage_add(c, 0, 0, 1);
	if (err)
		return err;
	if (!ck_dir_add(c, ino))
		return -ENOMEM;
	c->lost_found = ino;
	c->lost_found_made = true;
	ck_dir_find(c, ino)->parent = DXF_ROOT_INO;
	ck_dir_find(c, DXF_ROOT_INO)->rebuild = true;
	*ck_inode_state(c, ino) = DT_DIR | INODE_NAMED | INODE_REACHED;
	*ck_inode_links(c, ino) = 0;
	return ck_inode_add_links(c, DXF_ROOT_INO, 1);
}

/* Whether lost+found can take something. */
static bool have_lost_found(struct check *c)
{
	if (c->lost_found)
		return true;
	return make_lost_found(c) == 0;
}

static errint_t connect(struct check *c, uint32_t ino, const char *what)
{
	bool is_dir = (*ck_inode_state(c, ino) & INODE_TYPE) == DT_DIR;
	bool repair = check_found(c, CHECK_LOST, ino, "%s", what);
	uint32_t *lost;
	int err;

	if (repair && !have_lost_found(c)) {
		check_not_repaired(c);
		return 0;
	}
	if (!(*ck_inode_state(c, ino) & INODE_NAMED))
		*ck_inode_links(c, ino) += is_dir ? 2 : 1;
	*ck_inode_state(c, ino) |= INODE_NAMED;
	if (is_dir) /* without repair: as if it were in the root */
		ck_dir_find(c, ino)->parent = repair ? c->lost_found : DXF_ROOT_INO;
	if (!repair)
		return 0;
	lost = VECTOR_ADD(&c->lost);
	if (!lost)
		return -ENOMEM;
	*lost = ino;
	ck_dir_find(c, c->lost_found)->rebuild = true;
	if (!is_dir)
		return 0;
	err = ck_inode_set_parent(c, ino, c->lost_found);
	return err ? err : ck_inode_add_links(c, c->lost_found, 1);
}

/* A directory of a circle: its name goes when its parent is written anew. */
static errint_t connect_circle(struct check *c, uint32_t ino)
{
	uint32_t parent = ck_dir_find(c, ino)->parent;
	int err = connect(c, ino, "a directory in a circle");

	if (err || !check_may_repair(c) || ck_dir_find(c, ino)->parent == parent)
		return err;
	ck_dir_find(c, parent)->rebuild = true;
	return ck_inode_add_links(c, parent, -1);
}

/*
 * Where the path of parents from ino ends that does not end at a reached
 * directory: one without a name, or one of a circle. 0: it ends at a reached one.
 */
static uint32_t climb(struct check *c, uint32_t ino)
{
	for (;;) {
		uint8_t *state = ck_inode_state(c, ino);

		if (*state & INODE_REACHED)
			return 0;
		if (*state & INODE_ON_PATH || !(*state & INODE_NAMED))
			return ino;
		*state |= INODE_ON_PATH;
		ino = ck_dir_find(c, ino)->parent;
	}
}

static void leave_path(struct check *c, uint32_t ino)
{
	uint8_t *state = ck_inode_state(c, ino);

	while (*state & INODE_ON_PATH) {
		*state &= (uint8_t)~INODE_ON_PATH;
		ino = ck_dir_find(c, ino)->parent;
		state = ck_inode_state(c, ino);
	}
}

static void mark_reached(struct check *c, uint32_t ino)
{
	uint8_t *state = ck_inode_state(c, ino);

	while (!(*state & INODE_REACHED)) {
		*state |= INODE_REACHED;
		if (!(*state & INODE_NAMED))
			break;
		ino = ck_dir_find(c, ino)->parent;
		state = ck_inode_state(c, ino);
	}
}

static errint_t reach(struct check *c, size_t i)
{
	uint32_t ino = c->dirs.item[i].ino, top = climb(c, ino);
	uint8_t state = top ? *ck_inode_state(c, top) : 0;
	int err = 0;

	leave_path(c, ino);
	if (top && state & INODE_NAMED)
		err = connect_circle(c, top);
	else if (top && !(state & INODE_ORPHAN && !ck_dir_find(c, top)->entries))
		err = connect(c, top, "a directory without a name");
	if (!err)
		mark_reached(c, ino);
	return err;
}

static errint_t connect_files(struct check *c, uint32_t index)
{
	int err = 0;

	for (unsigned slot = DXF_CHUNK_FIRST; !err && slot < DXF_CHUNK_INODES; slot++) {
		uint8_t state = c->chunk[index]->state[slot], type = state & INODE_TYPE;

		if (type && type != DT_DIR && !(state & (INODE_NAMED | INODE_ORPHAN)))
			err = connect(c, index * (uint32_t)DXF_CHUNK_INODES + slot,
				      "an inode without a name");
	}
	return err;
}

errint_t ck_connect_pass(struct check *c)
{
	size_t count = c->dirs.count;
	int err = 0;

	if (!ck_dir_find(c, DXF_ROOT_INO))
		return 0;
	for (size_t i = 0; !err && i < count; i++)
		err = reach(c, i);
	for (uint32_t index = 0; !err && index < c->chunks; index++)
		if (c->chunk[index])
			err = connect_files(c, index);
	return err;
}
