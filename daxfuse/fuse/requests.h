/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests of the kernel that a thread works on, and their slots (vfs/answers.h). */
#ifndef DAXFUSE_FUSE_REQUESTS_H
#define DAXFUSE_FUSE_REQUESTS_H

#include <stdbool.h>
#include <stddef.h>

#include "daxfuse/vfs/answers.h"

struct fuse_in_header;

/*
 * This thread begins with a request as it was read from /dev/fuse (bytes, header
 * included). False: it has taken the process down several times already, and is
 * not to be tried again. Without a free slot it is served like any other, but not
 * known to the next process.
 */
bool requests_begin(struct vfs_answers *a, const struct fuse_in_header *header, size_t bytes);
/* It is answered, unless another thread has taken it over. */
void requests_end(struct vfs_answers *a);
/* This thread takes no more of them. */
void requests_leave(struct vfs_answers *a);
/* Another thread will answer the request that this one has begun: it attaches the slot that this
 * one got when detaching (NULL if there is no request, or no slot), and ends it. */
struct vfs_answer *requests_detach(void);
void requests_attach(struct vfs_answer *answer);

/* Of this thread's request: its slot, or NULL; and whether an earlier process has had it. */
struct vfs_answer *requests_current(void);
bool requests_is_repeated(void);

/* Whether this header is of a request that the kernel sends again. */
bool requests_is_resent(const struct fuse_in_header *header);
/* Whether, with this one, all that the kernel sends again has come. */
bool requests_is_new(const struct fuse_in_header *header);

#endif
