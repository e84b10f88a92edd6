/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Superblocks. Of the two copies the one that a mount would take is taken; a
 * damaged or stale other one is written anew from it.
 */
#include <string.h>

#include "state.h"
#include "daxfuse/base/errint.h"

static const char *const copy_name[2] = { "first", "second" };

static void check_copy(struct check *c, int copy, uint64_t offset)
{
	struct dxf_super there;
	int err = pmem_read(c->pm, &there, pmem_at(c->pm, offset), sizeof(there));

	if (!err && memcmp(&there, &c->vol.super, sizeof(there)) == 0)
		return;
	if (check_found(c, CHECK_SUPER, 0, "the %s superblock is %s", copy_name[copy],
			err                                ? "poisoned"
			: super_check(&there, c->pm->size) ? "damaged"
							   : "not the current one"))
		check_overwrite(c, offset, &c->vol.super, sizeof(c->vol.super));
}

errint_t ck_super_pass(struct check *c)
{
	struct dxf_super *super = &c->vol.super;
	bool spare;
	int err = super_load(c->pm, super, &spare);

	if (err == -EROFS && !c->options->repair)
		err = 0;
	if (err)
		return err;
	c->units = super->pool_size / DXF_UNIT_SIZE;
	c->chunks = super->inode_chunks;
	c->result.units = c->units;
	check_copy(c, 1, super->pool_size - DXF_UNIT_SIZE);
	check_copy(c, 0, 0);
	return 0;
}
