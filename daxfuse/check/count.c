/* SPDX-License-Identifier: BSD-3-Clause */
/* Links: as many as names were found, and a directory's own. */
#include <sys/stat.h>

#include "state.h"
#include "daxfuse/base/errint.h"

static errint_t check_links(struct check *c, uint32_t ino, uint32_t missing)
{
	struct dxf_inode inode;
	int err = ck_inode_load(c, ino, &inode);

	if (err)
		return err;
	if (!check_found(c, CHECK_NLINK, ino, "has %" PRIu32 " links, says %" PRIu32,
			 inode.nlink + missing, inode.nlink))
		return 0;
	inode.nlink += missing;
	err = ck_inode_store(c, &inode);
	if (!err && !(inode.flags & DXF_FLAG_INTERNAL))
		ck_inode_mark_orphan(c, ino, inode.nlink == 0);
	return err;
}

errint_t ck_count_pass(struct check *c)
{
	int err = 0;

	for (uint32_t index = 0; !err && index < c->chunks; index++) {
		const struct chunk_state *chunk = c->chunk[index];

		for (unsigned slot = DXF_CHUNK_FIRST; chunk && !err && slot < DXF_CHUNK_INODES;
		     slot++)
			if (chunk->state[slot] & INODE_NAMED && chunk->links[slot])
				err = check_links(c, index * (uint32_t)DXF_CHUNK_INODES + slot,
						  chunk->links[slot]);
	}
	return err;
}
