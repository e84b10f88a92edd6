/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "requests.h"
#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "requests.h"
#include "state.h"

#define NSEC INT64_C(1000000000)
#define GROUPS_MAX 65536
#define DAY (24 * 60 * 60 * NSEC)

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

void attr_to_entry(const struct fs_attr *attr, struct fuse_entry_param *ret_entry)
{
	*ret_entry = (struct fuse_entry_param){
		.ino = ino_to_node(attr->ino),
		.generation = attr->generation,
		.attr_timeout = STATE_TIMEOUT,
		.entry_timeout = STATE_TIMEOUT,
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
	attr_to_entry(attr, &entry);
	fuse_reply_entry(req, &entry);
}

/* The kernel drops sgid from the mode before it asks, where group membership
 * demands that; so the core may believe the mode. */
struct fs_request request_of(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct fs_request){
		.uid = ctx->uid,
		.gid = ctx->gid,
		.umask = ctx->umask,
		.in_group = true,
		.once = requests_once(),
	};
}

bool is_privileged(fuse_req_t req)
{
	uid_t uid = fuse_req_ctx(req)->uid;

	return uid == 0 || uid == geteuid();
}

bool is_member(fuse_req_t req, uint32_t gid)
{
	CLEANUP_FREE gid_t *groups = NULL;
	int count;

	if (fuse_req_ctx(req)->gid == gid)
		return true;
	groups = calloc(GROUPS_MAX, sizeof(*groups));
	count = groups ? fuse_req_getgroups(req, GROUPS_MAX, groups) : 0;
	for (int i = 0; i < MIN(count, GROUPS_MAX); i++) {
		if (groups[i] == gid)
			return true;
	}
	return false;
}

unsigned kills_of(fuse_req_t req, const struct fs_attr *attr)
{
	bool stranger = (attr->mode & S_ISGID) && !is_member(req, attr->gid);

	return FS_WRITE_KILL_SUIDGID | (stranger ? FS_WRITE_KILL_SGID : 0);
}

/* An earlier process may have taken them away, and died before it could say so. */
int drop_privileges(fuse_req_t req, fuse_ino_t node)
{
	struct state *s = state_of(req);
	bool dropped = false;
	struct fs_attr attr;
	unsigned kill = 0;
	int err = fs_getattr(s->fs, node_to_ino(node), &attr);

	if (!err && fuse_req_ctx(req)->uid != 0)
		kill = kills_of(req, &attr);
	if (!err)
		err = fs_drop_privileges(s->fs, node_to_ino(node), kill, &dropped);
	if (dropped || requests_is_repeated())
		fuse_lowlevel_notify_inval_inode(s->se, node, -1, 0);
	return err;
}

/*
 * A read that the page cache answers never comes here, and so would never move
 * the access time. Where it is due, the cache is dropped at open, and the first
 * read comes.
 */
static bool atime_is_due(const struct state *s, const struct fs_attr *attr)
{
	if (s->options->fs.read_only || (attr->flags & DXF_FLAG_NOATIME))
		return false;
	switch (s->options->fs.atime) {
	case FS_ATIME_NEVER:
		return false;
	case FS_ATIME_STRICT:
		return true;
	case FS_ATIME_RELATIVE:
		break;
	}
	return attr->atime <= attr->mtime || attr->atime <= attr->ctime ||
	       fs_clock() - attr->atime >= DAY;
}

/* The access mode is below, in two bits; at the top, whether the file was append-only. */
#define HANDLE_APPENDS (UINT64_C(1) << 63)

static uint64_t new_handle(struct state *s, const struct fs_attr *attr,
			   const struct fuse_file_info *fi)
{
	return direct_new_handle(s->direct) << 2 | (uint64_t)(fi->flags & O_ACCMODE) |
	       (attr->flags & DXF_FLAG_APPEND ? HANDLE_APPENDS : 0);
}

bool handle_only_appends(uint64_t fh)
{
	return fh & HANDLE_APPENDS;
}

struct direct_file file_of_handle(fuse_ino_t node, uint64_t fh)
{
	unsigned mode = fh & O_ACCMODE;

	return (struct direct_file){
		.ino = node_to_ino(node),
		.handle = (fh & ~HANDLE_APPENDS) >> 2,
		.may = (mode != O_WRONLY ? DIRECT_MAY_READ : 0) |
		       (mode != O_RDONLY ? DIRECT_MAY_WRITE : 0),
	};
}

void open_reply_flags(struct state *s, const struct fs_attr *attr, struct fuse_file_info *fi)
{
	bool touches = (fi->flags & O_ACCMODE) != O_WRONLY && !(fi->flags & O_NOATIME);

	fi->fh = new_handle(s, attr, fi);
	fi->noflush = 1;
	fi->direct_io = attr->dax;
	fi->parallel_direct_writes = attr->dax; /* the core locks */
	fi->keep_cache = !attr->dax && !(touches && atime_is_due(s, attr));
}
