/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dxm_map(), dxm_unmap().
 *
 * A mapping that holds no whole unit can't be huge, so its address does not matter: the daemon is
 * asked first, and the answer mapped where the kernel likes, mostly with one mmap. For any other
 * mapping a range of addresses is reserved that lines up with the file; it gets its background,
 * enters the table, and is then filled. If an early answer says that the file can't be mapped
 * directly, the kernel maps it at these addresses.
 *
 * Signals are blocked meanwhile: mmap() is no cancellation point and is not interrupted, as
 * opening the file and asking the daemon would be. It also saves the lock from doing so each time.
 */
#include "mmap.h"

#include "answer.h"
#include "verbose.h"
#include "daxfuse/base/errint.h"

#include <errno.h>
#include <pthread.h>

#include "daxfuse/daxmap.h"
#include "daxfuse/daxmap/faults/fault.h"
#include "daxfuse/daxmap/faults/fork.h"
#include "daxfuse/daxmap/faults/handler.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/regions/ask.h"
#include "daxfuse/daxmap/regions/part.h"
#include "daxfuse/daxmap/regions/pieces.h"
#include "daxfuse/daxmap/regions/region.h"
#include "daxfuse/daxmap/regions/revoke.h"
#include "daxfuse/daxmap/session/connection.h"
#include "daxfuse/daxmap/session/object.h"
#include "daxfuse/daxmap/sys.h"
#include "daxfuse/direct.h"
#include "daxfuse/ioctl.h"

enum {
	FLAGS = MAP_TYPE | MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_POPULATE | MAP_NONBLOCK |
		MAP_NORESERVE | MAP_SYNC | MAP_DENYWRITE | MAP_EXECUTABLE | MAP_STACK,
};

/* ---- through the kernel ---- */

static errint_t replace_by_plain(uintptr_t start, uintptr_t end, const void *argument)
{
	const struct map_request *r = argument;

	return sys_mmap_fixed(start, end - start, r->prot,
			      r->flags & ~(MAP_FIXED_NOREPLACE | MAP_FIXED), r->fd,
			      r->fd < 0 ? 0 : r->offset + (start - r->addr));
}

/* In the place of mappings of ours, which leave the table. */
static errint_t map_plain_over(const struct map_request *r, uintptr_t *ret_addr)
{
	int err = part_replaced(r->addr, r->addr + round_to_pages(r->length), replace_by_plain, r);

	if (!err)
		*ret_addr = r->addr;
	return err;
}

static errint_t map_plain(const struct map_request *r, uintptr_t *ret_addr)
{
	if (r->flags & MAP_FIXED && r->addr % PAGE_BYTES == 0 && r->offset % PAGE_BYTES == 0 &&
	    r->length && r->length < UINTPTR_MAX - r->addr - PAGE_BYTES &&
	    regions_near(r->addr, r->addr + r->length))
		return map_plain_over(r, ret_addr);
	return sys_mmap(r->addr, r->length, r->prot, r->flags, r->fd, r->offset, ret_addr);
}

/* ---- directly ---- */

/* What may be mapped directly, as far as the arguments tell. */
static bool is_candidate(const struct map_request *r, bool *ret_writable)
{
	int type = r->flags & MAP_TYPE, mode;

	if (r->fd < 0 || !r->length || (type != MAP_SHARED && type != MAP_SHARED_VALIDATE) ||
	    r->flags & ~FLAGS || r->prot & ~(PROT_READ | PROT_WRITE) || r->offset % PAGE_BYTES ||
	    r->length > INT64_MAX || r->offset > INT64_MAX - r->length)
		return false;
	if (r->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) &&
	    (r->addr % PAGE_BYTES || r->addr > UINTPTR_MAX / 2 - r->length))
		return false;
	mode = (int)syscall(SYS_fcntl, r->fd, F_GETFL);
	if (mode < 0 || mode & O_PATH || (mode & O_ACCMODE) == O_WRONLY)
		return false;
	*ret_writable = (mode & O_ACCMODE) == O_RDWR;
	return *ret_writable || !(r->prot & PROT_WRITE);
}

static bool lines_up(uintptr_t addr, uint64_t offset)
{
	return (addr - offset) % UNIT_BYTES == 0;
}

/* No unit lies in the range as a whole. */
static bool holds_no_unit(uint64_t offset, uint64_t length)
{
	return unit_ceiling(offset) + UNIT_BYTES > offset + length;
}

bool map_needs_pages(uintptr_t addr, uint64_t offset, uint64_t length)
{
	return !lines_up(addr, offset) && !holds_no_unit(offset, length);
}

