/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading, and where data lies. A read hands out pieces of the pool itself, of which a transport
 * makes its reply without a copy of ours. Poison in them must be met here, where it is a SIGBUS
 * that is caught, and not by the kernel that copies from the same memory: so they are looked at
 * before. Of an image the kernel knows what is poisoned, by the page; on a device any line may turn
 * out to be.
 */
#include "internal.h"
#include "daxfuse/base/errint.h"

static errint_t probe_piece(const struct vfs *v, const struct iovec *piece)
{
	const struct pmem *pm = fs_pmem(v->config.fs);
	const char *p = piece->iov_base;
	int err = 0;

	if (v->config.probe_lines)
		return pmem_probe(pm, p, piece->iov_len);
	for (size_t at = 0; !err && at < piece->iov_len; at += DXF_BLOCK_SIZE)
		err = pmem_probe(pm, p + at, 1);
	return err ? err : pmem_probe(pm, p + piece->iov_len - 1, 1);
}

struct guarded {
	const struct vfs *vfs;
	fs_emit emit; /* NULL: into buf */
	void *arg;
	char *buf;
};

static ssize_t emit_probed(const struct iovec *iov, int count, size_t bytes, void *arg)
{
	const struct guarded *g = arg;

	for (int i = 0; i < count; i++) {
		int err = probe_piece(g->vfs, &iov[i]);

		if (err)
			return err;
	}
	return g->emit(iov, count, bytes, g->arg);
}

static ssize_t copy_guarded(const struct iovec *iov, int count, size_t bytes, void *arg)
{
	const struct guarded *g = arg;
	size_t at = 0;

	for (int i = 0; i < count; i++) {
		int err = pmem_read(fs_pmem(g->vfs->config.fs), g->buf + at, iov[i].iov_base,
				    iov[i].iov_len);

		if (err)
			return err;
		at += iov[i].iov_len;
	}
	return (ssize_t)bytes;
}

static ssize_t read_pieces(struct vfs *v, uint64_t ino, uint64_t offset, size_t length,
			   bool noatime, fs_emit emit, struct guarded *g)
{
	return noatime ? fs_read_noatime(v->config.fs, ino, offset, length, emit, g)
		       : fs_read(v->config.fs, ino, offset, length, emit, g);
}

ssize_t vfs_read(struct vfs *v, uint64_t ino, uint64_t offset, size_t length, bool noatime,
		 fs_emit emit, void *arg)
{
	struct guarded g = { .vfs = v, .emit = emit, .arg = arg };

	return read_pieces(v, ino, offset, length, noatime, emit_probed, &g);
}

ssize_t vfs_pread(struct vfs *v, uint64_t ino, void *buf, size_t length, uint64_t offset,
		  bool noatime)
{
	struct guarded g = { .vfs = v, .buf = buf };

	return read_pieces(v, ino, offset, length, noatime, copy_guarded, &g);
}

off_t vfs_seek(struct vfs *v, uint64_t ino, uint64_t offset, int whence)
{
	return fs_seek(v->config.fs, ino, offset, whence);
}

/* ---- extents ---------------------------------------------------------------------------- */

/* Add a mapped piece, joined to the last extent if it continues that. -ENOSPC: there is no room. */
static errint_t add_extent(struct dxf_ioc_extents *e, const struct fs_iomap *map)
{
	struct dxf_ioc_extent *last = e->count ? &e->extent[e->count - 1] : NULL;
	uint64_t flags = (map->kind == FS_IOMAP_UNWRITTEN ? DXF_EXTENT_UNWRITTEN : 0) |
			 (map->unit ? DXF_EXTENT_UNIT : 0);

	if (last && last->flags == flags && last->file_offset + last->length == map->file_offset &&
	    last->device_offset + last->length == map->device_offset) {
		last->length += map->length;
		return 0;
	}
	if (e->count == DXF_IOC_EXTENT_COUNT)
		return -ENOSPC;
	e->extent[e->count++] = (struct dxf_ioc_extent){
		.file_offset = map->file_offset,
		.device_offset = map->device_offset,
		.length = map->length,
		.flags = flags,
	};
	return 0;
}

errint_t vfs_extents(struct vfs *v, uint64_t ino, struct dxf_ioc_extents *e)
{
	struct fs_attr attr;
	uint64_t at = e->start, steps = 0;
	int err = fs_getattr(v->config.fs, ino, &attr);

	e->count = 0;
	if (!err)
		err = fs_iomap_steps(v->config.fs, ino, &steps);
	while (!err && at < attr.size) {
		struct fs_iomap map;

		err = steps-- ? fs_iomap(v->config.fs, ino, at, attr.size - at, &map) : -EUCLEAN;
		if (err || !map.length)
			break;
		if (map.kind != FS_IOMAP_HOLE && add_extent(e, &map))
			break; /* full: to be continued here */
		at += map.length;
	}
	e->start = at < attr.size ? at : ~UINT64_C(0);
	return err;
}
