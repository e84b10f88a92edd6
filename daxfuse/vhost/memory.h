/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest's memory, as its VMM has given it to us: a table of regions, each a mapped file. Nothing
 * in it is trusted, all of it may change at any time, and it may be gone: it is reached only
 * through the functions below, which check each range and fail with -EFAULT where there is nothing.
 *
 * The table itself is changed only while no queue runs (backend.c).
 */
#ifndef DAXFUSE_VHOST_MEMORY_H
#define DAXFUSE_VHOST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"

#define MEMORY_REGIONS 512u /* QEMU tells of each piece of a window, too, */
#define MEMORY_FILES 32u    /* beside these */

struct memory_region {
	uint64_t guest; /* physical address in the guest */
	uint64_t user;  /* where the VMM has it mapped: rings are named by that */
	uint64_t size;
	uint64_t offset; /* in its file */
	int fd;          /* -1: it is the device */
	char *at;        /* where we have it */
	void *mapping;
	size_t mapped;
};

struct memory {
	struct memory_region region[MEMORY_REGIONS];
	unsigned count;
	unsigned files; /* of them: not of the device */
	int device;     /* whose pieces may be a guest's memory; -1: none */
};

/* As they come over the socket: guest and user addresses, the size, and where in the file. */
struct memory_wire {
	uint64_t guest, size, user, offset;
	bool device; /* of what is kept: in which file */
};

/* Map it; the descriptor stays the caller's, the region has one of its own. -EINVAL: no range, or
 * one that overlaps others; -ENOSPC: too many; -EBADF: no file of memory; -ENXIO: longer than the
 * file. */
errint_t memory_add(struct memory *m, const struct memory_wire *wire, int fd);
/* -ENOENT: there is no such region. */
errint_t memory_remove(struct memory *m, const struct memory_wire *wire);
void memory_clear(struct memory *m);

/* Where [guest, guest + length) is, as far as it lies in one piece: *ret_length, more than 0 if
 * length is. NULL: nowhere. */
void *memory_at(const struct memory *m, uint64_t guest, uint64_t length, uint64_t *ret_length);
/* Where the whole range lies that the VMM has at user; NULL: not in one region, or not aligned. */
void *memory_at_user(const struct memory *m, uint64_t user, uint64_t length, unsigned alignment);

#endif
