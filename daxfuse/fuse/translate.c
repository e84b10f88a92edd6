/* SPDX-License-Identifier: BSD-3-Clause */
/* Between the kernel's words and ours: nodes, attributes, handles, the caller. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/caller.h"
#include "daxfuse/base/cleanup.h"
#include "requests.h"
#include "internal.h"

#define NSEC INT64_C(1000000000)
#define GROUPS_MAX 65536

/* Inode numbers below DXF_ROOT_INO are never in use, so 1 is free for the root. */
uint64_t node_to_ino(fuse_ino_t node)
{
	return node == FUSE_ROOT_ID ? DXF_ROOT_INO : node;
}

fuse_ino_t ino_to_node(uint64_t ino)
{
	return ino == DXF_ROOT_INO ? FUSE_ROOT_ID : ino;
}

static struct timespec to_timespec(int64_t ns)
{
	struct timespec ts = { .tv_sec = ns / NSEC, .tv_nsec = ns % NSEC };

	if (ts.tv_nsec < 0) {
		ts.tv_sec--;
		ts.tv_nsec += NSEC;
	}
	return ts;
}

void attr_to_stat(const struct fs_attr *attr, struct stat *ret_stat)
{
	*ret_stat = (struct stat){
		.st_ino = attr->ino,
		.st_mode = attr->mode,
		.st_nlink = attr->nlink,
		.st_uid = attr->uid,
		.st_gid = attr->gid,
		.st_rdev = makedev(attr->rdev >> 20, attr->rdev & 0xfffff),
		.st_size = (off_t)attr->size,
		.st_blocks = (blkcnt_t)attr->blocks,
		.st_blksize = DXF_BLOCK_SIZE,
		.st_atim = to_timespec(attr->atime),
		.st_mtim = to_timespec(attr->mtime),
		.st_ctim = to_timespec(attr->ctime),
	};
}

double attr_timeout(const struct transport *t, uint64_t ino)
{
	return t->passthrough && views_may_store(t->views, ino) ? 0 : TRANSPORT_TIMEOUT;
}

void attr_to_entry(const struct transport *t, const struct fs_attr *attr,
		   struct fuse_entry_param *ret_entry)
{
	*ret_entry = (struct fuse_entry_param){
		.ino = ino_to_node(attr->ino),
		.generation = attr->generation,
		.attr_timeout = attr_timeout(t, attr->ino),
		.entry_timeout = TRANSPORT_TIMEOUT,
	};
	attr_to_stat(attr, &ret_entry->attr);
}

void reply_entry(fuse_req_t req, int err, const struct fs_attr *attr)
{
	struct fuse_entry_param entry;

	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	attr_to_entry(transport_of(req), attr, &entry);
	fuse_reply_entry(req, &entry);
}

static bool is_member(const struct vfs_request *vfs, uint32_t gid)
{
	const struct request *request = container_of(vfs, struct request, vfs);
	CLEANUP_FREE gid_t *groups = NULL;
	int count;

	if (vfs->who.gid == gid)
		return true;
	groups = calloc(GROUPS_MAX, sizeof(*groups));
	count = groups ? fuse_req_getgroups(request->req, GROUPS_MAX, groups) : 0;
	for (int i = 0; i < MIN(count, GROUPS_MAX); i++) {
		if (groups[i] == gid)
			return true;
	}
	return false;
}

static bool is_administrator(const struct vfs_request *vfs)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(container_of(vfs, struct request, vfs)->req);

	return caller_is_administrator(ctx->pid, ctx->uid);
}

/* The kernel drops sgid from the mode before it asks, where group membership demands that; so core
 * may believe the mode. */
struct request request_of(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct vfs_answer *answer = requests_current();

	return (struct request){
		.vfs = {
			.who = {
				.uid = ctx->uid,
				.gid = ctx->gid,
				.umask = ctx->umask,
				.in_group = true,
				.once = answer_once(answer),
			},
			.is_member = is_member,
			.is_administrator = is_administrator,
			.answer = answer,
			.repeated = requests_is_repeated(),
		},
		.req = req,
	};
}

/* The access mode is below, in two bits; at the top, whether the file was append-only, and whether
 * it has a view. */
#define HANDLE_APPENDS (UINT64_C(1) << 63)
#define HANDLE_VIEWED (UINT64_C(1) << 62)

uint64_t handle_of_file(const struct vfs_opened *opened, int flags)
{
	return opened->handle << 2 | (uint64_t)(flags & O_ACCMODE) |
	       (opened->only_appends ? HANDLE_APPENDS : 0);
}

uint64_t handle_with_view(uint64_t fh)
{
	return fh | HANDLE_VIEWED;
}

enum views_open view_of_handle(uint64_t fh)
{
	if (fh & HANDLE_VIEWED)
		return VIEWS_OPEN_VIEWED;
	return (fh & O_ACCMODE) == O_WRONLY ? VIEWS_OPEN_UNMAPPED : VIEWS_OPEN_PLAIN;
}

struct vfs_open_file file_of_handle(fuse_ino_t node, uint64_t fh)
{
	unsigned mode = fh & O_ACCMODE;

	return (struct vfs_open_file){
		.ino = node_to_ino(node),
		.handle = (fh & ~(HANDLE_APPENDS | HANDLE_VIEWED)) >> 2,
		.may = (mode != O_WRONLY ? VFS_MAY_READ : 0) |
		       (mode != O_RDONLY ? VFS_MAY_WRITE : 0) |
		       (fh & HANDLE_APPENDS ? VFS_ONLY_APPENDS : 0),
	};
}
