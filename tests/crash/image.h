/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pool in memory for crash tests: one memfd mapped twice. What the filesystem
 * sees (pm.base) is read-only, so that a store that bypasses the persist layer
 * is a crash of the test; the recorder writes through the second mapping.
 *
 * Every change is remembered line by line, so that going back to an earlier
 * mark costs what was changed since, not the size of the pool.
 */
#ifndef CRASH_IMAGE_H
#define CRASH_IMAGE_H

#include <pthread.h>

#include "daxfuse/pmem/pmem.h"

#define LINE_SIZE 64u

struct log;

struct image_undo {
	uint64_t line;
	uint8_t bytes[LINE_SIZE];
};

/* What recovery read through the persist layer: lines, not sorted. */
struct image_reads {
	uint64_t *line;
	size_t count, room;
};

struct image {
	struct pmem pm; /* first: the recorder finds the image through it */
	char *rw;
	int fd;
	uint32_t epoch;       /* changes with each mark and rollback */
	uint32_t *line_epoch; /* epoch in which a line was last saved */
	struct image_undo *undo;
	size_t undo_count, undo_room;
	struct log *log;           /* NULL: not recorded */
	struct image_reads *reads; /* NULL: not recorded */
	pthread_mutex_t lock;      /* of log and undo */
};

/* 0 or negative errno. The pool is all zeroes. */
int image_create(uint64_t size, struct image **ret_image);
void image_destroy(struct image *image);

void image_write(struct image *image, uint64_t offset, const void *bytes, size_t length);
void image_zero(struct image *image, uint64_t offset, size_t length);
const uint8_t *image_at(const struct image *image, uint64_t offset);

/* A point to roll back to; marks nest. */
size_t image_mark(struct image *image);
void image_rollback(struct image *image, size_t mark);
/* Forget how to go back: what is now is the start. */
void image_commit(struct image *image);
/* XOR of the hashes of all lines changes by this since mark. */
uint64_t image_hash_delta(const struct image *image, size_t mark);
/* Copy all of `from`; both forget their undo. */
void image_copy(struct image *to, const struct image *from);

#endif
