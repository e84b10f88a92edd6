/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Answers to requests that an earlier process has executed and died before it
 * could answer. Each function returns whether this is one, which then is answered.
 */
#ifndef DAXFUSE_FUSE_REPEAT_H
#define DAXFUSE_FUSE_REPEAT_H

#include "state.h"

/* One that has no result but success. */
bool repeat_done(fuse_req_t req);
/* One that has made an inode. */
bool repeat_entry(fuse_req_t req);
bool repeat_link(fuse_req_t req, fuse_ino_t node);
/* CREATE and TMPFILE: *ret_err and attr as of the call that makes the file. */
bool repeat_made(fuse_req_t req, int *ret_err, struct fs_attr *ret_attr);

#endif
