/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Of the room: what one mount consists of, and translations that all requests
 * share. The handlers translate only: decode, one call into the core, reply.
 *
 * Nothing that the kernel holds depends on this process: a node id is the inode
 * number, a file handle is how the file was opened and a number that no other
 * open file of this mount gets, a directory cookie is the core's.
 */
#ifndef DAXFUSE_FUSE_STATE_H
#define DAXFUSE_FUSE_STATE_H

#include <pthread.h>
#include <sys/stat.h>

#include "daxfuse/core/fs.h"
#include "daxfuse/direct/direct.h"
#include "kept.h"
#include "libfuse.h"
#include "options.h"
#include "daxfuse/pmem/device.h"

/* The daemon is the only writer: what the kernel knows stays true. Seconds. */
#define STATE_TIMEOUT 3600.0
#define STATE_IO_MAX (1 << 20) /* bytes in one READ or WRITE */

struct deferred;
struct notifier;
struct requests;

struct state {
	const struct options *options;
	struct device *dev;
	struct fs *fs;
	struct direct *direct;
	struct pin_table *pins;    /* of the keeper; NULL */
	char socket[108];          /* where programs ask for the device */
	struct fs_report report;   /* of the mount */
	struct fuse_session *se;
	struct deferred *deferred;
	struct notifier *notifier;
	/* where a keeper has what outlives us; NULL, and no requests, if there is none */
	struct kept *kept;
	struct kept_fds fds;
	struct requests *requests;
	bool adopts;               /* the mount was there before us */
	bool replace;              /* end with KEPT_EXIT_RESTART (atomic) */
	char **argv;               /* as we were started, for a check of the next binary */
	char *device;              /* canonical */
	char *mountpoint;          /* canonical; it may have been unmounted, and others be left */
	unsigned number;           /* of the mount, see places.h */
	bool io_uring;
	bool kernel_checks_flags;  /* who may set them: ioctl.c */
	void (*ready)(void);       /* once, when the mount answers */
};

static inline struct state *state_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* ---- translate.c ---------------------------------------------------------- */

/* FUSE's root is node 1; every other node is its inode number. */
uint64_t node_to_ino(fuse_ino_t node);
fuse_ino_t ino_to_node(uint64_t ino);

void attr_to_stat(const struct fs_attr *attr, struct stat *ret_stat);
void attr_to_entry(const struct fs_attr *attr, struct fuse_entry_param *ret_entry);
/* Answer with an entry, or with a negative errno. */
void reply_entry(fuse_req_t req, int err, const struct fs_attr *attr);
/* Whose request it is, and its number if it must be executed once. */
struct fs_request request_of(fuse_req_t req);
/* Whether the caller may do what root of this mount may. */
bool is_privileged(fuse_req_t req);
/* Whether the caller is in a group, as its own or among the others it has. */
bool is_member(fuse_req_t req, uint32_t gid);
/* FS_WRITE_KILL_*: what a caller without privilege takes away from a file that it changes. */
unsigned kills_of(fuse_req_t req, const struct fs_attr *attr);
/* The caller is about to change a file's bytes by other means than writing and truncating, of
 * which the kernel says what to take away: it goes, and the kernel knows. */
int drop_privileges(fuse_req_t req, fuse_ino_t node);
/* How a file is opened: its handle; cached by the kernel or not. */
void open_reply_flags(struct state *s, const struct fs_attr *attr, struct fuse_file_info *fi);

/* Whether the file was append-only when it was opened: it must not be written to in any other
 * way then. The kernel, which does not know the flag, lets programs drop O_APPEND, and map. */
bool handle_only_appends(uint64_t fh);
/* The open file that a handle stands for. */
struct direct_file file_of_handle(fuse_ino_t node, uint64_t fh);

/* The core's result, as a positive errno for fuse_reply_err(). */
static inline int errno_of(ssize_t result)
{
	return result < 0 ? (int)-result : 0;
}

/* ---- the handlers, by theme ------------------------------------------------ */

void namespace_ops(struct fuse_lowlevel_ops *ops); /* namespace.c */
void directory_ops(struct fuse_lowlevel_ops *ops); /* directory.c */
void file_ops(struct fuse_lowlevel_ops *ops);      /* file.c */
void data_ops(struct fuse_lowlevel_ops *ops);      /* data.c */
void attr_ops(struct fuse_lowlevel_ops *ops);      /* attr.c */
void xattr_ops(struct fuse_lowlevel_ops *ops);     /* xattr.c */
void ioctl_ops(struct fuse_lowlevel_ops *ops);     /* ioctl.c */

#endif
