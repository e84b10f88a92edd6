/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which inodes have a view, and which memory is in use by devices though it was taken from a view,
 * written where it outlives the serving process: the module and the kernel go on with both.
 *
 * A record is written after what it says has become true in the kernel, and before anybody hears of
 * it; it is erased after that has ended. SIGKILL loses no store, and when the machine or the mount
 * is gone, so is all that it says: no flush, no place on media.
 */
#ifndef DAXFUSE_VIEWS_TABLE_H
#define DAXFUSE_VIEWS_TABLE_H

#include <stdatomic.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"

struct fs_busy;

#define VIEW_RECORDS UINT32_C(65536)
#define VIEW_BUSY_RECORDS UINT32_C(16384)
#define VIEW_FAILED_RECORDS UINT32_C(256)
#define VIEW_KEY_BYTES 16

struct view_record {
	_Atomic uint64_t ino; /* 0: free; stored last, erased first */
	uint32_t number;      /* the module's */
	uint32_t backing;     /* the transport's */
};

/* A piece of the device that was taken from a view while a device used it. */
struct view_busy_record {
	_Atomic uint64_t length; /* 0: free; stored last, erased first */
	uint64_t ino;
	uint64_t offset; /* in the file, where it was */
	uint64_t device_offset;
};

/* Memory of the device that has failed: the module forgets it with its session. */
struct view_failed_record {
	uint64_t device_offset, length;
};

/* All zeroes: a new one. */
struct view_table {
	uint8_t key[VIEW_KEY_BYTES]; /* of the session with the module */
	_Atomic uint32_t agreed;     /* there is a session: the kernel was told of views */
	/* records above have never been used */
	uint32_t used;
	uint32_t busy_used;
	_Atomic uint32_t failed_count; /* grows after its record was written */
	struct view_failed_record failed[VIEW_FAILED_RECORDS];
	struct view_record record[VIEW_RECORDS];
	struct view_busy_record busy[VIEW_BUSY_RECORDS];
};

/* Append the device ranges that must not be allocated to an array that is to be freed (struct
 * fs_options). -ENOMEM */
errint_t view_table_busy(const struct view_table *table, struct fs_busy **busy, unsigned *count);

#endif
