/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An access to what is not mapped: is it the program's fault, or can it be resolved? The table may
 * have changed since the access: another thread was faster, or has unmapped the range. So an access
 * that should not have failed is repeated, once for each change (pieces_generation(),
 * part_replacements()), before the program gets the signal.
 *
 * What is asked for is the unit around it. Refusals are of three kinds. Some pass (the daemon is
 * being replaced, another program is about to let go): they are waited for. Some are of the page
 * (no space, poison, the end of the file): a SIGBUS. After any other the kernel maps the range.
 */
#include "fault.h"

#include <errno.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/regions/ask.h"
#include "daxfuse/daxmap/regions/part.h"
#include "daxfuse/daxmap/regions/pieces.h"
#include "daxfuse/daxmap/regions/region.h"
#include "daxfuse/daxmap/sys.h"
#include "daxfuse/ioctl.h"

enum { PATIENCE_MS = 10000, PAUSE_MS = 10 };

/* ---- answers ---- */

/* The daemon is being replaced, or another holder is about to let go. */
static bool is_passing(int err)
{
	return err == -ENOTCONN || err == -EBUSY || err == -EINTR || err == -EAGAIN ||
	       err == -ECONNABORTED;
}

/* Of this page: others of the file may be better off. */
static bool is_of_page(int err)
{
	return err == -ENXIO || err == -EIO || err == -ENOSPC || err == -EDQUOT;
}

/* Ask until it is mapped or there is an answer; an answer that came too late is asked for
 * again. *waited: so far. */
static errint_t ask_patiently(uintptr_t addr, uintptr_t end, uint32_t access, int flags,
			      unsigned patience, unsigned *waited, uintptr_t *ret_done)
{
	for (;;) {
		uintptr_t done = addr;
		int err = ask_for_pieces(addr, end, access, flags, &done);

		if (!err && done > addr) {
			*ret_done = done;
			return 0;
		}
		if (err && !is_passing(err))
			return err;
		if (*waited >= patience)
			return err ? err : -EBUSY;
		/* an answer that came too late: again at once, but not for ever */
		if (err)
			sys_sleep_ms(PAUSE_MS);
		*waited += err ? PAUSE_MS : 1;
	}
}

/* The rest comes with faults. */
static bool can_go_on(int err)
{
	return err == -ENXIO || err == -ENOENT || err == -ENOTCONN;
}

bool fault_is_final(int err)
{
	return err && !can_go_on(err) && !is_passing(err) && !is_of_page(err);
}

/* Map all that can be mapped now. */
static errint_t fill_range(uintptr_t start, uintptr_t end, uint64_t offset, uint32_t access,
			   int flags)
{
	uintptr_t at = start;

	while (at < end) {
		unsigned waited = 0;
		int err = ask_patiently(at, end, access, flags, PAUSE_MS, &waited, &at);

		if (can_go_on(err))
			return 0;
		if (fault_is_final(err))
			return err;
		/* the next unit may be better off */
		if (err)
			at += UNIT_BYTES - (offset + (at - start)) % UNIT_BYTES;
	}
	return 0;
}

/* ---- one fault ---- */

struct unit {
	uintptr_t start, end; /* of the unit around the address, the part in its region */
	uintptr_t region_start, region_end;
};

/* Where this thread has faulted last, and what the generation was then. */
static __thread __attribute__((tls_model("initial-exec"))) uintptr_t repeated;
static __thread __attribute__((tls_model("initial-exec"))) uint64_t repeated_generation;
static __thread __attribute__((tls_model("initial-exec"))) uint64_t seen_replacements;

/* Another thread may have resolved it already: the access is repeated, once for each change. */
static bool may_have_changed(uintptr_t addr)
{
	uint64_t now = pieces_generation();
	bool same = repeated == addr && repeated_generation == now;

	repeated = addr;
	repeated_generation = now;
	return !same;
}

static bool not_yet_seen(void)
{
	uint64_t now = part_replacements();
	bool same = seen_replacements == now;

	seen_replacements = now;
	return !same;
}

static bool is_allowed(const struct region *region, bool write)
{
	return write ? region->prot & PROT_WRITE : region->prot != PROT_NONE;
}

static bool is_mapped(const struct region *region, uintptr_t addr, bool write)
{
	enum page_state state = area_page(region->area, region_offset(region, addr));

	return write ? state == PAGE_WRITE : state != PAGE_ABSENT;
}

static void unit_around(const struct region *region, uintptr_t addr, struct unit *ret_unit)
{
	uint64_t inside = (region_offset(region, addr)) % UNIT_BYTES;
	uintptr_t below = addr - region->start, above = region->end - addr;

	ret_unit->start = addr - MIN(inside, below);
	ret_unit->end = addr + MIN(UNIT_BYTES - inside, above);
	ret_unit->region_start = region->start;
	ret_unit->region_end = region->end;
}

