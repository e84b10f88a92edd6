/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libfuse's low-level API, and all that differs between 3.17 (the floor) and later: the build looks
 * for each feature, a missing one becomes a stub here, so that no other file asks for versions.
 */
#ifndef DAXFUSE_FUSE_LIBFUSE_H
#define DAXFUSE_FUSE_LIBFUSE_H

#define FUSE_USE_VERSION 317
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <sys/ioctl.h>

/* FUSE_DEV_IOC_BACKING_CLOSE: libfuse's function for it needs a request. */
#define LIBFUSE_BACKING_CLOSE _IOW(229, 2, uint32_t)

/* Whether OPEN, CREATE and WRITE say that suid and sgid must go. Without it the
 * kernel has to do that itself. */
#ifdef HAVE_FUSE_KILL_SUIDGID
#define LIBFUSE_KILL_SUIDGID true
static inline bool libfuse_kills_suidgid(const struct fuse_file_info *fi)
{
	return fi->kill_suidgid;
}
#else
#define LIBFUSE_KILL_SUIDGID false
static inline bool libfuse_kills_suidgid(const struct fuse_file_info *fi)
{
	return false;
}
#endif

/* Whether fuse_session_new() knows -o io_uring. */
#ifdef HAVE_FUSE_IO_URING
#define LIBFUSE_IO_URING true
#else
#define LIBFUSE_IO_URING false
#endif

#endif
