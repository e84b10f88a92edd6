/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening a pool: journals first, so that the allocators load settled state. */
#include <stdlib.h>

#include "alloc.h"
#include "ialloc.h"
#include "journal.h"
#include "daxfuse/base/errint.h"

static errint_t open_parts(struct volume *vol, unsigned *ret_replayed)
{
	int err = journal_open(vol);

	if (!err)
		err = journal_replay(vol, vol->options.read_only, ret_replayed);
	if (err)
		return err;
	vol->quota_lock = malloc(vol->super.quota_count * sizeof(*vol->quota_lock));
	if (!vol->quota_lock)
		return -ENOMEM;
	for (uint32_t i = 0; i < vol->super.quota_count; i++)
		pthread_mutex_init(&vol->quota_lock[i], NULL);
	err = alloc_open(vol);
	return err ? err : ialloc_open(vol);
}

errint_t volume_open(const struct pmem *pm, const struct dxf_super *super,
		     const struct volume_options *options, struct volume **ret_vol,
		     unsigned *ret_replayed)
{
	struct volume *vol = calloc(1, sizeof(*vol));
	int err;

	if (!vol)
		return -ENOMEM;
	vol->pm = pm;
	if (options)
		vol->options = *options;
	vol->super = *super;
	vol->units = super->pool_size / DXF_UNIT_SIZE;
	vol->unit_word = pmem_at(pm, super->unit_offset);
	vol->bitmap = pmem_at(pm, super->bitmap_offset);
	vol->inode_map = pmem_at(pm, super->inode_map_offset);
	vol->quota = pmem_at(pm, super->quota_offset);
	err = open_parts(vol, ret_replayed);
	if (err)
		volume_close(vol);
	else
		*ret_vol = vol;
	return err;
}

void volume_close(struct volume *vol)
{
	if (!vol)
		return;
	ialloc_close(vol);
	alloc_close(vol);
	for (uint32_t i = 0; vol->quota_lock && i < vol->super.quota_count; i++)
		pthread_mutex_destroy(&vol->quota_lock[i]);
	free(vol->quota_lock);
	journal_close(vol);
	free(vol);
}
