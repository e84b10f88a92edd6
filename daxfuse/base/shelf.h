/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors that outlive their process, any number of them: they lie in the queue of a socket,
 * both ends of which somebody else holds open, too. A lot of them has a number and a note, and
 * is replaced as a whole; a process that is killed on the way leaves the old lot, the new one, or
 * both, of which the new one counts.
 *
 * One process at a time has it; its functions may be called by any thread.
 */
#ifndef DAXFUSE_BASE_SHELF_H
#define DAXFUSE_BASE_SHELF_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/rights.h"

#define SHELF_FDS RIGHTS_MAX /* in a lot */
#define SHELF_NOTE 64u       /* bytes */
#define SHELF_LOTS 256u      /* numbers: 0 and up */

struct shelf {
	int in, out; /* -1: there is none, and nothing is kept */
	uint64_t serial;
	pthread_mutex_t lock;
};

struct shelf_lot {
	uint32_t number;
	uint32_t note_size;
	char note[SHELF_NOTE];
	int fd[SHELF_FDS];
	unsigned fd_count;
};

/* The two ends: for somebody to hold. -errno */
errint_t shelf_make(int *ret_in, int *ret_out);
/* Over ends that stay the caller's (-1: there is no shelf); what an earlier process has left is on
 * it. */
void shelf_open(struct shelf *s, int in, int out);
void shelf_close(struct shelf *s);

/*
 * What this lot is from now on; its descriptors stay the caller's. -EOPNOTSUPP: there is no
 * shelf; -EINVAL: too much; -ETOOMANYREFS, -EAGAIN: more than the system lets lie there. A process
 * that comes after us finds either lot then.
 */
errint_t shelf_put(struct shelf *s, const struct shelf_lot *lot);
/* It is not there any more. */
void shelf_remove(struct shelf *s, uint32_t number);
/* Calls fn with each lot that is there, once; its descriptors are fn's to close. -errno: not all.
 */
errint_t shelf_each(struct shelf *s, void (*fn)(void *arg, const struct shelf_lot *lot), void *arg);

#endif
