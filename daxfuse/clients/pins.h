/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pins, written down where they outlive the serving process: which piece of the device a
 * living program may have mapped. The next process holds these pieces before it allocates
 * anything, and asks their programs when they connect again.
 *
 * A record is written before its piece is told to anybody, and erased after it was let go
 * of; it may say too much for a while, never too little. SIGKILL loses no store, and when the
 * machine or the mount is gone, so are the mappings: no flush, no place on media.
 */
#ifndef DAXFUSE_CLIENTS_PINS_H
#define DAXFUSE_CLIENTS_PINS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"

struct fs_busy;

#define PIN_RECORDS UINT32_C(65536)

enum { PIN_WRITABLE = 1, PIN_HUGE = 2, PIN_LONG_TERM = 4 };

struct pin_record {
	_Atomic uint64_t handle; /* 0: free; stored last, erased first */
	uint64_t session;
	uint64_t cookie;
	uint64_t pin_offset, pin_length; /* of a long-term pin: its range as asked for */
	uint64_t ino;
	uint64_t file_offset;
	uint64_t device_offset;
	_Atomic uint64_t length;
	uint64_t grant;
	uint32_t flags;  /* PIN_* */
	uint32_t serial; /* of a long-term pin: its number */
};

/* All zeroes: a new one. */
struct pin_table {
	_Atomic uint64_t next_handle;
	uint32_t used; /* records above have never been used */
	uint32_t reserved;
	struct pin_record record[PIN_RECORDS];
};

/* The device ranges of all records, to be freed; for struct fs_options. -ENOMEM */
errint_t pin_table_busy(const struct pin_table *table, struct fs_busy **ret_busy,
			unsigned *ret_count);

/* This process's view of a table. */
struct pins_kept {
	struct pin_table *table; /* NULL: nothing is kept, and all succeeds */
	pthread_mutex_t lock;
	uint32_t *free_slots; /* below table->used */
	uint32_t free_count;
};

errint_t pins_kept_open(struct pins_kept *kept, struct pin_table *table);
void pins_kept_close(struct pins_kept *kept);

/* The records of one holder, by their offset in the file: it may have thousands. All zeroes: none.
 * One caller at a time. */
struct pin_slots {
	uint32_t *slot;
	uint32_t count, room;
	uint64_t longest; /* no record is, or was, longer */
};

/* A record that the holder had there of the same piece is replaced by the new one. -EUSERS: the
 * table is full; -ENOMEM. */
errint_t pins_kept_add(struct pins_kept *kept, struct pin_slots *slots,
		       const struct pin_record *record);
/* A record that is there already belongs to these. -ENOMEM */
errint_t pins_kept_adopt(const struct pins_kept *kept, struct pin_slots *slots, uint32_t slot);
/* Of a file range, all that was granted up to that number. A record that is cut in the middle
 * becomes two, or stays as it is when the table is full. */
void pins_kept_erase(struct pins_kept *kept, struct pin_slots *slots, uint64_t offset,
		     uint64_t length, uint64_t grant);
/* All, and the memory. */
void pins_kept_erase_all(struct pins_kept *kept, struct pin_slots *slots);
/* Records in use, of PIN_RECORDS. */
unsigned pins_kept_count(struct pins_kept *kept);

#endif
