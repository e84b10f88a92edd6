/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every name: its inode must be there and of the type that it says; links are counted. A directory
 * has one name, the one in the parent that it says; if it is found only elsewhere, then ".." is
 * wrong.
 */
#include <dirent.h>
#include <string.h>

#include "state.h"
#include "daxfuse/base/errint.h"

static void wrong_name(struct check *c, struct dir *dir, const struct name *name,
		       enum check_problem problem, const char *what)
{
	check_found(c, problem, dir->ino, "name \"%.*s\" of inode %" PRIu32 ": %s", name->length,
		    name->text, name->ino, what);
	dir->rebuild = true;
}

/* A directory counts its "." and its name; and its parent counts its "..". */
static void count_directory(struct check *c, uint32_t parent, uint32_t ino)
{
	*ck_inode_state(c, ino) |= INODE_NAMED;
	*ck_inode_links(c, ino) += 2;
	*ck_inode_links(c, parent) += 1;
}

static errint_t look_at_directory(struct check *c, struct dir *dir, const struct name *name)
{
	struct dir *child = ck_dir_find(c, name->ino);
	struct misplaced *misplaced;

	if (name->ino == DXF_ROOT_INO) {
		wrong_name(c, dir, name, CHECK_SECOND_NAME, "the root has none");
	} else if (child->parent != dir->ino) {
		misplaced = VECTOR_ADD(&c->misplaced);
		if (!misplaced)
			return -ENOMEM;
		misplaced->ino = name->ino;
		misplaced->found_in = dir->ino;
	} else if (*ck_inode_state(c, name->ino) & INODE_NAMED) {
		wrong_name(c, dir, name, CHECK_SECOND_NAME, "a directory with another name");
	} else {
		count_directory(c, dir->ino, name->ino);
	}
	return 0;
}

static errint_t look_at(struct check *c, struct dir *dir, const struct name *name, void *arg)
{
	uint8_t *state = ck_inode_state(c, name->ino), type = state ? *state & INODE_TYPE : 0;

	if (!type) {
		wrong_name(c, dir, name, CHECK_TARGET, "there is no such inode");
		return 0;
	}
	if (name->type != type)
		wrong_name(c, dir, name, CHECK_TYPE, "of another file type");
	if (dir->ino == DXF_ROOT_INO && type == DT_DIR &&
	    name->length == sizeof("lost+found") - 1 &&
	    memcmp(name->text, "lost+found", name->length) == 0)
		c->lost_found = name->ino;
	if (type == DT_DIR)
		return look_at_directory(c, dir, name);
	*state |= INODE_NAMED;
	++*ck_inode_links(c, name->ino);
	return 0;
}

static errint_t check_directory(struct check *c, struct dir *dir)
{
	struct dxf_inode inode;
	uint64_t slots;
	int err = ck_dir_for_each(c, dir, true, &slots, look_at, NULL);

	if (err)
		return err;
	if (!dir->rebuild && slots != dir->entries &&
	    check_found(c, CHECK_ENTRIES, dir->ino, "%" PRIu64 " slots in use, says %" PRIu64,
			slots, dir->entries)) {
		err = ck_inode_load(c, dir->ino, &inode);
		inode.entries = slots;
		if (!err)
			err = ck_inode_store(c, &inode);
	}
	dir->entries = slots;
	return err;
}

/* All other names are known now. */
static errint_t place(struct check *c, const struct misplaced *misplaced)
{
	struct dir *child = ck_dir_find(c, misplaced->ino);

	if (*ck_inode_state(c, misplaced->ino) & INODE_NAMED) {
		check_found(c, CHECK_SECOND_NAME, misplaced->ino,
			    "a directory with a name in %" PRIu32 ", and one in %" PRIu32,
			    misplaced->found_in, child->parent);
		ck_dir_find(c, misplaced->found_in)->rebuild = true;
		return 0;
	}
	count_directory(c, misplaced->found_in, misplaced->ino);
	if (check_found(c, CHECK_PARENT, misplaced->ino,
			"\"..\" is %" PRIu32 ", should be %" PRIu32, child->parent,
			misplaced->found_in)) {
		int err = ck_inode_set_parent(c, misplaced->ino, misplaced->found_in);

		if (err)
			return err;
	}
	child->parent = misplaced->found_in;
	return 0;
}

errint_t ck_name_pass(struct check *c)
{
	struct dir *root = ck_dir_find(c, DXF_ROOT_INO);
	int err = 0;

	if (root) {
		*ck_inode_state(c, DXF_ROOT_INO) |= INODE_NAMED | INODE_REACHED;
		*ck_inode_links(c, DXF_ROOT_INO) += 2;
		if (root->parent != DXF_ROOT_INO &&
		    check_found(c, CHECK_PARENT, DXF_ROOT_INO,
				"\"..\" of the root is not the root"))
			err = ck_inode_set_parent(c, DXF_ROOT_INO, DXF_ROOT_INO);
	}
	for (size_t i = 0; !err && i < c->dirs.count; i++) {
		check_progress(c, "directories", i, c->dirs.count);
		err = check_directory(c, &c->dirs.item[i]);
	}
	for (size_t i = 0; !err && i < c->misplaced.count; i++)
		err = place(c, &c->misplaced.item[i]);
	return err;
}
