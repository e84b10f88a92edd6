/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The requests of programs for their mappings: pieces, giving them back, long-term pins, promotion.
 * Numbers come from programs and are checked here.
 *
 * Order, for pieces:
 *   1. the bytes behind the end of the file in the last page (or unit, if the device can't be
 *      mapped in smaller pieces) are zeroed, with the file's size held still; on a read-only mount
 *      they must be zero
 *   2. the faults, a run of them: from here on the pieces are pinned
 *   3. the pins are written down where they outlive us
 *   4. the answer
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"

_Static_assert(sizeof(struct dxf_ioc_map) == 7240, "the size is in the number of the ioctl");
_Static_assert((int)DXF_REASON_PUD == MAP_FALLBACK_PUD, "reasons are the engine's");
_Static_assert((int)DXF_REASON_START == MAP_FALLBACK_START, "reasons are the engine's");

/* One DXF_IOC_MAP. */
struct filling {
	struct clients *clients;
	struct holder *h;
	struct dxf_ioc_map *map;
	struct map_piece piece[DXF_MAP_PIECES]; /* as the engine gave them */
	uint64_t end;                           /* of the range */
};

static uint64_t unit_of(uint64_t offset)
{
	return round_down(offset, MAP_UNIT_SIZE);
}

static bool takes_units_only(const struct clients *c)
{
	return c->client_ops.smallest == ORDER_PMD;
}

/* ---- before the faults ---------------------------------------------------------------- */

/* Of a read-only mount: bytes behind the end that are not zero stay unseen, in the kernel's
 * mapping. */
static errint_t check_end_is_zero(const struct filling *f, uint64_t end)
{
	const struct pmem *pm = fs_pmem(f->clients->fs);
	uint64_t at = f->map->size;
	char page[MAP_PAGE_SIZE];
	int err = 0;

	while (!err && at < end) {
		uint64_t length = MIN(end - at, MAP_PAGE_SIZE - at % MAP_PAGE_SIZE);
		struct fs_iomap map = { .kind = FS_IOMAP_HOLE };

		err = fs_iomap(f->clients->fs, f->h->file->ino, at, length, &map);
		if (!err && map.kind != FS_IOMAP_HOLE)
			err = pmem_read(pm, page, pmem_at(pm, map.device_offset), length);
		if (!err && map.kind != FS_IOMAP_HOLE &&
		    (page[0] || memcmp(page, page + 1, length - 1)))
			err = -EOPNOTSUPP;
		at += length;
	}
	return err;
}

/* Step 1. */
static errint_t prepare_end_locked(struct filling *f)
{
	uint64_t align = takes_units_only(f->clients) ? MAP_UNIT_SIZE : MAP_PAGE_SIZE;
	uint64_t size = f->map->size, end = round_up(size, align);
	struct vfs_file *file = f->h->file;

	lock_assert(LOCK_GROW);
	if (size == end || f->end <= round_down(size, align))
		return 0;
	if (vfs_is_read_only(f->clients->config.vfs))
		return check_end_is_zero(f, end);
	return fs_map_zero(f->clients->fs, file->ino, size, end - size);
}

/* ---- faults ------------------------------------------------------------------------- */

static enum map_access access_of(const struct filling *f)
{
	switch (f->map->access) {
	case DXF_ACCESS_WRITE:
		return MAP_WRITE;
	case DXF_ACCESS_EAGER: /* a watcher wants to hear of first writes */
		return vfs_is_watched(f->clients->config.vfs) ? MAP_READ : MAP_EAGER;
	}
	return MAP_READ;
}

static bool is_hole(const struct filling *f, uint64_t offset)
{
	struct fs_iomap map;

	return fs_iomap(f->clients->fs, f->h->file->ino, offset, MAP_PAGE_SIZE, &map) ||
	       map.kind == FS_IOMAP_HOLE;
}

/*
 * Where only units can be mapped and none is free, the kernel's mapping is content with blocks. It
 * would find out too late that there is none for a store, so that gets one here.
 */
static errint_t leave_to_kernel(const struct filling *f, int err)
{
	uint64_t offset = round_down(f->map->offset, MAP_PAGE_SIZE);
	enum map_access access = access_of(f);

	if ((err != -ENOSPC && err != -EDQUOT) || !takes_units_only(f->clients))
		return err;
	err = 0;
	if (access == MAP_WRITE || (access == MAP_EAGER && !is_hole(f, offset)))
		err = fs_map_allocate(f->clients->fs, f->h->file->ino, offset, MAP_PAGE_SIZE);
	return err ? err : -EOPNOTSUPP;
}

