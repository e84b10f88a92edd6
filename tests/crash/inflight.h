/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is on its way to the media at one moment, and the states in which a
 * crash at that moment can leave it.
 *
 * A cache line in flight is a queue of items, one a store, since the line was
 * last surely durable: any prefix of the queue may have arrived, and the last
 * item of it in part (8 bytes at a time). A flush marks the items present; a
 * fence of the thread that flushed makes the marked ones durable. Non-temporal
 * items are made durable by a fence of the thread that stored them. A large
 * non-temporal store above the metadata is file data: one group, which arrives
 * whole, not at all, or torn in a few ways.
 */
#ifndef CRASH_INFLIGHT_H
#define CRASH_INFLIGHT_H

#include <stdbool.h>

#include "tests/crash/image.h"
#include "tests/crash/log.h"

struct inflight_item {
	uint64_t mask; /* bit i: byte i of the line is stored */
	uint8_t bytes[LINE_SIZE];
	uint16_t thread; /* that stored it, or flushed it last */
	bool waits;      /* for a fence of that thread only */
};

struct inflight_line {
	uint64_t line;
	struct inflight_item *item; /* oldest first */
	unsigned count, room;
};

struct inflight_group {
	uint64_t offset, length;
	uint8_t *bytes; /* NULL: zeroes */
	uint16_t thread;
};

struct inflight {
	struct inflight_line *line;
	size_t lines, line_room;
	struct inflight_group *group;
	size_t groups, group_room;
	uint32_t *slot;                /* line number -> 1 + index into line[] */
	uint64_t line_count;           /* length of slot[] */
	uint64_t data_start, data_end; /* groups lie in between */
	struct image *durable[2];      /* what a fence makes durable is written here */
};

int inflight_create(uint64_t pool_size, struct inflight **ret_inflight);
void inflight_destroy(struct inflight *inflight);
/* Nothing is in flight any more, and nothing became durable by this. */
void inflight_clear(struct inflight *inflight);
void inflight_event(struct inflight *inflight, const struct log *log,
		    const struct log_event *event);

/*
 * How much of each unit arrived. Units are the groups, then the lines. Low byte:
 * how many items of the queue (0 or 1 for a group); high byte: how the last of
 * them is torn, TORN_*.
 */
typedef uint16_t inflight_choice;

enum inflight_torn {
	TORN_NOT,
	/* lines: the first 1..7 words, or all but the first 1..7 words */
	TORN_PREFIX,
	TORN_SUFFIX = TORN_PREFIX + 7,
	/* groups */
	TORN_FIRST = TORN_PREFIX, /* the first line is missing */
	TORN_MIDDLE,
	TORN_LAST,
	TORN_HALF,   /* only the first half */
	TORN_WORD,   /* 8 bytes in the middle are missing */
	TORN_RANDOM, /* half of the lines, and from here on other halves */
};

static inline size_t inflight_units(const struct inflight *inflight)
{
	return inflight->groups + inflight->lines;
}

/* Items of unit u: 1 for a group. */
unsigned inflight_depth(const struct inflight *inflight, size_t unit);
/* Whether it matters to the durable image how much of the unit arrives. */
bool inflight_matters(const struct inflight *inflight, size_t unit);
/* Write the state that choice[] describes onto the durable image. */
void inflight_apply(const struct inflight *inflight, const inflight_choice *choice,
		    struct image *image);

#endif
