/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of a piece. A piece is what the daemon says of a part of a file: it lies there on the
 * device. To read how libdaxmap works, begin here.
 *
 *     asked for      A program maps a file (calls/mmap.c), or touches what is not mapped (a signal,
 *                    faults/fault.c). ask.c sends DXF_IOC_MAP; the question is a flight (flight.c)
 *                    until its answer is mapped. The file is an object (session/object.c): a
 *                    descriptor of our own, which owns the pins.
 *     granted        The daemon pins the extent, gives it a number, and answers. From here on it
 *                    may ask for the piece at any time: the answer may come too late, and
 *                    the flight has been told so.
 *     mapped         With the lock, ask.c looks at the flight, and this file maps the device (or
 *                    zeroes, for a hole) over the background. The region (region.c) says which
 *                    addresses are of which file, its area (area.c) what is mapped of each page.
 *     used           Loads and stores, without us. msync() flushes what was stored (calls/msync.c).
 *     made read-only By the program (mprotect()), or the daemon (PROTECT): pages are DIRTY then,
 *                    if they were for writing, until they are flushed.
 *     taken back     The daemon sends UNMAP; the session's thread (session/connection.c) calls
 *                    revoke.c: the background again, flights void, then LET_GO. The next access
 *                    asks anew. With a long-term pin (pinned.c) it stays.
 *     let go of      The program unmaps it, or the kernel gets the range (part.c): out of the
 *                    table, then release.c tells the daemon, and the pin ends. With the last
 *                    region of the file its descriptor is closed, which ends all its pins.
 *     in a child     A fork (faults/fork.c) has none of the pins, and none of the mappings
 *                    (MADV_DONTFORK): it opens the files anew, and asks for all again.
 *
 * Where nothing is mapped of a region there is its background: a file of no length, mapped with
 * the region's protection. An access to it is a SIGBUS, in a system call EFAULT; so a
 * program's own mprotect and the kernel's behaviour behind the end of a file need no care.
 *
 * What the daemon may believe of us: a page that is mapped has a pin of this process, from before
 * it is mapped until after it is not; one that can be stored to was granted for writing. All
 * of it changes with the one lock (lock.h), which is never held over a question to the daemon.
 */
#include "pieces.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#include "pinned.h"

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/session/connection.h"
#include "daxfuse/daxmap/session/descriptor.h"
#include "daxfuse/daxmap/session/object.h"
#include "daxfuse/daxmap/sys.h"
#include "daxfuse/direct.h"

static int background = -1;
static _Atomic uint64_t generation;

uint64_t pieces_generation(void)
{
	return atomic_load(&generation);
}

/* ---- the background ---- */