static struct dxf_ioc_piece piece_of(const struct filling *f, const struct map_piece *from)
{
	uint32_t reason = from->order     ? DXF_REASON_NONE
			  : f->map->pages ? DXF_REASON_ADDRESS
					  : (uint32_t)from->reason;

	return (struct dxf_ioc_piece){
		.file_offset = from->file_offset,
		.length = from->length,
		.device_offset = from->device_offset,
		.grant = from->grant,
		.drop_offset = from->drop_offset,
		.drop_length = from->drop_length,
		.flags = (from->zero ? DXF_PIECE_ZERO : 0) |
			 (from->writable ? DXF_PIECE_WRITABLE : 0) |
			 (from->order ? DXF_PIECE_HUGE : 0),
		.reason = reason,
	};
}

static errint_t fill_pieces(struct filling *f)
{
	struct dxf_ioc_map *map = f->map;
	const struct map_request request = {
		.offset = map->offset,
		.access = access_of(f),
		.order = map->pages ? ORDER_PTE : ORDER_PMD,
		.start = map->start,
		.end = map->end,
		.gather = !vfs_is_read_only(f->clients->config.vfs),
	};
	unsigned count;
	int err = map_fault_run(f->h->view, &request, f->end - map->offset, f->piece,
				DXF_MAP_PIECES, &count);

	if (err)
		return leave_to_kernel(f, err);
	for (unsigned i = 0; i < count; i++)
		map->piece[i] = piece_of(f, &f->piece[i]);
	map->count = count;
	return 0;
}

/* ---- the answer ---------------------------------------------------------------------- */

static errint_t write_piece_down(struct filling *f, unsigned i, uint32_t flags)
{
	const struct dxf_ioc_piece *piece = &f->map->piece[i];
	struct holder *h = f->h;
	const struct pin_record record = {
		.handle = h->handle,
		.session = h->session ? h->session->id : 0,
		.cookie = h->cookie,
		.pin_offset = h->pin.offset,
		.pin_length = h->pin.length,
		.serial = h->serial,
		.ino = h->file->ino,
		.file_offset = piece->file_offset,
		.device_offset = piece->device_offset,
		.length = piece->length,
		.grant = f->piece[i].last_grant,
		.flags = flags | (piece->flags & DXF_PIECE_WRITABLE ? PIN_WRITABLE : 0) |
			 (piece->flags & DXF_PIECE_HUGE ? PIN_HUGE : 0),
	};
	int err;

	lock_mutex(LOCK_HOLDER, &h->lock);
	err = pins_kept_add(&h->clients->pins, &h->slots, &record);
	unlock_mutex(LOCK_HOLDER, &h->lock);
	return err;
}

/* Step 3. A piece that can't be written down is not told, but stays pinned: the program may have it
 * mapped since it asked for it before, and that pin is this one now. */
static errint_t write_all_down(struct filling *f, uint32_t flags)
{
	struct dxf_ioc_map *map = f->map;
	int err = 0;

	for (unsigned i = 0; i < map->count && !err; i++) {
		if (map->piece[i].flags & DXF_PIECE_ZERO)
			continue;
		err = write_piece_down(f, i, flags);
		if (err)
			map->count = i;
	}
	return map->count ? 0 : err;
}

static void note_writable(struct filling *f)
{
	struct clients *c = f->clients;
	bool any = false;

	for (unsigned i = 0; i < f->map->count; i++)
		any |= f->map->piece[i].flags & DXF_PIECE_WRITABLE;
	if (!any)
		return;
	atomic_store_explicit(&f->h->wrote, true, memory_order_relaxed);
	vfs_forget_cached(c->config.vfs, f->h->file->ino, false);
}

static errint_t use_attr(struct filling *f, const struct fs_attr *attr)
{
	f->map->size = attr->size;
	if (!attr->dax && vfs_dax(f->clients->config.vfs) != FS_DAX_AUTO)
		return -EOPNOTSUPP;
	return f->map->offset < attr->size ? 0 : -ENXIO;
}

/* The file as it is now that it is mapped: all changes from here on go through the engine. */
static errint_t look_at_file(struct filling *f)
{
	struct fs_attr attr;
	int err = fs_getattr(f->clients->fs, f->h->file->ino, &attr);

	return err ? err : use_attr(f, &attr);
}

