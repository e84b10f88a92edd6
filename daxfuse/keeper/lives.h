/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lives of serving processes, one after the other, and when there is no sense in another one.
 *
 * SIGKILL comes from outside and may come as often as it likes, once a process serves; a hundred of
 * them before that mean that somebody (the OOM killer?) does not want it. Any other death is a
 * failure of ours, and eight of them, none of which has served for five seconds, are taken for one
 * that would go on for ever.
 */
#ifndef DAXFUSE_KEEPER_LIVES_H
#define DAXFUSE_KEEPER_LIVES_H

#include <stdbool.h>
#include <stdint.h>

struct lives {
	int64_t started;   /* of the one under way: ns, CLOCK_MONOTONIC */
	uint32_t serves;   /* it has said so */
	uint32_t failures; /* deaths in a row that were their own doing */
	uint32_t early;    /* SIGKILLs in a row before it served */
	uint32_t reserved;
};

void lives_start(struct lives *lives);
/* The one under way has died, by SIGKILL or by its own doing. */
void lives_died(struct lives *lives, bool killed);
bool lives_are_hopeless(const struct lives *lives);

#endif