/* Any range that lines up. */
static errint_t reserve_aligned(const struct map_request *r, uintptr_t *ret_addr)
{
	size_t length = round_to_pages(r->length), head, tail;
	uintptr_t got = 0;
	int err = sys_mmap(0, length + UNIT_BYTES, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, &got);

	if (err)
		return err;
	head = (r->offset - got) % UNIT_BYTES;
	tail = UNIT_BYTES - head;
	if (head)
		sys_munmap(got, head);
	sys_munmap(got + head + length, tail);
	*ret_addr = got + head;
	return 0;
}

static errint_t reserve_at(const struct map_request *r, uintptr_t *ret_addr)
{
	return sys_mmap(r->addr, round_to_pages(r->length), PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0,
			ret_addr);
}

/* Addresses for the mapping; with MAP_FIXED whatever is there stays until it is mapped over. */
static errint_t reserve_range(const struct map_request *r, uintptr_t *ret_addr)
{
	if (r->flags & MAP_FIXED_NOREPLACE)
		return reserve_at(r, ret_addr);
	if (r->flags & MAP_FIXED) {
		*ret_addr = r->addr;
		return 0;
	}
	if (r->addr && lines_up(r->addr, r->offset) && !reserve_at(r, ret_addr))
		return 0;
	return reserve_aligned(r, ret_addr);
}

/* What the device can't do, and what can't be promised. */
static errint_t check_session(const struct map_request *r, const struct session *session)
{
	uint64_t together = r->offset | r->length | r->addr;

	if (session->device < 0)
		return -ENOTCONN;
	if (r->flags & MAP_SYNC && !(session->flags & (DIRECT_FLUSH | DIRECT_MAP_SYNC)))
		return -EOPNOTSUPP;
	if (!(r->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) || !(session->flags & DIRECT_UNITS))
		return 0;
	return together % UNIT_BYTES ? -EOPNOTSUPP : 0;
}

static errint_t replace_by_region_locked(uintptr_t start, uintptr_t end, const void *argument)
{
	const struct region *whole = argument;
	struct region region = *whole;
	int err = pieces_background_locked(start, end, whole->prot);

	if (err)
		return err;
	region.start = start;
	region.end = end;
	region.offset += start - whole->start;
	object_hold_locked(region.object);
	region_insert(&region);
	return 0;
}

static errint_t make_area(const struct region *region, struct area **ret_area)
{
	struct lock_guard guard = lock_take();
	int err = area_new(region->offset, region->end - region->start, ret_area);

	if (!err)
		area_hold(*ret_area);
	lock_release(guard);
	return err;
}

errint_t map_region(const struct region *wanted)
{
	struct region region = *wanted;
	struct lock_guard guard;
	int err = make_area(wanted, &region.area);

	if (err)
		return err;
	err = part_replaced(region.start, region.end, replace_by_region_locked, &region);
	guard = lock_take();
	area_put(region.area);
	lock_release(guard);
	return err;
}

/* What is reserved for it: whole units, where the device knows nothing else. */
static struct map_request widen_request(const struct map_request *r, const struct session *session)
{
	struct map_request wide = *r;

	wide.length = round_to_pages(r->length);
	if (session->flags & DIRECT_UNITS) {
		wide.offset = unit_floor(r->offset);
		wide.length = unit_ceiling(r->offset + wide.length) - wide.offset;
		wide.addr = r->addr ? r->addr - (r->offset - wide.offset) : 0;
	}
	return wide;
}

static errint_t leave_to_kernel(const struct map_request *r, const struct region *region)
{
	struct map_request there = *r;
	uintptr_t got;

	if (region->head || region->tail)
		return part_to_kernel(region->start, region->end);
	there.addr = region->start;
	return map_plain_over(&there, &got);
}

/* It can't be had directly, now or later. */
static errint_t give_up(const struct map_request *r, const struct region *region, int why)
{
	int err;

	report_kernel(r->fd, r->length, why);
	err = leave_to_kernel(r, region);
	if (err)
		part_unmap(region->start, region->end);
	return err;
}

/* At reserved addresses: directly, or through the kernel. */
static errint_t map_at(const struct map_request *r, const struct map_request *wide,
		       struct object *object, uintptr_t addr)
{
	struct region region = { .start = addr,
				 .end = addr + wide->length,
				 .offset = wide->offset,
				 .object = object,
				 .prot = prot_with_read(r->prot),
				 .pages = map_needs_pages(addr, wide->offset, wide->length),
				 .head = (uint32_t)(r->offset - wide->offset) };
	int err;

