/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork(): the child's copy of the table stays, what is mapped does not (MADV_DONTFORK): it opens
 * the files anew, connects, and fills its regions before fork() returns in it. A child of
 * vfork() or posix_spawn() uses its parent's until it executes something.
 */
#ifndef DAXFUSE_DAXMAP_FORK_H
#define DAXFUSE_DAXMAP_FORK_H

#include <stdbool.h>

/* Whether the caller is such a child, or one of a raw clone(): what it does to its descriptors
 * and signals must not be noted in memory which may be its parent's. */
bool fork_is_foreign(void);

/* 0, or why it could not be had. */
int fork_check(void);

#endif