/* true: go on and ask for the unit; else *ret_verdict. */
static bool judge_fault_locked(uintptr_t addr, bool write, bool bus, struct unit *ret_unit,
			       enum fault *ret_verdict)
{
	struct region *region = region_at(addr);

	if (!region) {
		*ret_verdict = not_yet_seen() ? FAULT_AGAIN : FAULT_FOREIGN;
		return false;
	}
	if (!is_allowed(region, write)) {
		*ret_verdict = may_have_changed(addr) ? FAULT_AGAIN : FAULT_FOREIGN;
		return false;
	}
	if (is_mapped(region, addr, write)) {
		*ret_verdict = bus ? FAULT_BUS : FAULT_FOREIGN;
		if (may_have_changed(addr))
			*ret_verdict = FAULT_AGAIN;
		return false;
	}
	unit_around(region, addr, ret_unit);
	return true;
}

static errint_t ask_for_unit(const struct unit *unit, uintptr_t page, bool write)
{
	uint32_t access = write ? DXF_ACCESS_WRITE : DXF_ACCESS_READ;
	uintptr_t at = unit->start;
	unsigned waited = 0;

	while (at <= page) {
		int err = ask_patiently(at, unit->end, access, 0, PATIENCE_MS, &waited, &at);

		/* it may be a page below that can't be had */
		if (err && at < page && is_of_page(err))
			at = page;
		else if (err)
			return err;
	}
	return 0;
}

/* Have the repeated access raise the kernel's own SIGBUS. */
static enum fault turn_into_bus(uintptr_t page)
{
	struct lock_guard guard = lock_take();
	struct region *region = region_at(page);
	int err = region ? pieces_clear_locked(region, page, page + PAGE_BYTES) : 0;
	struct unit unit;

	if (err) {
		unit_around(region, page, &unit);
		err = pieces_clear_locked(region, unit.start, unit.end);
	}
	lock_release(guard);
	return err ? FAULT_BUS : FAULT_AGAIN;
}

enum fault fault_resolve(uintptr_t addr, bool write, bool bus)
{
	uintptr_t page = addr / PAGE_BYTES * PAGE_BYTES;
	enum fault verdict;
	struct unit unit;
	struct lock_guard guard = lock_take();
	bool go_on = judge_fault_locked(page, write, bus, &unit, &verdict);
	int err;

	lock_release(guard);
	if (!go_on)
		return verdict;
	err = ask_for_unit(&unit, page, write);
	if (!err || err == -ENOENT)
		return FAULT_AGAIN;
	if (!is_of_page(err) && !part_to_kernel(unit.region_start, unit.region_end))
		return FAULT_AGAIN;
	return bus ? FAULT_BUS : turn_into_bus(page);
}

/* ---- ahead of system calls ---- */

/* The first page at or above *addr, below end, that an access would fault on. */
static bool find_fault_locked(uintptr_t *addr, uintptr_t end, bool write)
{
	bool found = false;

	while (!found && *addr < end) {
		struct region *region = region_from(*addr);

		if (!region || region->start >= end)
			break;
		*addr = MAX(*addr, region->start);
		while (!found && *addr < MIN(end, region->end)) {
			found = is_allowed(region, write) && !is_mapped(region, *addr, write);
			if (!found)
				*addr += area_alike(region->area, region_offset(region, *addr));
		}
	}
	return found;
}

bool fault_is_populated_locked(uintptr_t start, uintptr_t end, bool write)
{
	return !find_fault_locked(&start, end, write);
}

static bool find_fault(uintptr_t *addr, uintptr_t end, bool write)
{
	struct lock_guard guard = lock_take();
	bool found = find_fault_locked(addr, end, write);

	lock_release(guard);
	return found;
}

errint_t fault_populate(uintptr_t start, uintptr_t end, bool write)
{
	uintptr_t addr = start / PAGE_BYTES * PAGE_BYTES;

	while (find_fault(&addr, end, write)) {
		if (fault_resolve(addr, write, true) == FAULT_BUS)
			return -EFAULT;
	}
	return 0;
}

errint_t fault_fill_region(uintptr_t start, uintptr_t end, uint64_t offset, int prot, int flags)
{
	uint32_t access = prot & PROT_WRITE ? DXF_ACCESS_EAGER : DXF_ACCESS_READ;

	return prot == PROT_NONE ? 0 : fill_range(start, end, offset, access, flags & MAP_POPULATE);
}
