/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon does to its own mount from outside: as a process that has
 * nothing of it open. Not in a thread that serves. */
#ifndef DAXFUSE_KEEPER_OUTSIDE_H
#define DAXFUSE_KEEPER_OUTSIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "places.h"
#include "daxfuse/base/errint.h"

/* Look at the mount as anybody may, which waits until it answers; as root also set how
 * far the kernel reads ahead (bytes). */
void outside_look(const struct place *place, unsigned read_ahead);
/*
 * Have the kernel ask for a file's attributes, so that it believes in its size of now. Not all
 * may open an inode by its handle: if we are not root, `pid` must be a program that has it
 * open (0: none is known). Waits for an answer of ours.
 */
errint_t outside_ask(const struct place *place, uint64_t node, uint32_t generation, int pid);
/* Write back all that was stored through mappings, and unmount, everywhere. -EBUSY, also if we see
 * it nowhere: it goes on for those who have files open, or see it in another namespace. */
errint_t outside_unmount(const struct place *place);
/* Take the mount out of the tree; those who still use it get ENOTCONN when we end. */
void outside_detach(const struct place *place);
/* The same, for a process that has nothing of the mount open itself. Whether none is left. */
bool outside_detach_places(unsigned number);

#endif
