/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which files are open, and whether through the transport's cache of pages or past it, written
 * where it outlives the serving process: the kernel goes on with what it was told at open.
 */
#ifndef DAXFUSE_VFS_OPENS_H
#define DAXFUSE_VFS_OPENS_H

#include <stdatomic.h>
#include <stdint.h>

#define VFS_OPENS 65536

/* An open file that may be read from. */
struct vfs_open_record {
	uint64_t ino;
	_Atomic uint64_t handle; /* 0: free; stored last, erased first */
};

/* All zeroes: a new one. */
struct vfs_open_table {
	_Atomic uint32_t used;   /* records above have never been used */
	_Atomic uint32_t missed; /* some open found no record */
	struct vfs_open_record record[VFS_OPENS];
};

#endif
