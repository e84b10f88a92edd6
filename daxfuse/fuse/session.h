/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Of the room: what a handler knows. The transport only translates: decode, one
 * call into the core, reply. Node ids are inode numbers (the root's aside), file
 * handles carry nothing, so a reply means the same to any daemon that serves
 * this mount later.
 */
#ifndef DAXFUSE_FUSE_SESSION_H
#define DAXFUSE_FUSE_SESSION_H

#include "daxfuse/core/fs.h"
#include "daxfuse/fuse/libfuse.h"
#include "daxfuse/fuse/options.h"
#include "daxfuse/pmem/device.h"

struct orphans;

struct session {
	const struct options *options;
	struct device *device;
	struct fs *fs;
	struct fs_report report;
	struct fuse_session *fuse;
	struct orphans *orphans;
	bool clone_fd, io_uring; /* what is in use */
};

static inline struct session *session_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* The kernel's root is 1; on media it has its own number. */
static inline uint64_t node_ino(fuse_ino_t node)
{
	return node == FUSE_ROOT_ID ? DXF_ROOT_INO : node;
}

static inline fuse_ino_t ino_node(uint64_t ino)
{
	return ino == DXF_ROOT_INO ? FUSE_ROOT_ID : ino;
}

/* err: 0 or negative errno. */
static inline void reply_err(fuse_req_t req, ssize_t err)
{
	fuse_reply_err(req, err < 0 ? (int)-err : 0);
}

/* The daemon is the only writer, so the kernel may keep what it knows. */
#define SESSION_TIMEOUT 3600.0

/* attr.c */
void attr_to_stat(const struct fs_attr *attr, struct stat *ret_stat);
void attr_to_entry(const struct fs_attr *attr, struct fuse_entry_param *ret_entry);

/* data.c: how a file is opened: cached, or past the page cache. */
void open_flags(const struct fs_attr *attr, struct fuse_file_info *fi);

/* Fill in the handlers of each file. */
void attr_ops(struct fuse_lowlevel_ops *ops);
void namespace_ops(struct fuse_lowlevel_ops *ops);
void directory_ops(struct fuse_lowlevel_ops *ops);
void data_ops(struct fuse_lowlevel_ops *ops);
void ioctl_ops(struct fuse_lowlevel_ops *ops);

/* status.c: the mount's state as JSON. 0 or -ENOSPC. */
int status_json(struct session *session, char *buf, size_t size);

/* orphans.c: inodes without a name are freed once the kernel has forgotten them. */
int orphans_start(struct session *session);
void orphans_stop(struct session *session);
/* Look soon whether ino can go. */
void orphans_check(struct session *session, uint64_t ino);
/* Look now; true if anything was freed. For a caller that ran out of space. */
bool orphans_drain(struct session *session);

#endif