/* The end of the file is in the range: the size is held still. */
static errint_t fill_to_end(struct filling *f, uint32_t flags)
{
	struct vfs_file *file = f->h->file;
	struct fs_attr attr;
	int err;

	lock_mutex(LOCK_GROW, &file->grow);
	err = vfs_still_locked(file, &attr);
	if (!err)
		err = use_attr(f, &attr);
	if (!err) {
		f->end = MIN(f->end, round_up(f->map->size, MAP_UNIT_SIZE));
		err = prepare_end_locked(f);
	}
	if (!err)
		err = fill_pieces(f);
	if (!err)
		err = write_all_down(f, flags);
	unlock_mutex(LOCK_GROW, &file->grow);
	return err;
}

static errint_t fill_range(struct filling *f, uint32_t flags)
{
	int err = look_at_file(f);

	if (!err && f->end > unit_of(f->map->size))
		return fill_to_end(f, flags);
	if (!err)
		err = fill_pieces(f);
	return err ? err : write_all_down(f, flags);
}

/* All of a request; the holder is referenced. */
static errint_t fill_for(struct clients *c, struct holder *h, struct dxf_ioc_map *map,
			 uint32_t flags)
{
	struct filling *f = malloc(sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	f->clients = c;
	f->h = h;
	f->map = map;
	f->end = map->length > UINT64_MAX - map->offset ? UINT64_MAX : map->offset + map->length;
	map->count = 0;
	err = fill_range(f, flags);
	if (!err) {
		map->last_grant = map_view_last_grant(h->view);
		note_writable(f);
	}
	free(f);
	return err;
}

/* Checks for every request. */
static errint_t check_request(struct clients *c, const struct vfs_open_file *file, uint64_t offset,
			      uint64_t length, bool writes, struct fs_attr *ret_attr)
{
	int err;

	if (offset % MAP_PAGE_SIZE || !length || offset >= DXF_FILE_MAX)
		return -EINVAL;
	if (!(file->may & VFS_MAY_READ) || (writes && !(file->may & VFS_MAY_WRITE)))
		return -EACCES;
	if (writes && vfs_is_read_only(c->config.vfs))
		return -EROFS;
	err = fs_getattr(c->fs, file->ino, ret_attr);
	if (err)
		return err;
	err = vfs_may_map(c->config.vfs, file, ret_attr);
	if (err)
		return err;
	/* as mmap() has it: a store would not append */
	if (writes && (ret_attr->flags & DXF_FLAG_APPEND))
		return -EACCES;
	return offset < ret_attr->size ? 0 : -ENXIO;
}

static errint_t map_file(struct clients *c, const struct vfs_open_file *file,
			 struct dxf_ioc_map *map)
{
	struct vfs_retry retry = { false };
	struct session *session;
	struct fs_attr attr;
	struct holder *h;
	int err = check_request(c, file, map->offset, map->length, map->access != DXF_ACCESS_READ,
				&attr);

	if (err)
		return err;
	if (map->access > DXF_ACCESS_EAGER || map->start > map->offset || map->end <= map->offset)
		return -EINVAL;
	session = session_find(c, map->session);
	if (!session)
		return -ENOTCONN;
	err = session_is_connected(session) ? holder_get(c, file, session, map->cookie, &h)
					    : -ENOTCONN;
	session_put(c, session);
	if (err)
		return err;
	do {
		err = fill_for(c, h, map, 0);
	} while (vfs_reclaims(c->config.vfs, &retry, err));
	holder_put(h);
	return err;
}

errint_t clients_map(struct clients *c, const struct vfs_open_file *file, struct dxf_ioc_map *map)
{
	int err = map_file(c, file, map);

	if (err == -EOPNOTSUPP)
		atomic_fetch_add(&c->refused_mode, 1);
	else if (err == -ETXTBSY)
		atomic_fetch_add(&c->refused_cached, 1);
	return err;
}

int clients_unmap(struct clients *c, const struct vfs_open_file *file,
		  const struct dxf_ioc_unmap *unmap)
{
	struct holder *h = holder_of_handle(c, file->handle);

	if (!h)
		return 0; /* it had nothing */
	holder_let_go(h, unmap->offset, unmap->length, unmap->grant);
	holder_put(h);
	return 0;
}

/* ---- long-term pins -------------------------------------------------------------------- */

/* Whether the holes of a range can be filled at all: else nothing is, as fallocate() has it. */
static bool has_room(struct clients *c, const struct fs_attr *attr, uint64_t length)
{
	uint64_t blocks = length / DXF_BLOCK_SIZE;
	struct fs_space space;

	fs_get_space(c->fs, &space);
	return blocks <= attr->blocks / (DXF_BLOCK_SIZE / 512) + space.free_blocks +
				 space.free_units * (DXF_UNIT_SIZE / DXF_BLOCK_SIZE);
}

static errint_t pin_all(struct clients *c, struct holder *h, const struct dxf_ioc_pin *pin)
{
	struct dxf_ioc_map *map = calloc(1, sizeof(*map));
	uint64_t at = pin->offset, end = pin->offset + pin->length;
	int err = map ? 0 : -ENOMEM;

	while (!err && at < end) {
		*map = (struct dxf_ioc_map){
			.offset = at,
			.length = end - at,
			.end = UINT64_MAX,
			.access = DXF_ACCESS_WRITE,
		};
		err = fill_for(c, h, map, PIN_LONG_TERM);
		if (!err)
			at = map->piece[map->count - 1].file_offset +
			     map->piece[map->count - 1].length;
	}
	free(map);
	return err;
}

static errint_t check_pin(struct clients *c, const struct vfs_open_file *file,
			  const struct dxf_ioc_pin *pin)
{
	struct fs_attr attr;
	int err = check_request(c, file, pin->offset, pin->length, true, &attr);

	if (err)
		return err;
	if (pin->length % MAP_PAGE_SIZE || pin->length > DXF_FILE_MAX - pin->offset)
		return -EINVAL;
	if (pin->offset + pin->length > round_up(attr.size, MAP_PAGE_SIZE))
		return -ENXIO;
	return has_room(c, &attr, pin->length) ? 0 : -ENOSPC;
}

static void end_pin(struct clients *c, const struct vfs_open_file *file, uint32_t number)
{
	struct holder *mine = holder_remove_pin(c, file->handle, number);

	if (mine)
		holder_put(mine);
}

/*
 * Each pin is a holder of its own: it ends by itself, whatever else is pinned there. Which one it
 * is, is written down before anything is done: executed once more, neither of these two makes
 * another pin, nor ends one.
 */
errint_t clients_pin(struct clients *c, const struct vfs_request *request,
		     const struct vfs_open_file *file, const struct dxf_ioc_pin *pin)
{
	uint32_t number = (uint32_t)answer_choice(request->answer);
	struct holder *h = NULL;
	int err = check_pin(c, file, pin);

	if (!number)
		number = (uint32_t)vfs_new_handle(c->config.vfs);
	answer_choose(request->answer, number);
	if (!err)
		err = holder_get_pin(c, file, pin, number, &h);
	if (!err)
		err = pin_all(c, h, pin);
	/* also pins that an earlier process has made for it */
	if (err)
		end_pin(c, file, number);
	if (h)
		holder_put(h);
	return err;
}

errint_t clients_unpin(struct clients *c, const struct vfs_request *request,
		       const struct vfs_open_file *file, const struct dxf_ioc_pin *pin)
{
	uint32_t number = (uint32_t)answer_choice(request->answer);
	struct holder *h;

	if (!number && !holder_choose_pin(c, file->handle, pin, &number))
		return -EINVAL;
	answer_choose(request->answer, number);
	h = holder_of_pin(c, file->handle, number);
	if (!h)
		return 0; /* it has ended before */
	if (h->pin.length == pin->length)
		end_pin(c, file, number);
	else
		holder_let_go(h, pin->offset, pin->length, map_view_last_grant(h->view));
	holder_put(h);
	return 0;
}

/* ---- promotion ---------------------------------------------------------------------------- */

/* A unit that somebody does not let go of is passed over, for there may be better ones; any other
 * failure would come again, in a sparse file for very long. */
static errint_t promote_units(struct clients *c, uint64_t ino, uint64_t from, uint64_t end)
{
	int failed = 0, err = 0;

	for (uint64_t at = from; at < end && (!err || err == -EBUSY); at += MAP_UNIT_SIZE) {
		err = vfs_promote(c->config.vfs, ino, at);
		failed = failed ? failed : err;
	}
	return failed;
}

errint_t clients_promote(struct clients *c, const struct vfs_open_file *file,
			 const struct dxf_ioc_promote *promote)
{
	uint64_t first = unit_of(promote->offset), end;
	struct fs_attr attr;
	int err = check_request(c, file, first, promote->length, true, &attr);

	if (err)
		return err;
	end = promote->length > attr.size ? attr.size
					  : MIN(attr.size, promote->offset + promote->length);
	if (end > first && !has_room(c, &attr, round_down(end - first, MAP_UNIT_SIZE)))
		return -ENOSPC;
	return promote_units(c, file->ino, first, end);
}