	region.tail = (uint32_t)(wide->length - region.head - round_to_pages(r->length));
	err = map_region(&region);
	if (!err)
		err = fault_fill_region(region.start, region.end, region.offset, region.prot,
					r->flags);
	return err ? give_up(r, &region, err) : 0;
}

/* ---- the short way ---- */

static bool is_small(const struct map_request *r, const struct session *session)
{
	return !(r->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_POPULATE)) &&
	       r->prot != PROT_NONE && !(session->flags & DIRECT_UNITS) &&
	       r->addr % PAGE_BYTES == 0 && r->addr < UINTPTR_MAX / 2 &&
	       holds_no_unit(r->offset, round_to_pages(r->length));
}

static errint_t map_small(const struct map_request *r, struct object *object, uintptr_t *ret_addr)
{
	uint32_t access = r->prot & PROT_WRITE ? DXF_ACCESS_EAGER : DXF_ACCESS_READ;
	struct region region = {
		.start = r->addr,
		.end = r->addr + round_to_pages(r->length),
		.offset = r->offset,
		.object = object,
		.prot = prot_with_read(r->prot),
	};
	uintptr_t done;
	int err = ask_for_region(&region, access, &done);

	if (err)
		return err;
	*ret_addr = region.start;
	if (done < region.end)
		err = fault_fill_region(done, region.end, region_offset(&region, done), region.prot,
					0);
	return err ? give_up(r, &region, err) : 0;
}

/* ---- all of it ---- */

static errint_t map_large(const struct map_request *r, struct object *object, uintptr_t *ret_addr)
{
	struct map_request wide = widen_request(r, object->session);
	uintptr_t addr;
	int err = reserve_range(&wide, &addr);

	/* what lines up takes more room */
	if (err == -ENOMEM)
		return map_plain(r, ret_addr);
	if (!err)
		err = map_at(r, &wide, object, addr);
	if (!err)
		*ret_addr = addr + (r->offset - wide.offset);
	return err;
}

/* What every direct mapping needs. */
static int prepare_directly(const struct map_request *r, const struct session *session)
{
	int err = pieces_prepare();

	if (!err)
		err = handlers_install();
	if (!err)
		err = fork_check();
	return err ? err : check_session(r, session);
}

errint_t map_object(const struct map_request *r, struct object *object, uintptr_t *ret_addr)
{
	int err = prepare_directly(r, object->session);
	bool small = !err && is_small(r, object->session);

	if (small) {
		err = map_small(r, object, ret_addr);
		if (!err)
			return 0;
	}
	/* the answer may be another one later: a region is there for that */
	if (!err || (small && !fault_is_final(err)))
		return map_large(r, object, ret_addr);
	report_kernel(r->fd, r->length, err);
	return map_plain(r, ret_addr);
}

static errint_t map_candidate(const struct map_request *r, bool writable, uintptr_t *ret_addr)
{
	struct object *object;
	int err = object_get(r->fd, writable, &revoke_ops, &object);

	if (err) {
		report_kernel(r->fd, r->length, err);
		return map_plain(r, ret_addr);
	}
	err = map_object(r, object, ret_addr);
	object_put(object);
	return err;
}

static errint_t map_range(const struct map_request *r, uintptr_t *ret_addr)
{
	uint64_t mask;
	int state, err;
	bool writable;

	if (!is_candidate(r, &writable)) {
		report_unsuited(r->fd, r->length);
		return map_plain(r, ret_addr);
	}
	mask = signals_block();
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	err = map_candidate(r, writable, ret_addr);
	pthread_setcancelstate(state, NULL);
	signals_restore(mask);
	/* what is the kernel's is populated already, and none of ours */
	if (!err && r->flags & MAP_POPULATE && r->prot != PROT_NONE)
		fault_populate(*ret_addr, *ret_addr + r->length, r->prot & PROT_WRITE);
	return err;
}

void *dxm_map(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	struct map_request request = { (uintptr_t)addr, length, prot, flags, fd, (uint64_t)offset };
	int saved = errno, err;
	uintptr_t got;

	err = map_range(&request, &got);
	errno = err ? -err : saved;
	return err ? MAP_FAILED : (void *)got;
}

int dxm_unmap(void *addr, size_t length)
{
	uintptr_t start = (uintptr_t)addr, end = range_end(start, length);
	int saved = errno, err;
	uint64_t mask;

	if (start % PAGE_BYTES || end <= start || !regions_near(start, end)) {
		err = sys_munmap(start, length);
	} else {
		mask = signals_block();
		report_regions(start, end);
		err = part_unmap(start, end);
		signals_restore(mask);
	}
	errno = err ? -err : saved;
	return err ? -1 : 0;
}
