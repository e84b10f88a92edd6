/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Of the room: what a mount of the kernel consists of, and translations that all requests share.
 * The handlers translate only: decode, one call of the vfs, reply.
 *
 * Nothing that the kernel holds depends on this process: a node id is the inode number, a file
 * handle is how the file was opened and a number that no other open file of this mount gets, a
 * directory cookie is core's.
 */
#ifndef DAXFUSE_FUSE_INTERNAL_H
#define DAXFUSE_FUSE_INTERNAL_H

#include <semaphore.h>
#include <sys/stat.h>

#include "daxfuse/clients/clients.h"
#include "daxfuse/keeper/kept.h"
#include "daxfuse/keeper/places.h"
#include "libfuse.h"
#include "transport.h"

/* The daemon is the only writer: what the kernel knows stays true. Seconds. But for the attributes
 * of files that may be stored to through views: attr_timeout(). */
#define TRANSPORT_TIMEOUT 3600.0

struct deferred;

struct transport {
	struct transport_config config;
	struct vfs *vfs;
	struct clients *clients;
	struct views *views; /* NULL: there are none */
	struct fuse_session *se;
	struct deferred *deferred;
	struct place place;
	sem_t stop; /* without a mount: posted when serving is to end */
	bool io_uring;
	bool passthrough;         /* agreed on with the kernel: else no file gets a view */
	bool kernel_checks_flags; /* who may set them: ioctl.c */
};

static inline struct transport *transport_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* ---- translate.c ---------------------------------------------------------- */

/* FUSE's root is node 1; every other node is its inode number. */
uint64_t node_to_ino(fuse_ino_t node);
fuse_ino_t ino_to_node(uint64_t ino);

void attr_to_stat(const struct fs_attr *attr, struct stat *ret_stat);
/* How long the kernel may believe an inode's attributes. */
double attr_timeout(const struct transport *t, uint64_t ino);
void attr_to_entry(const struct transport *t, const struct fs_attr *attr,
		   struct fuse_entry_param *ret_entry);
/* Answer with an entry, or with a negative errno. */
void reply_entry(fuse_req_t req, int err, const struct fs_attr *attr);
/* A request, as the vfs wants it; where it is must outlive the call. */
struct request {
	struct vfs_request vfs;
	fuse_req_t req;
};
struct request request_of(fuse_req_t req);
/* The open file that a handle stands for. */
uint64_t handle_of_file(const struct vfs_opened *opened, int flags);
uint64_t handle_with_view(uint64_t fh);
enum views_open view_of_handle(uint64_t fh);
struct vfs_open_file file_of_handle(fuse_ino_t node, uint64_t fh);

/* ---- the handlers, by theme ------------------------------------------------ */

void namespace_ops(struct fuse_lowlevel_ops *ops); /* namespace.c */
void directory_ops(struct fuse_lowlevel_ops *ops); /* directory.c */
void file_ops(struct fuse_lowlevel_ops *ops);      /* file.c */
void data_ops(struct fuse_lowlevel_ops *ops);      /* data.c */
void attr_ops(struct fuse_lowlevel_ops *ops);      /* attr.c */
void xattr_ops(struct fuse_lowlevel_ops *ops);     /* xattr.c */
void ioctl_ops(struct fuse_lowlevel_ops *ops);     /* ioctl.c */

#endif