errint_t pieces_prepare(void)
{
	struct lock_guard guard;
	int fd;

	if (background >= 0)
		return 0;
	fd = (int)syscall(SYS_memfd_create, "daxmap", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	fd = descriptor_own(fd);
	guard = lock_take();
	if (background < 0) {
		background = fd;
		fd = -1;
	}
	lock_release(guard);
	descriptor_close(fd);
	return 0;
}

void pieces_renumber_locked(int fd, int other)
{
	if (background == fd)
		background = other;
}

errint_t pieces_background_locked(uintptr_t start, uintptr_t end, int prot)
{
	lock_assert_held();
	generation++;
	return sys_mmap_fixed(start, end - start, prot, MAP_SHARED, background, 0);
}

void pieces_note_stores_locked(const struct region *region, uintptr_t start, uintptr_t end)
{
	uint64_t offset = region_offset(region, start), stop = region_offset(region, end);

	if (area_stored(region->area, &offset, &stop))
		object_owe_locked(region->object, offset, stop);
}

errint_t pieces_clear_locked(struct region *region, uintptr_t start, uintptr_t end)
{
	int err = pieces_background_locked(start, end, region->prot);

	if (err)
		return err;
	pieces_note_stores_locked(region, start, end);
	area_set(region->area, region_offset(region, start), region_offset(region, end),
		 PAGE_ABSENT, false, 0);
	return 0;
}

/* ---- protection ---- */

/* The pages of the device that are mapped at the beginning of the range, to be read only. */
static uintptr_t skip_read_only_locked(const struct region *region, uintptr_t at, uintptr_t end)
{
	while (at < end) {
		uint64_t offset = region_offset(region, at);
		enum page_state state = area_page(region->area, offset);

		if (state != PAGE_READ && state != PAGE_DIRTY)
			break;
		at += area_alike(region->area, offset);
	}
	return MIN(at, end);
}

static errint_t permit_stores_locked(struct region *region, uintptr_t start, uintptr_t end)
{
	int err = 0;

	while (!err && start < end) {
		uintptr_t stop = skip_read_only_locked(region, start, end);

		if (stop > start) {
			err = sys_mprotect(start, stop - start, region->prot);
			if (!err)
				area_permit(region->area, region_offset(region, start),
					    region_offset(region, stop));
			start = stop;
		} else {
			start += area_alike(region->area, region_offset(region, start));
		}
	}
	return err;
}

/* A pin was granted for writing, and no answer is mapped over it: nobody else would let stores
 * through again. */
static errint_t permit_stores_to_pinned_locked(struct region *region)
{
	uintptr_t at = region->start, stop;
	int err = 0;

	while (!err && at < region->end) {
		uintptr_t start = at;

		if (!pinned_next_other(&at, region->end, false, &stop))
			at = stop = region->end;
		err = permit_stores_locked(region, start, at);
		at = stop;
	}
	return err;
}

static errint_t protect_region_locked(struct region *region, int prot)
{
	int err = sys_mprotect(region->start, region->end - region->start, prot & ~PROT_WRITE);

	if (err)
		return err;
	generation++;
	region->prot = prot;
	area_protect(region->area, region->offset, region_file_end(region));
	return 0;
}

errint_t pieces_protect_locked(struct region *region, int prot)
{
	int err;

	lock_assert_held();
	prot = prot_with_read(prot);
	err = protect_region_locked(region, prot);
	if (err || !(prot & PROT_WRITE))
		return err;
	err = permit_stores_to_pinned_locked(region);
	if (err)
		protect_region_locked(region, prot & ~PROT_WRITE);
	return err;
}

/* ---- mapping ---- */

/* At this address (MAP_FIXED), or near it. */
static errint_t map_zeroes(uintptr_t *addr, size_t length, int prot, int flags)
{
	return sys_mmap(*addr, length, prot & ~PROT_WRITE,
			flags | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, addr);
}

static errint_t map_device(const struct session *session, uintptr_t *addr, size_t length, int prot,
			   int flags, uint64_t device_offset)
{
	int err;

	flags |= session->flags & DIRECT_MAP_SYNC ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED;
	err = sys_mmap(*addr, length, prot, flags, session->device, device_offset, addr);
	if (err)
		return err;
	/* A child has no pins: it gets mappings of its own. */
	err = sys_madvise(*addr, length, MADV_DONTFORK);
	if (err && !(flags & MAP_FIXED))
		sys_munmap(*addr, length);
	return err;
}

static errint_t map_range(const struct region *region, const struct dxf_ioc_piece *piece,
			  uint64_t offset, uintptr_t *addr, size_t length, bool writable, int flags)
{
	uint64_t device_offset = piece->device_offset + (offset - piece->file_offset);

	generation++;
	if (piece->flags & DXF_PIECE_ZERO)
		return map_zeroes(addr, length, region->prot, flags & MAP_FIXED);
	return map_device(region->object->session, addr, length,
			  writable ? region->prot : region->prot & ~PROT_WRITE, flags,
			  device_offset);
}

static void note_mapped_locked(struct region *region, const struct dxf_ioc_piece *piece,
			       uint64_t offset, uint64_t end, bool writable)
{
	enum page_state state = piece->flags & DXF_PIECE_ZERO ? PAGE_ZERO
				: writable                    ? PAGE_WRITE
							      : PAGE_READ;
	bool huge = piece->flags & DXF_PIECE_HUGE && !region->pages;

	area_set(region->area, offset, end, state, huge, (uint8_t)piece->reason);
}

errint_t piece_map_locked(struct region *region, const struct dxf_ioc_piece *piece, uint64_t offset,
			  uint64_t end, bool writable, int flags)
{
	uintptr_t start = region_addr(region, offset), addr = start;
	int err;

	lock_assert_held();
	err = map_range(region, piece, offset, &addr, end - offset, writable, flags | MAP_FIXED);
	if (err)
		pieces_clear_locked(region, start, region_addr(region, end));
	else
		note_mapped_locked(region, piece, offset, end, writable);
	return err;
}

static void place_region(struct region *region, uintptr_t addr)
{
	region->end = addr + (region->end - region->start);
	region->start = addr;
}

errint_t piece_map_anywhere_locked(struct region *region, const struct dxf_ioc_piece *piece,
				   bool writable)
{
	uintptr_t addr = region->start;
	int err;

	lock_assert_held();
	err = map_range(region, piece, region->offset, &addr, region->end - region->start, writable,
			0);
	if (err)
		return err;
	place_region(region, addr);
	note_mapped_locked(region, piece, region->offset, region_file_end(region), writable);
	return 0;
}

errint_t pieces_background_anywhere_locked(struct region *region)
{
	uintptr_t addr = region->start;
	int err = sys_mmap(addr, region->end - region->start, region->prot, MAP_SHARED, background,
			   0, &addr);

	lock_assert_held();
	if (!err)
		place_region(region, addr);
	return err;
}

/* ---- all that is mapped of a range of a file ---- */

typedef errint_t part_function(struct region *region, uintptr_t start, uintptr_t end);

/* Of a part of a region, what has no long-term pin: that is none of the daemon's questions. */
static errint_t each_unpinned_locked(struct region *region, uintptr_t start, uintptr_t end,
				     part_function *function)
{
	uintptr_t stop;
	int err = 0;

	while (pinned_next_other(&start, end, true, &stop)) {
		int got = function(region, start, stop);

		err = err ? err : got;
		start = stop;
	}
	return err;
}

static errint_t each_mapping_locked(struct object *object, uint64_t offset, uint64_t end,
				    part_function *function)
{
	int err = 0;

	for (struct region *r = region_from(0); r; r = region_next(r)) {
		uint64_t from = MAX(offset, r->offset), to = MIN(end, region_file_end(r));
		int got;

		if (r->object != object || from >= to)
			continue;
		got = each_unpinned_locked(r, region_addr(r, from), region_addr(r, to), function);
		err = err ? err : got;
	}
	return err;
}

/* Without the memory for one more mapping the whole region goes: that needs less of it. */
static errint_t clear_part_locked(struct region *region, uintptr_t start, uintptr_t end)
{
	uintptr_t first = region->start, stop;
	int err = pieces_clear_locked(region, start, end);

	if (err && pinned_next_other(&first, region->end, false, &stop) && first == region->start &&
	    stop == region->end)
		err = pieces_clear_locked(region, region->start, region->end);
	return err;
}

static errint_t protect_part_locked(struct region *region, uintptr_t start, uintptr_t end)
{
	int err = 0;

	if (region->prot & PROT_WRITE)
		err = sys_mprotect(start, end - start, region->prot & ~PROT_WRITE);
	generation++;
	if (err)
		return clear_part_locked(region, start, end);
	area_protect(region->area, region_offset(region, start), region_offset(region, end));
	return 0;
}

errint_t pieces_clear_file_locked(struct object *object, uint64_t offset, uint64_t end)
{
	return each_mapping_locked(object, offset, end, clear_part_locked);
}

errint_t pieces_protect_file_locked(struct object *object, uint64_t offset, uint64_t end)
{
	return each_mapping_locked(object, offset, end, protect_part_locked);
}

bool pieces_drop_zeroes_locked(struct region *region, uintptr_t start, uintptr_t end)
{
	uintptr_t at = start;
	bool dropped = false;

	while (at < end) {
		uintptr_t from = at;

		while (at < end && area_page(region->area, region_offset(region, at)) == PAGE_ZERO)
			at += area_alike(region->area, region_offset(region, at));
		at = MIN(at, end);
		if (at > from) {
			clear_part_locked(region, from, at);
			dropped = true;
		} else {
			at += area_alike(region->area, region_offset(region, at));
		}
	}
	return dropped;
}
