/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Superblocks: two copies far apart. All that they say is checked here, once; afterwards only the
 * copy in memory is used.
 */
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/crc.h"
#include "volume.h"
#include "daxfuse/base/errint.h"

uint32_t super_crc(const struct dxf_super *super)
{
	size_t at = offsetof(struct dxf_super, crc);
	uint32_t zero = 0, crc;

	crc = crc32c(0, super, at);
	crc = crc32c(crc, &zero, sizeof(zero));
	return crc32c(crc, (const char *)super + at + 4, sizeof(*super) - at - 4);
}

/*
 * Journals are few on small pools, many on large ones; the number belongs to
 * the pool, not to the machine, so that recovery never depends on a CPU count.
 */
void super_layout(struct dxf_super *super)
{
	uint64_t units = super->pool_size / DXF_UNIT_SIZE, gib = super->pool_size >> 30;

	super->journal_count = gib < 1 ? 4 : gib < 64 ? 15 : 63;
	super->inode_chunks = units < (1 << 20) ? (uint32_t)units : 1 << 20;
	super->quota_count = gib < 1 ? 256 : 4096;
	super->journal_offset = 16 * DXF_BLOCK_SIZE;
	super->unit_offset = super->journal_offset + super->journal_count * DXF_JOURNAL_SIZE;
	super->bitmap_offset = super->unit_offset + round_up(units * 8, DXF_BLOCK_SIZE);
	super->inode_map_offset = super->bitmap_offset + round_up(units * 64, DXF_BLOCK_SIZE);
	super->quota_offset = super->inode_map_offset +
			      round_up((uint64_t)super->inode_chunks * 8, DXF_BLOCK_SIZE);
	super->data_offset = round_up(
		super->quota_offset + super->quota_count * sizeof(struct dxf_quota), DXF_UNIT_SIZE);
}

/* The offsets must be those that super_layout() gives: there is no other layout. */
static bool layout_is_right(const struct dxf_super *super)
{
	struct dxf_super want = { .pool_size = super->pool_size };

	super_layout(&want);
	return want.journal_offset == super->journal_offset &&
	       want.unit_offset == super->unit_offset &&
	       want.bitmap_offset == super->bitmap_offset &&
	       want.inode_map_offset == super->inode_map_offset &&
	       want.quota_offset == super->quota_offset && want.data_offset == super->data_offset &&
	       want.journal_count == super->journal_count &&
	       want.inode_chunks == super->inode_chunks && want.quota_count == super->quota_count;
}

errint_t super_check(const struct dxf_super *super, uint64_t device_size)
{
	if (memcmp(super->magic, DXF_MAGIC, sizeof(super->magic)) != 0)
		return -EINVAL;
	if (super->crc != super_crc(super))
		return -EUCLEAN;
	if (super->version != DXF_VERSION || (super->incompat & ~DXF_INCOMPAT_KNOWN))
		return -EOPNOTSUPP;
	if (super->pool_size < DXF_POOL_MIN || super->pool_size > DXF_POOL_MAX ||
	    super->pool_size % DXF_UNIT_SIZE || super->label[63] ||
	    super->root_ino != DXF_ROOT_INO || !layout_is_right(super))
		return -EUCLEAN;
	if (super->pool_size > device_size)
		return -EFBIG;
	if (super->ro_compat & ~DXF_RO_COMPAT_KNOWN)
		return -EROFS;
	return 0;
}

static errint_t read_copy(const struct pmem *pm, uint64_t offset, struct dxf_super *super)
{
	int err;

	if (!pmem_contains(pm, offset, sizeof(*super)))
		return -EINVAL;
	err = pmem_read(pm, super, pmem_at(pm, offset), sizeof(*super));
	return err ? err : super_check(super, pm->size);
}

static bool usable(int err)
{
	return err == 0 || err == -EROFS;
}

/*
 * The second copy lies in the last unit of the pool. If the first one is torn or poisoned and can't
 * say where that is, the pool is taken to fill the device. If it is not there at all, a second copy
 * was left behind by a former pool: mkfs of others leaves the end of a device as it was.
 */
errint_t super_load(const struct pmem *pm, struct dxf_super *ret_super, bool *ret_spare)
{
	struct dxf_super first, second;
	int err1 = read_copy(pm, 0, &first), err2;
	uint64_t end = usable(err1) ? first.pool_size : pm->size / DXF_UNIT_SIZE * DXF_UNIT_SIZE;

	if (err1 == -EINVAL || err1 == -EFBIG || err1 == -EOPNOTSUPP)
		return err1;
	err2 = end < DXF_POOL_MIN ? -EINVAL : read_copy(pm, end - DXF_UNIT_SIZE, &second);
	if (usable(err2) && second.pool_size != end)
		err2 = -EUCLEAN;
	if (!usable(err1) && !usable(err2))
		return err1;
	*ret_spare = !usable(err1);
	if (!usable(err1) || (usable(err2) && second.generation > first.generation)) {
		*ret_super = second;
		return err2;
	}
	*ret_super = first;
	return err1;
}

void super_store(const struct pmem *pm, struct dxf_super *super)
{
	uint64_t at[2] = { super->pool_size - DXF_UNIT_SIZE, 0 };

	super->crc = super_crc(super);
	for (int i = 0; i < 2; i++) {
		pmem_copy_nt(pm, pmem_at(pm, at[i]), super, sizeof(*super));
		pmem_fence(pm);
	}
}
