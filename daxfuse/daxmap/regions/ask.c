/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon is asked without the lock, and may take a while. Meanwhile pieces may be taken back
 * (the flight is told), other threads may ask for the same (the higher number wins), and the region
 * may be cut, go, or be replaced (so it is looked for again).
 */
#include "ask.h"

#include <errno.h>
#include <stddef.h>

#include "flight.h"
#include "pieces.h"
#include "pinned.h"
#include "region.h"
#include "release.h"

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/session/connection.h"
#include "daxfuse/daxmap/session/daemon.h"
#include "daxfuse/daxmap/session/object.h"
#include "daxfuse/daxmap/sys.h"

/* ---- the question ---- */

/* The descriptor to ask with. */
static int prepare_locked(struct flight *flight, const struct region *region, uintptr_t addr,
			  uintptr_t end, uint32_t access)
{
	struct dxf_ioc_map *map = &flight->map;

	flight_start_locked(flight, region->object);
	map->session = region->object->session->id;
	map->cookie = region->object->cookie;
	map->offset = region_offset(region, addr);
	map->length = MIN(end, region->end) - addr;
	map->start = region->offset;
	map->end = region_file_end(region);
	map->access = access;
	map->pages = region->pages;
	map->count = 0;
	map->reserved = 0;
	map->last_grant = 0;
	return region->object->fd;
}

/* All that was granted so far has a number up to this one. */
static uint64_t last_grant(const struct dxf_ioc_map *map)
{
	uint64_t last = map->count <= DXF_MAP_PIECES ? map->last_grant : 0;

	for (uint32_t i = 0; i < map->count && i < DXF_MAP_PIECES; i++)
		last = MAX(last, map->piece[i].grant);
	return last;
}

/* The answer has no region, so that nobody else would let go of these pieces. The object is put. */
static void give_back(struct flight *flight, struct object *object)
{
	const struct dxf_ioc_map *map = &flight->map;
	uint64_t offset = map->offset, end = offset + map->length, grant = last_grant(map);
	struct lock_guard guard;

	for (uint32_t i = 0; i < map->count && i < DXF_MAP_PIECES; i++) {
		offset = MIN(offset, map->piece[i].file_offset);
		end = MAX(end, map->piece[i].file_offset + map->piece[i].length);
	}
	guard = lock_take();
	flights_void_locked(object, unit_floor(offset), unit_ceiling(end), grant);
	lock_release(guard);
	release_units(object, unit_floor(offset), unit_ceiling(end), grant);
}

/* ---- the answer, for a region ---- */

static bool may_store_locked(const struct flight *flight, const struct region *region,
			     const struct dxf_ioc_piece *piece)
{
	return piece->flags & DXF_PIECE_WRITABLE && !(piece->flags & DXF_PIECE_ZERO) &&
	       region->prot & PROT_WRITE && !flight_is_protected_locked(flight, piece);
}

/* All of a piece that lies in the region, but for parts that have a long-term pin: these stay as
 * they are mapped. */
static errint_t map_piece_locked(struct flight *flight, struct region *region,
				 const struct dxf_ioc_piece *piece, int flags)
{
	uint64_t from = MAX(piece->file_offset, region->offset);
	uint64_t to = MIN(piece->file_offset + piece->length, region_file_end(region));
	bool writable = may_store_locked(flight, region, piece);
	uintptr_t start, stop;
	int err = 0;

	if (from >= to)
		return 0;
	start = region_addr(region, from);
	while (!err && pinned_next_other(&start, region_addr(region, to), false, &stop)) {
		err = piece_map_locked(region, piece, region_offset(region, start),
				       region_offset(region, stop), writable, flags);
		start = stop;
	}
	return err;
}

static errint_t install_piece_locked(struct flight *flight, struct region *region,
				     const struct dxf_ioc_piece *piece, int flags)
{
	int err = 0;

	flights_void_others_locked(flight, piece);
	if (piece->drop_length)
		err = pieces_clear_file_locked(flight->object, piece->drop_offset,
					       piece->drop_offset + piece->drop_length);
	return err ? err : map_piece_locked(flight, region, piece, flags);
}

static errint_t install_answer_locked(struct flight *flight, struct region *region, int flags,
				      uintptr_t *ret_done)
{
	const struct dxf_ioc_map *map = &flight->map;
	uint64_t done = map->offset;

	flight->object->grant = MAX(flight->object->grant, last_grant(map));
	for (uint32_t i = 0; i < map->count && i < DXF_MAP_PIECES; i++) {
		const struct dxf_ioc_piece *piece = &map->piece[i];
		int err;

		if (flight_is_void_locked(flight, piece))
			break;
		err = install_piece_locked(flight, region, piece, flags);
		if (err)
			return err;
		done = MAX(done, piece->file_offset + piece->length);
	}
	*ret_done = region_addr(region, MIN(done, region_file_end(region)));
	return 0;
}

