/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table.
 *
 * QEMU 11.1 (its generic vhost-user device) makes a memory region of each piece, and tells us of it
 * as of others: it refuses pieces that overlap, and takes away only what is just one piece. All are
 * writable, whatever it is told. It must be able to tell of more than eight regions, or a guest
 * that was stopped does not go on; and of 512 at most, or it aborts. (It also ends when the guest
 * is reset with pieces in place.)
 *
 * crosvm answers when the piece is there, honours read-only ones, and has a slot of KVM for each:
 * they can't overlap. alioth maps into one range, over what is there; its user says how large that
 * is, as it asks nobody.
 */
#include "dialect.h"

#include <errno.h>

#include "daxfuse/base/bits.h"
#include "window.h"

#define SHMEM (UINT64_C(1) << 22)
#define SHMEM_OF_ALIOTH (UINT64_C(1) << 21)

/* Beside the guest's memory, and a power of two. */
enum { QEMU_PIECES = 256 };

static const struct dialect table[] = {
	[EXPORTS_QEMU] = {
		.feature = SHMEM,
		.asks_size = true,
		.power_of_two = true,
		.answers_early = true,
		.memory_slots = true,
		.most = QEMU_PIECES * WINDOW_UNIT,
	},
	[EXPORTS_CROSVM] = {
		.feature = SHMEM,
		.asks_size = true,
		.power_of_two = true,
		.read_only = true,
		.most = WINDOW_MOST,
	},
	[EXPORTS_ALIOTH] = {
		.feature = SHMEM_OF_ALIOTH,
		.read_only = true,
		.maps_over = true,
		.memory_slots = true,
		.most = WINDOW_MOST,
	},
};

const struct dialect *dialect_of(enum exports_vmm vmm)
{
	return &table[vmm];
}

errint_t dialect_check(const struct dialect *d, uint64_t size, bool read_only)
{
	if (!size || size % WINDOW_UNIT)
		return -EINVAL;
	if (size > d->most || (d->power_of_two && !is_power_of_two(size)))
		return -ERANGE;
	return read_only && !d->read_only ? -EROFS : 0;
}
