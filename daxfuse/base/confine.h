/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that can do less than their process: what parses the bytes of somebody who is not trusted
 * keeps no capability, and makes no system call but those that its work takes. Not a wall: the
 * memory is that of the whole process.
 */
#ifndef DAXFUSE_BASE_CONFINE_H
#define DAXFUSE_BASE_CONFINE_H

#include <stdbool.h>
#include <stdint.h>

/* Each may do less than the one before. */
enum confine {
	/* Takes messages with descriptors, maps what they are of, starts threads. */
	CONFINE_CONNECTION,
	/* Reads and writes memory and what is open. */
	CONFINE_WORK,
};

/* Once in a process, before others: who handles SIGSYS until now gets what is not ours. */
void confine_begin(void);
/*
 * The calling thread, and those that it starts, for ever. ioctls: the type (_IOC_TYPE) of those
 * that are allowed; 0: none. False: capabilities are gone, but calls are not filtered, as this
 * kernel, processor or build can't.
 */
bool confine_thread(enum confine to, unsigned ioctls);
/* Calls of such threads that were refused, with EPERM, ever. */
uint64_t confine_refused(void);
/* The number of the last one of this thread, once; -1: there is none. */
long confine_take_refused(void);

#endif
