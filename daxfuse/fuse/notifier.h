/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process that tells the kernel what it must not believe any more, in our place:
 * the kernel may have to wait for write-back to us before it answers, and a thread
 * of ours that waits there can't be killed, and not be reaped, once those that
 * would answer are dead.
 */
#ifndef DAXFUSE_FUSE_NOTIFIER_H
#define DAXFUSE_FUSE_NOTIFIER_H

#include <stdint.h>

#include "daxfuse/base/errint.h"

struct notifier;

/* Fork it off, before there are threads. fuse_fd: the mounted /dev/fuse. */
errint_t notifier_start(int fuse_fd, struct notifier **ret_notifier);
/* NULL is fine. */
void notifier_stop(struct notifier *notifier);

/*
 * Drop node's attributes, and its pages from offset on (length 0: to the end; an
 * offset below 0: attributes only). -ENOENT: the kernel does not know the node.
 * Both may take as long as write-back takes. One caller at a time.
 */
int notifier_invalidate(struct notifier *notifier, uint64_t node, int64_t offset, int64_t length);
/* Have it look up one name anew, which may have to wait for requests in that directory. -ENOENT:
 * the kernel does not know it. */
int notifier_forget_name(struct notifier *notifier, uint64_t parent, const char *name);
/* Have the kernel look up every name anew. -EINVAL: it can't (before Linux 6.16). */
int notifier_forget_names(struct notifier *notifier);

#endif