/* The region may have been cut or have gone, and another one be there. */
static struct region *find_region_locked(const struct flight *flight, uintptr_t addr)
{
	struct region *region = region_at(addr);

	if (!region || region->object != flight->object ||
	    region_offset(region, addr) != flight->map.offset)
		return NULL;
	return region;
}

static errint_t land_flight(struct flight *flight, uintptr_t addr, int err, int flags,
			    uintptr_t *ret_done)
{
	struct lock_guard guard = lock_take();
	struct region *region = find_region_locked(flight, addr);
	struct object *object = flight->object;
	bool pinned = !err && flight->map.count;

	if (!err)
		err = region ? install_answer_locked(flight, region, flags, ret_done) : -ENOENT;
	flight->object = NULL;
	lock_release(guard);
	if (pinned && !region)
		give_back(flight, object);
	else
		object_put(object);
	flight_end(flight);
	return err;
}

errint_t ask_for_pieces(uintptr_t addr, uintptr_t end, uint32_t access, int flags,
			uintptr_t *ret_done)
{
	struct flight *flight = flight_new();
	struct lock_guard guard = lock_take();
	struct region *region = region_at(addr);
	int fd;

	if (!region) {
		lock_release(guard);
		flight_end(flight);
		return -ENOENT;
	}
	fd = prepare_locked(flight, region, addr, end, access);
	lock_release(guard);
	return land_flight(flight, addr, daemon_map(fd, &flight->map), flags, ret_done);
}

/* ---- the answer, for a region that is to be ---- */

/* The one piece that is all of it; NULL: there is none. */
static const struct dxf_ioc_piece *find_whole_piece_locked(const struct flight *flight)
{
	const struct dxf_ioc_map *map = &flight->map;
	const struct dxf_ioc_piece *piece = &map->piece[0];

	if (map->count != 1 || piece->drop_length || piece->file_offset > map->offset ||
	    piece->file_offset + piece->length < map->offset + map->length ||
	    flight_is_void_locked(flight, piece))
		return NULL;
	return piece;
}

/* Addresses, with the piece there or the background. */
static errint_t give_address_locked(const struct flight *flight, struct region *region,
				    const struct dxf_ioc_piece *piece)
{
	const struct region *other;
	int err = piece ? piece_map_anywhere_locked(region, piece,
						    may_store_locked(flight, region, piece))
			: pieces_background_anywhere_locked(region);

	if (err)
		return err;
	other = region_from(region->start);
	if (!other || other->start >= region->end)
		return 0;
	/* addresses of ours that the program has unmapped behind our back */
	sys_munmap(region->start, region->end - region->start);
	return -EAGAIN;
}

/* *ret_done: up to where it is filled. */
static errint_t enter_region_locked(struct flight *flight, struct region *region,
				    uintptr_t *ret_done)
{
	const struct dxf_ioc_piece *piece = find_whole_piece_locked(flight);
	int err = give_address_locked(flight, region, piece);

	if (err)
		return err;
	object_hold_locked(region->object);
	region_insert(region);
	*ret_done = piece ? region->end : region->start;
	if (!piece) {
		install_answer_locked(flight, region_at(region->start), 0, ret_done);
		return 0;
	}
	flights_void_others_locked(flight, piece);
	flight->object->grant = MAX(flight->object->grant, last_grant(&flight->map));
	return 0;
}

static errint_t make_region_locked(struct flight *flight, struct region *region,
				   uintptr_t *ret_done)
{
	int err = regions_reserve(1);

	if (!err)
		err = area_new(region->offset, region->end - region->start, &region->area);
	if (err)
		return err;
	area_hold(region->area);
	err = enter_region_locked(flight, region, ret_done);
	area_put(region->area);
	return err;
}

errint_t ask_for_region(struct region *region, uint32_t access, uintptr_t *ret_done)
{
	struct flight *flight = flight_new();
	struct object *object = region->object;
	struct lock_guard guard = lock_take();
	int fd = prepare_locked(flight, region, region->start, region->end, access), err;
	bool pinned;

	lock_release(guard);
	err = daemon_map(fd, &flight->map);
	pinned = !err && flight->map.count;
	guard = lock_take();
	if (!err)
		err = make_region_locked(flight, region, ret_done);
	flight->object = NULL;
	lock_release(guard);
	if (err && pinned)
		give_back(flight, object);
	else
		object_put(object);
	flight_end(flight);
	return err;
}
