/* SPDX-License-Identifier: BSD-3-Clause */
#include "daxfuse/daxmap/pieces.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/daxmap/daemon.h"
#include "daxfuse/daxmap/descriptor.h"
#include "daxfuse/daxmap/keep.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/object.h"
#include "daxfuse/daxmap/release.h"
#include "daxfuse/daxmap/session.h"
#include "daxfuse/daxmap/sys.h"

/* What was taken back while a flight was under way; several ranges are widened to one. */
struct notice {
	uint64_t offset, end, grant; /* grant 0: nothing */
};

/* Static, as a signal's stack may be small; the lock is for all but `busy` and `map`. */
struct flight {
	_Atomic bool busy;
	struct object *object; /* NULL: not under way */
	struct notice voided, protected;
	struct dxf_ioc_map map;
};

enum { FLIGHTS = 64 };
static struct flight flights[FLIGHTS];
static int background = -1;
static _Atomic uint64_t generation;

uint64_t pieces_generation(void)
{
	return atomic_load(&generation);
}

int pieces_prepare(void)
{
	struct held held;
	int fd;

	if (background >= 0)
		return 0;
	fd = (int)syscall(SYS_memfd_create, "daxmap", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	fd = descriptor_own(fd);
	held = lock_take();
	if (background < 0) {
		background = fd;
		fd = -1;
	}
	lock_release(held);
	descriptor_close(fd);
	return 0;
}

void pieces_renumber(int fd, int other)
{
	if (background == fd)
		background = other;
}

int pieces_background(uintptr_t start, uintptr_t end, int prot)
{
	generation++;
	return sys_mmap_fixed(start, end - start, prot, MAP_SHARED, background, 0);
}

void pieces_note_stores(const struct region *region, uintptr_t start, uintptr_t end)
{
	uint64_t offset = region->offset + (start - region->start);
	uint64_t stop = region->offset + (end - region->start);

	if (area_stored(region->area, &offset, &stop))
		object_owe(region->object, offset, stop);
}

int pieces_clear(struct region *region, uintptr_t start, uintptr_t end)
{
	int err = pieces_background(start, end, region->prot);

	if (err)
		return err;
	pieces_note_stores(region, start, end);
	area_set(region->area, region->offset + (start - region->start),
		 region->offset + (end - region->start), PAGE_ABSENT, false, 0);
	return 0;
}

int pieces_set_protection(struct region *region, int prot)
{
	int err;

	prot = prot_with_read(prot);
	err = sys_mprotect(region->start, region->end - region->start, prot & ~PROT_WRITE);
	if (err)
		return err;
	generation++;
	region->prot = prot;
	area_protect(region->area, region->offset, region_file_end(region));
	return 0;
}

/* ---- what is taken back ---- */

static void note(struct notice *notice, uint64_t offset, uint64_t end, uint64_t grant)
{
	if (!notice->grant) {
		*notice = (struct notice){ offset, end, grant };
		return;
	}
	notice->offset = MIN(notice->offset, offset);
	notice->end = MAX(notice->end, end);
	notice->grant = MAX(notice->grant, grant);
}

static bool noted(const struct notice *notice, const struct dxf_ioc_piece *piece)
{
	return piece->grant <= notice->grant && piece->file_offset < notice->end &&
	       piece->file_offset + piece->length > notice->offset;
}

void flights_void(struct object *object, uint64_t offset, uint64_t end, uint64_t grant)
{
	for (size_t i = 0; i < FLIGHTS; i++) {
		if (flights[i].object == object)
			note(&flights[i].voided, offset, end, grant);
	}
}

static void flights_protect(struct object *object, uint64_t offset, uint64_t end, uint64_t grant)
{
	for (size_t i = 0; i < FLIGHTS; i++) {
		if (flights[i].object == object)
			note(&flights[i].protected, offset, end, grant);
	}
}

void flights_reset(void)
{
	for (size_t i = 0; i < FLIGHTS; i++) {
		flights[i].object = NULL;
		flights[i].busy = false;
	}
}

/* ---- all that is mapped of a range of a file ---- */

typedef int part_function(struct region *region, uintptr_t start, uintptr_t end);

static int each_part(struct object *object, uint64_t offset, uint64_t end, part_function *function)
{
	int err = 0;

	for (struct region *r = region_from(0); r; r = region_next(r)) {
		uint64_t from = MAX(offset, r->offset), to = MIN(end, region_file_end(r));
		int got;

		if (r->object != object || from >= to)
			continue;
		got = function(r, region_addr(r, from), region_addr(r, to));
		err = err ? err : got;
	}
	return err;
}

/* Of a part of a region, what has no long-term pin: that is none of the daemon's questions. */
static int each_other(struct region *region, uintptr_t start, uintptr_t end,
		      part_function *function)
{
	uintptr_t stop;
	int err = 0;

	while (keep_next_other(&start, end, true, &stop)) {
		int got = function(region, start, stop);

		err = err ? err : got;
		start = stop;
	}
	return err;
}

/* Without the memory for one more mapping the whole region goes: that needs less of it. */
static int clear_other(struct region *region, uintptr_t start, uintptr_t end)
{
	uintptr_t first = region->start, stop;
	int err = pieces_clear(region, start, end);

	if (err && keep_next_other(&first, region->end, false, &stop) && first == region->start &&
	    stop == region->end)
		err = pieces_clear(region, region->start, region->end);
	return err;
}

static int clear_part(struct region *region, uintptr_t start, uintptr_t end)
{
	return each_other(region, start, end, clear_other);
}

static int protect_other(struct region *region, uintptr_t start, uintptr_t end)
{
	uint64_t offset = region->offset + (start - region->start);
	int err = 0;

	if (region->prot & PROT_WRITE)
		err = sys_mprotect(start, end - start, region->prot & ~PROT_WRITE);
	generation++;
	if (err)
		return clear_other(region, start, end);
	area_protect(region->area, offset, offset + (end - start));
	return 0;
}

static int protect_part(struct region *region, uintptr_t start, uintptr_t end)
{
	return each_other(region, start, end, protect_other);
}

static uint64_t range_end(uint64_t offset, uint64_t length)
{
	return length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
}

int pieces_revoke(uint64_t cookie, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct held held = lock_take();
	struct object *object = object_find(cookie);
	uint64_t end = range_end(offset, length);
	int err = 0;

	if (object) {
		flights_void(object, offset, end, grant);
		err = each_part(object, offset, end, clear_part);
	}
	lock_release(held);
	return err;
}

int pieces_protect(uint64_t cookie, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct held held = lock_take();
	struct object *object = object_find(cookie);
	uint64_t end = range_end(offset, length);
	int err = 0;

	if (object) {
		flights_protect(object, offset, end, grant);
		err = each_part(object, offset, end, protect_part);
	}
	lock_release(held);
	return err;
}

/* ---- the daemon was replaced ---- */

static void drop_zeroes_of(struct region *region)
{
	uintptr_t at = region->start;

	while (at < region->end) {
		uintptr_t start = at;

		while (at < region->end &&
		       area_page(region->area, region->offset + (at - region->start)) == PAGE_ZERO)
			at += area_alike(region->area, region->offset + (at - region->start));
		at = MIN(at, region->end);
		if (at > start)
			clear_other(region, start, at);
		else
			at += area_alike(region->area, region->offset + (at - region->start));
	}
}

void pieces_drop_zeroes(const struct session *session)
{
	struct held held = lock_take();

	for (size_t i = 0; i < FLIGHTS; i++) {
		if (flights[i].object && flights[i].object->session == session)
			note(&flights[i].voided, 0, UINT64_MAX, UINT64_MAX);
	}
	for (struct region *r = region_from(0); r; r = region_next(r)) {
		if (r->object->session == session)
			drop_zeroes_of(r);
	}
	lock_release(held);
}

/* ---- mapping an answer ---- */

static int map_zeroes(uintptr_t start, uintptr_t end, int prot)
{
	return sys_mmap_fixed(start, end - start, prot & ~PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static int map_device(const struct region *region, uintptr_t start, uintptr_t end,
		      uint64_t device_offset, bool writable, int flags)
{
	const struct session *session = region->object->session;
	int prot = region->prot, err;

	flags |= session->flags & DIRECT_MAP_SYNC ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED;
	if (!writable)
		prot &= ~PROT_WRITE;
	err = sys_mmap_fixed(start, end - start, prot, flags, session->device, device_offset);
	/* A child has no pins: it gets mappings of its own. */
	return err ? err : sys_madvise(start, end - start, MADV_DONTFORK);
}

/* A part of a piece that lies in the region. */
static int map_part(struct flight *flight, struct region *region,
		    const struct dxf_ioc_piece *piece, uint64_t from, uint64_t to, int flags)
{
	uintptr_t start = region_addr(region, from), end = region_addr(region, to);
	bool zero = piece->flags & DXF_PIECE_ZERO, huge = piece->flags & DXF_PIECE_HUGE;
	bool writable = !zero && piece->flags & DXF_PIECE_WRITABLE && region->prot & PROT_WRITE &&
			!noted(&flight->protected, piece);
	enum page_state state = zero ? PAGE_ZERO : writable ? PAGE_WRITE : PAGE_READ;
	uint64_t device_offset = piece->device_offset + (from - piece->file_offset);
	int err = zero ? map_zeroes(start, end, region->prot) :
			 map_device(region, start, end, device_offset, writable, flags);

	generation++;
	if (err) {
		pieces_clear(region, start, end);
		return err;
	}
	area_set(region->area, from, to, state, huge && !region->pages, piece->reason);
	return 0;
}

/* All of it that does, but for what has a long-term pin: that stays as it is mapped. */
static int map_piece(struct flight *flight, struct region *region,
		     const struct dxf_ioc_piece *piece, int flags)
{
	uint64_t from = MAX(piece->file_offset, region->offset);
	uint64_t to = MIN(piece->file_offset + piece->length, region_file_end(region));
	uintptr_t start, stop;
	int err = 0;

	if (from >= to)
		return 0;
	start = region_addr(region, from);
	while (!err && keep_next_other(&start, region_addr(region, to), false, &stop)) {
		from = region->offset + (start - region->start);
		err = map_part(flight, region, piece, from, from + (stop - start), flags);
		start = stop;
	}
	return err;
}

/*
 * Older answers for the same range that other threads have in hand must not come to lie over
 * this one: they ask again.
 */
static void outdate_others(struct flight *flight, const struct dxf_ioc_piece *piece)
{
	uint64_t from = piece->file_offset, to = from + piece->length;
	struct object *object = flight->object;

	if (piece->drop_length) {
		from = MIN(from, piece->drop_offset);
		to = MAX(to, piece->drop_offset + piece->drop_length);
	}
	flight->object = NULL;
	flights_void(object, from, to, piece->grant - 1);
	flight->object = object;
}

static int install_piece(struct flight *flight, struct region *region,
			 const struct dxf_ioc_piece *piece, int flags)
{
	int err = 0;

	outdate_others(flight, piece);
	if (piece->drop_length)
		err = each_part(flight->object, piece->drop_offset,
				piece->drop_offset + piece->drop_length, clear_part);
	return err ? err : map_piece(flight, region, piece, flags);
}

/* All that was granted so far has a number up to this one. */
static uint64_t last_grant(const struct dxf_ioc_map *map)
{
	uint64_t last = map->count <= DXF_MAP_PIECES ? map->last_grant : 0;

	for (uint32_t i = 0; i < map->count && i < DXF_MAP_PIECES; i++)
		last = MAX(last, map->piece[i].grant);
	return last;
}

static int install(struct flight *flight, struct region *region, int flags, uintptr_t *ret_done)
{
	const struct dxf_ioc_map *map = &flight->map;
	uint64_t done = map->offset;

	flight->object->grant = MAX(flight->object->grant, last_grant(map));
	for (uint32_t i = 0; i < map->count && i < DXF_MAP_PIECES; i++) {
		const struct dxf_ioc_piece *piece = &map->piece[i];
		int err;

		if (noted(&flight->voided, piece))
			break;
		err = install_piece(flight, region, piece, flags);
		if (err)
			return err;
		done = MAX(done, piece->file_offset + piece->length);
	}
	*ret_done = region_addr(region, MIN(done, region_file_end(region)));
	return 0;
}

/* ---- asking ---- */

static struct flight *flight_new(void)
{
	for (;;) {
		for (size_t i = 0; i < FLIGHTS; i++) {
			bool busy = false;

			if (atomic_compare_exchange_strong(&flights[i].busy, &busy, true))
				return &flights[i];
		}
		sys_sleep_ms(1);
	}
}

static void prepare(struct flight *flight, const struct region *region, uintptr_t addr,
		    uintptr_t end, uint32_t access)
{
	struct dxf_ioc_map *map = &flight->map;

	object_hold(region->object);
	flight->object = region->object;
	flight->voided.grant = flight->protected.grant = 0;
	map->session = region->object->session->id;
	map->cookie = region->object->cookie;
	map->offset = region->offset + (addr - region->start);
	map->length = MIN(end, region->end) - addr;
	map->start = region->offset;
	map->end = region_file_end(region);
	map->access = access;
	map->pages = region->pages;
	map->count = 0;
	map->reserved = 0;
	map->last_grant = 0;
}

/* The region may have been cut or have gone, and another one be there. */
static struct region *still_there(const struct flight *flight, uintptr_t addr)
{
	struct region *region = region_at(addr);

	if (!region || region->object != flight->object ||
	    region->offset + (addr - region->start) != flight->map.offset)
		return NULL;
	return region;
}

/* Its region went while it was under way: nobody will let go of these pieces. */
static void give_back(struct flight *flight, struct object *object)
{
	const struct dxf_ioc_map *map = &flight->map;
	uint64_t offset = map->offset, end = offset + map->length, grant = last_grant(map);
	struct held held;

	for (uint32_t i = 0; i < map->count && i < DXF_MAP_PIECES; i++) {
		offset = MIN(offset, map->piece[i].file_offset);
		end = MAX(end, map->piece[i].file_offset + map->piece[i].length);
	}
	held = lock_take();
	flights_void(object, unit_floor(offset), unit_ceiling(end), grant);
	lock_release(held);
	release_units(object, unit_floor(offset), unit_ceiling(end), grant);
}

static int land(struct flight *flight, uintptr_t addr, int err, int flags, uintptr_t *ret_done)
{
	struct held held = lock_take();
	struct region *region = still_there(flight, addr);
	struct object *object = flight->object;
	bool pinned = !err && flight->map.count;

	if (!err)
		err = region ? install(flight, region, flags, ret_done) : -ENOENT;
	flight->object = NULL;
	lock_release(held);
	if (pinned && !region)
		give_back(flight, object);
	else
		object_put(object);
	flight->busy = false;
	return err;
}

int pieces_ask(uintptr_t addr, uintptr_t end, uint32_t access, int flags, uintptr_t *ret_done)
{
	struct flight *flight = flight_new();
	struct held held = lock_take();
	struct region *region = region_at(addr);
	int fd;

	if (!region) {
		lock_release(held);
		flight->busy = false;
		return -ENOENT;
	}
	prepare(flight, region, addr, end, access);
	fd = flight->object->fd;
	lock_release(held);
	return land(flight, addr, daemon_map(fd, &flight->map), flags, ret_done);
}
