/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Addresses with a long-term pin: what is mapped there stays, whatever the daemon asks for. (It is
 * answered all the same: the daemon knows of the pin.) All with the lock.
 */
#ifndef DAXFUSE_DAXMAP_PINNED_H
#define DAXFUSE_DAXMAP_PINNED_H

#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"

/* -ENOMEM: there are too many. */
errint_t pinned_add(uintptr_t start, uintptr_t end);
/* One that was added with the same range. *ret_stale: the daemon has asked for it meanwhile, it
 * may be no part of the file any more. -EINVAL: there is none. */
errint_t pinned_remove(uintptr_t start, uintptr_t end, bool *ret_stale);
/* The range is unmapped: pins that reach into it end. */
void pinned_forget(uintptr_t start, uintptr_t end);
/* In the child of a fork: it has none of the pins. */
void pinned_reset(void);

/* The first range in [*start, end) without a pin; false: there is none. asked: the daemon wants it
 * back. */
bool pinned_next_other(uintptr_t *start, uintptr_t end, bool asked, uintptr_t *ret_stop);

#endif
