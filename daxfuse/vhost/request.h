/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Of the room: a FUSE request while it is decoded and carried out.
 *
 * A handler takes its arguments off the request, each with its length checked, and returns how many
 * bytes of an answer it has put into r->out, or a negative errno. The node that the request is
 * about is in use meanwhile, and so are those that it looks up with request_other().
 */
#ifndef DAXFUSE_VHOST_REQUEST_H
#define DAXFUSE_VHOST_REQUEST_H

#include <linux/fuse.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "guest.h"
#include "handles.h"
#include "nodes.h"
#include "window.h"

/* Newer than the oldest header that we build with: Linux 6.6. */
#define GUEST_STATX 52
struct guest_statx_in {
	uint32_t getattr_flags, reserved;
	uint64_t fh;
	uint32_t flags, mask;
};
struct guest_time {
	int64_t seconds;
	uint32_t nanoseconds;
	int32_t reserved;
};
struct guest_statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec, flags;
	uint64_t spare[2];
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, spare_mode;
	uint64_t ino, size, blocks, attributes_mask;
	struct guest_time atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t spare_end[14];
};
_Static_assert(sizeof(struct guest_statx_out) == 288, "as the kernel has it");

struct guest_record {
	atomic_bool greeted;      /* it has sent INIT */
	atomic_bool setxattr_ext; /* SETXATTR is the longer one */
	_Atomic uint64_t requests, refused;
	struct handle_table handles;
	struct node_table nodes;
};

struct guest {
	struct guest_config config;
	struct guest_record *record;
	struct nodes nodes;
	struct handles handles;
};

struct request {
	struct vfs_request vfs;
	struct guest *guest;
	const struct fuse_in_header *in;
	const char *at; /* what is left of the arguments */
	size_t left;
	const struct guest_answer *answer;
	char *out;   /* the answer, without its header */
	size_t room; /* bytes at out: no more than the driver takes */
	bool sent;   /* the handler has written them itself */
	bool malformed;
	uint64_t ino; /* of the node */
	struct node *other;
	uint64_t earlier; /* if it is repeated: the handle of the vfs that it has opened; 0: none */
	bool kills_sgid;  /* of SETXATTR: the caller is not in the file's group */
};

/* ---- guest.c: arguments ----------------------------------------------------------- */

/* The next so many bytes; NULL: there are not so many. */
const void *request_take(struct request *r, size_t size);
/* A name of one component, or a string: NUL-terminated. NULL: it is none. */
const char *request_take_name(struct request *r);
const char *request_take_string(struct request *r);
/* -EINVAL: what was taken last is not there. */
errint_t request_malformed(struct request *r);
/* A second node of the request, in use until its end: its inode. -ESTALE */
errint_t request_other(struct request *r, uint64_t number, uint64_t *ret_ino);
/* The open file that a handle stands for, of an inode. -EBADF: it is none, or not open for that
 * (VFS_MAY_*). */
errint_t request_file(struct request *r, uint64_t number, uint64_t ino, unsigned may,
		      struct vfs_open_file *ret_file);
/* Of what must not be done twice, before it is done: whether an earlier process has begun it. */
bool request_is_done(struct request *r);
/* For how long the request may wait for the VMM. */
struct shmem_patience request_patience(const struct request *r);
/* The other transport may have cached that. */
void request_changed(struct request *r, uint64_t ino, const char *name, bool data, bool size);

/* ---- reply.c: answers -------------------------------------------------------------- */

/* The answer: size bytes at r->out, zeroed. NULL: the driver has no room for them. */
void *reply_room(struct request *r, size_t size);
void fill_attr_reply(struct request *r, const struct fs_attr *attr, struct fuse_attr *ret_attr);
void fill_time(int64_t ns, uint64_t *ret_seconds, uint32_t *ret_nanoseconds);
/* How long the guest may believe what it is told. */
void fill_timeout(const struct request *r, uint64_t *ret_seconds, uint32_t *ret_nanoseconds);
/* The guest is told of an inode: err as of the call that has found it. */
ssize_t reply_with_entry(struct request *r, int err, struct fs_attr *attr);
/* Into an entry of the answer; the node is told. */
errint_t fill_entry(struct request *r, struct fs_attr *attr, struct fuse_entry_out *ret_entry);

/* ---- handlers ---------------------------------------------------------------------- */

ssize_t do_lookup(struct request *r); /* namespace.c */
ssize_t do_mknod(struct request *r);
ssize_t do_mkdir(struct request *r);
ssize_t do_symlink(struct request *r);
ssize_t do_link(struct request *r);
ssize_t do_unlink(struct request *r);
ssize_t do_rmdir(struct request *r);
ssize_t do_rename(struct request *r);
ssize_t do_rename2(struct request *r);
ssize_t do_readlink(struct request *r);
ssize_t do_forget(struct request *r);
ssize_t do_batch_forget(struct request *r);
ssize_t do_opendir(struct request *r); /* directory.c */
ssize_t do_readdir(struct request *r);
ssize_t do_readdirplus(struct request *r);
ssize_t do_open(struct request *r); /* file.c */
ssize_t do_create(struct request *r);
ssize_t do_tmpfile(struct request *r);
ssize_t do_release(struct request *r);
ssize_t do_fsync(struct request *r);
ssize_t do_read(struct request *r); /* data.c */
ssize_t do_write(struct request *r);
ssize_t do_fallocate(struct request *r);
ssize_t do_lseek(struct request *r);
ssize_t do_copy_file_range(struct request *r);
ssize_t do_setupmapping(struct request *r); /* mapping.c */
ssize_t do_removemapping(struct request *r);
ssize_t do_syncfs(struct request *r);
ssize_t do_getattr(struct request *r); /* attr.c */
ssize_t do_statx(struct request *r);
ssize_t do_setattr(struct request *r);
ssize_t do_statfs(struct request *r);
ssize_t do_getxattr(struct request *r); /* xattr.c */
ssize_t do_listxattr(struct request *r);
ssize_t do_setxattr(struct request *r);
ssize_t do_removexattr(struct request *r);
ssize_t do_ioctl(struct request *r); /* ioctl.c */

#endif
