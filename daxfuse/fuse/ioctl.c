/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ioctls: FS_IOC_{GET,SET}FLAGS and FS_IOC_FS{GET,SET}XATTR, and those of include/daxfuse/ioctl.h.
 * The table at the end says for each of them who may call it and on what kind of open file; nothing
 * runs before that, and the size that the caller claims, were checked. What depends on the call's
 * content is looked at by its function: which project, and how much of the status.
 *
 * The kernel has checked owner and capabilities for the four FS_IOC_ numbers in the table
 * (vfs_fileattr_set()), and for no other number. So the 32-bit twins of two of them must
 * not be there: the kernel translates those for 32-bit programs, and hands them on unseen
 * when a 64-bit program uses them.
 */
#include "daxfuse/base/errint.h"
#include "daxfuse/ioctl.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/vfs/fileattr.h"
#include "deferred.h"
#include "loop.h"
#include "requests.h"
#include "internal.h"

struct call {
	fuse_req_t req;
	struct transport *transport;
	fuse_ino_t node;
	uint64_t ino;
	uint64_t fh;
	const void *in;
	size_t in_size, out_size;
	bool changes; /* attributes, of which the kernel does not know that an ioctl does */
};

static void reply(const struct call *c, int err, const void *out, size_t size)
{
	/* an error may come after a part was done, or be an earlier process's */
	if (c->changes)
		fuse_lowlevel_notify_inval_inode(c->transport->se, c->node, -1, 0);
	if (err)
		fuse_reply_err(c->req, -err);
	else
		fuse_reply_ioctl(c->req, 0, out, MIN(size, c->out_size));
}

static bool is_administrator(const struct call *c)
{
	const struct request request = request_of(c->req);

	return request.vfs.is_administrator(&request.vfs);
}

/* ---- flags ------------------------------------------------------------------ */

static void get_flags(const struct call *c)
{
	uint64_t wide; /* 4 bytes, or 8 as the ioctl's number says */
	uint32_t flags = 0;
	int err = fileattr_get_flags(c->transport->vfs, c->ino, &flags);

	wide = flags;
	reply(c, err, &wide, sizeof(wide));
}

static void set_flags(const struct call *c)
{
	const struct request request = request_of(c->req);
	uint32_t flags;

	if (c->in_size < sizeof(flags)) {
		reply(c, -EINVAL, NULL, 0);
		return;
	}
	memcpy(&flags, c->in, sizeof(flags));
	reply(c, fileattr_set_flags(c->transport->vfs, &request.vfs, c->ino, flags), NULL, 0);
}

static void get_xflags(const struct call *c)
{
	struct fsxattr out;
	int err = fileattr_get(c->transport->vfs, c->ino, &out);

	reply(c, err, &out, sizeof(out));
}

static void set_xflags(const struct call *c)
{
	const struct request request = request_of(c->req);
	struct fsxattr in;

	if (c->in_size < sizeof(in)) {
		reply(c, -EINVAL, NULL, 0);
		return;
	}
	memcpy(&in, c->in, sizeof(in));
	reply(c, fileattr_set(c->transport->vfs, &request.vfs, c->ino, &in), NULL, 0);
}

/* ---- of daxfuse ------------------------------------------------------------- */

static void get_extents(const struct call *c)
{
	CLEANUP_FREE struct dxf_ioc_extents *extents = calloc(1, sizeof(*extents));

	if (!extents) {
		reply(c, -ENOMEM, NULL, 0);
		return;
	}
	memcpy(extents, c->in, sizeof(*extents));
	reply(c, vfs_extents(c->transport->vfs, c->ino, extents), extents, sizeof(*extents));
}

static void get_status(const struct call *c)
{
	CLEANUP_FREE struct dxf_ioc_status *status = calloc(1, sizeof(*status));
	const struct transport_host *host = &c->transport->config.host;
	int err = status ? host->status(host->arg, is_administrator(c), status->json,
					sizeof(status->json))
			 : -ENOMEM;

	reply(c, err, status, sizeof(*status));
}

static void get_requests(const struct call *c)
{
	CLEANUP_FREE struct dxf_ioc_requests *requests = malloc(sizeof(*requests));

	if (requests)
		loop_times(requests);
	reply(c, requests ? 0 : -ENOMEM, requests, sizeof(*requests));
}

static void fill_quota(const struct fs_quota *from, struct dxf_ioc_quota *to)
{
	*to = (struct dxf_ioc_quota){
		.project = from->project,
		.byte_limit = from->block_limit * DXF_BLOCK_SIZE,
		.inode_limit = from->inode_limit,
		.bytes = from->blocks * DXF_BLOCK_SIZE,
		.inodes = from->inodes,
	};
}

static bool is_of_project(const struct call *c, uint32_t project)
{
	struct fs_attr attr;

	return !vfs_getattr(c->transport->vfs, c->ino, &attr) && attr.project == project;
}

/* Of the file's own project anybody knows as much from statfs(). */
static void get_quota(const struct call *c)
{
	struct dxf_ioc_quota quota;
	struct fs_quota found;
	int err = 0;

	memcpy(&quota, c->in, sizeof(quota));
	if (!is_of_project(c, quota.project) && !is_administrator(c))
		err = -EPERM;
	if (!err)
		err = vfs_quota_get(c->transport->vfs, quota.project, &found);
	if (!err)
		fill_quota(&found, &quota);
	reply(c, err, &quota, sizeof(quota));
}

static void set_quota(const struct call *c)
{
	struct dxf_ioc_quota quota;
	uint64_t blocks;

	memcpy(&quota, c->in, sizeof(quota));
	blocks = quota.byte_limit / DXF_BLOCK_SIZE + (quota.byte_limit % DXF_BLOCK_SIZE != 0);
	reply(c, vfs_quota_set(c->transport->vfs, quota.project, blocks, quota.inode_limit), NULL,
	      0);
}

static void get_next_quota(const struct call *c)
{
	struct dxf_ioc_quota quota;
	struct fs_quota found;
	int err;

	memcpy(&quota, c->in, sizeof(quota));
	err = vfs_quota_next(c->transport->vfs, quota.project, &found);
	if (!err)
		fill_quota(&found, &quota);
	reply(c, err, &quota, sizeof(quota));
}

static void change_range(const struct call *c)
{
	struct dxf_ioc_range in;

	memcpy(&in, c->in, sizeof(in));
	if (in.mode != FALLOC_FL_COLLAPSE_RANGE && in.mode != FALLOC_FL_INSERT_RANGE)
		reply(c, -EOPNOTSUPP, NULL, 0);
	else
		deferred_fallocate(c->transport->deferred, &(struct deferred_range){
								   .req = c->req,
								   .node = c->node,
								   .mode = (int)in.mode,
								   .offset = in.offset,
								   .length = in.length,
								   .answer = requests_detach(),
							   });
}

static void realign(const struct call *c)
{
	struct dxf_ioc_realign answer;
	bool moved = false;
	uint64_t offset;

	memcpy(&answer, c->in, sizeof(answer));
	offset = answer.offset;
	answer.error = vfs_realign(c->transport->vfs, c->ino, &offset, &moved);
	answer.offset = offset;
	answer.moved = moved;
	reply(c, 0, &answer, sizeof(answer));
}

static void set_label(const struct call *c)
{
	struct dxf_ioc_label label;

	memcpy(&label, c->in, sizeof(label));
	if (!memchr(label.label, '\0', sizeof(label.label)))
		reply(c, -EINVAL, NULL, 0);
	else
		reply(c, vfs_set_label(c->transport->vfs, label.label), NULL, 0);
}

/* The answer goes out before the end begins. */
static void restart(const struct call *c)
{
	const struct transport_host *host = &c->transport->config.host;
	struct dxf_ioc_restart answer = { .reason = "" };
	int err = host->restart_prepare(host->arg, answer.reason, sizeof(answer.reason));

	answer.error = (__u32)-err;
	reply(c, 0, &answer, sizeof(answer));
	if (!err)
		host->restart_now(host->arg);
}

static void remount(const struct call *c)
{
	const struct transport_host *host = &c->transport->config.host;
	struct dxf_ioc_remount change;
	bool replace;

	memcpy(&change, c->in, sizeof(change));
	replace = host->remount(host->arg, &change);
	reply(c, 0, &change, sizeof(change));
	if (replace)
		host->restart_now(host->arg);
}

/* An earlier process may have done it, and died before it could answer. */
static errint_t export_once(const struct dxf_ioc_export *in, int err)
{
	if (in->what == DXF_EXPORT_ADD && err == -EALREADY)
		return requests_is_repeated() ? 0 : -EEXIST;
	return in->what == DXF_EXPORT_REMOVE && err == -ENOENT && requests_is_repeated() ? 0 : err;
}

static void export(const struct call *c)
{
	const struct transport_host *host = &c->transport->config.host;
	struct dxf_ioc_export in;

	memcpy(&in, c->in, sizeof(in));
	if (!memchr(in.socket, '\0', sizeof(in.socket)) || !memchr(in.tag, '\0', sizeof(in.tag)))
		reply(c, -EINVAL, NULL, 0);
	else
		reply(c, export_once(&in, host->export(host->arg, c->ino, &in)), NULL, 0);
}

/* ---- direct mappings ---------------------------------------------------------- */

static void get_socket(const struct call *c)
{
	struct dxf_ioc_direct answer = { .socket = "" };

	strncpy(answer.socket, clients_socket(c->transport->clients), sizeof(answer.socket) - 1);
	reply(c, 0, &answer, sizeof(answer));
}

static void map(const struct call *c)
{
	const struct vfs_open_file file = file_of_handle(c->node, c->fh);
	CLEANUP_FREE struct dxf_ioc_map *map = malloc(sizeof(*map));
	int err = -ENOMEM;

	if (map) {
		memcpy(map, c->in, sizeof(*map));
		err = clients_map(c->transport->clients, &file, map);
	}
	reply(c, err, map, sizeof(*map));
}

static void unmap(const struct call *c)
{
	const struct vfs_open_file file = file_of_handle(c->node, c->fh);
	struct dxf_ioc_unmap in;

	memcpy(&in, c->in, sizeof(in));
	reply(c, clients_unmap(c->transport->clients, &file, &in), NULL, 0);
}

static bool may_pin(const struct call *c)
{
	const struct request request = request_of(c->req);

	return clients_may_pin(c->transport->clients, &request.vfs);
}

static void pin(const struct call *c)
{
	const struct vfs_open_file file = file_of_handle(c->node, c->fh);
	const struct request request = request_of(c->req);
	struct dxf_ioc_pin in;

	memcpy(&in, c->in, sizeof(in));
	reply(c, clients_pin(c->transport->clients, &request.vfs, &file, &in), NULL, 0);
}

static void unpin(const struct call *c)
{
	const struct vfs_open_file file = file_of_handle(c->node, c->fh);
	const struct request request = request_of(c->req);
	struct dxf_ioc_pin in;

	memcpy(&in, c->in, sizeof(in));
	reply(c, clients_unpin(c->transport->clients, &request.vfs, &file, &in), NULL, 0);
}

static void promote(const struct call *c)
{
	const struct vfs_open_file file = file_of_handle(c->node, c->fh);
	struct dxf_ioc_promote in;

	memcpy(&in, c->in, sizeof(in));
	reply(c, clients_promote(c->transport->clients, &file, &in), NULL, 0);
}

static void watch(const struct call *c)
{
	const struct vfs_open_file file = file_of_handle(c->node, c->fh);

	reply(c, vfs_watch(c->transport->vfs, &file), NULL, 0);
}

static void read_watch(const struct call *c)
{
	const struct vfs_open_file file = file_of_handle(c->node, c->fh);
	CLEANUP_FREE struct dxf_ioc_watch *watch = malloc(sizeof(*watch));
	int err = watch ? vfs_watch_read(c->transport->vfs, &file, watch) : -ENOMEM;

	reply(c, err, watch, sizeof(*watch));
}

static void get_mapped(const struct call *c)
{
	CLEANUP_FREE struct dxf_ioc_mapped *mapped = calloc(1, sizeof(*mapped));
	struct json_object *o = vfs_report(c->transport->vfs, c->ino);
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	int err = !mapped ? -ENOMEM : strlen(text) >= sizeof(mapped->json) ? -ENOSPC : 0;

	if (!err)
		strcpy(mapped->json, text);
	json_object_put(o);
	reply(c, err, mapped, sizeof(*mapped));
}

/* ---- all -------------------------------------------------------------------- */

enum caller {
	ANYBODY,
	KERNEL_SAYS,   /* the file's owner, and more: checked before we are asked */
	PINNER,        /* those who would be given the device */
	WRITER,        /* who has the file open for writing, and administrators */
	ADMINISTRATOR, /* who may control the mount: caller.h */
};

/* The descriptor must be open for all of these. Those that concern a program's own mappings need no
 * more than the descriptor that these were made with. */
enum { FOR_ANYTHING = 0, FOR_READING = VFS_MAY_READ, FOR_WRITING = VFS_MAY_WRITE };

static const struct rule {
	unsigned cmd;
	void (*run)(const struct call *c);
	enum caller caller;
	unsigned open;
	int otherwise;    /* the error if it is not open for that */
	int on_directory; /* the error there; 0: fine */
	bool changes;     /* what stat() shows of the file; those that wait see to it themselves */
} table[] = {
	{ FS_IOC_GETFLAGS, get_flags, ANYBODY, FOR_ANYTHING, 0, 0, false },
	{ FS_IOC_SETFLAGS, set_flags, KERNEL_SAYS, FOR_ANYTHING, 0, 0, true },
	{ FS_IOC_FSGETXATTR, get_xflags, ANYBODY, FOR_ANYTHING, 0, 0, false },
	{ FS_IOC_FSSETXATTR, set_xflags, KERNEL_SAYS, FOR_ANYTHING, 0, 0, true },
	{ DXF_IOC_EXTENTS, get_extents, ANYBODY, FOR_ANYTHING, 0, -EISDIR, false },
	{ DXF_IOC_STATUS, get_status, ANYBODY, FOR_ANYTHING, 0, 0, false },
	{ DXF_IOC_REQUESTS, get_requests, ADMINISTRATOR, FOR_ANYTHING, 0, 0, false },
	{ DXF_IOC_QUOTA_GET, get_quota, ANYBODY, FOR_ANYTHING, 0, 0, false },
	{ DXF_IOC_QUOTA_SET, set_quota, ADMINISTRATOR, FOR_ANYTHING, 0, 0, false },
	{ DXF_IOC_QUOTA_NEXT, get_next_quota, ADMINISTRATOR, FOR_ANYTHING, 0, 0, false },
	{ DXF_IOC_RANGE, change_range, ANYBODY, FOR_WRITING, -EBADF, -EBADF, false },
	{ DXF_IOC_SET_LABEL, set_label, ADMINISTRATOR, FOR_ANYTHING, 0, 0, false },
	{ DXF_IOC_REALIGN, realign, WRITER, FOR_ANYTHING, 0, -EBADF, true },
	{ DXF_IOC_RESTART, restart, ADMINISTRATOR, FOR_ANYTHING, 0, 0, false },
	{ DXF_IOC_REMOUNT, remount, ADMINISTRATOR, FOR_ANYTHING, 0, 0, false },
	{ DXF_IOC_EXPORT, export, ADMINISTRATOR, FOR_ANYTHING, 0, 0, false },
	{ DXF_IOC_DIRECT, get_socket, ANYBODY, FOR_ANYTHING, 0, 0, false },
	/* to map for stores it must be open for writing, too: clients_map() */
	{ DXF_IOC_MAP, map, ANYBODY, FOR_READING, -EACCES, -EOPNOTSUPP, false },
	{ DXF_IOC_UNMAP, unmap, ANYBODY, FOR_ANYTHING, 0, -EBADF, false },
	{ DXF_IOC_PIN, pin, PINNER, FOR_READING | FOR_WRITING, -EACCES, -EOPNOTSUPP, true },
	{ DXF_IOC_UNPIN, unpin, ANYBODY, FOR_ANYTHING, 0, -EBADF, false },
	{ DXF_IOC_PROMOTE, promote, ANYBODY, FOR_READING | FOR_WRITING, -EACCES, -EOPNOTSUPP,
	  true },
	{ DXF_IOC_MAPPED, get_mapped, ANYBODY, FOR_ANYTHING, 0, 0, false },
	{ DXF_IOC_WATCH, watch, ADMINISTRATOR, FOR_ANYTHING, 0, -EBADF, false },
	{ DXF_IOC_WATCH_READ, read_watch, ADMINISTRATOR, FOR_ANYTHING, 0, -EBADF, false },
};

static errint_t check_caller(const struct call *c, enum caller caller, unsigned may)
{
	switch (caller) {
	case ANYBODY:
		return 0;
	case KERNEL_SAYS:
		return c->transport->kernel_checks_flags || is_administrator(c) ? 0 : -EPERM;
	case PINNER:
		return may_pin(c) ? 0 : -EACCES;
	case WRITER:
		return (may & VFS_MAY_WRITE) || is_administrator(c) ? 0 : -EBADF;
	case ADMINISTRATOR:
		break;
	}
	return is_administrator(c) ? 0 : -EPERM;
}

/* Whether the bytes that came, and the room for the answer, have the size of the command. */
static bool has_its_size(unsigned cmd, const struct call *c)
{
	return _IOC_TYPE(cmd) != DXF_IOC_TYPE ||
	       ((!(_IOC_DIR(cmd) & _IOC_WRITE) || (c->in && c->in_size == _IOC_SIZE(cmd))) &&
		(!(_IOC_DIR(cmd) & _IOC_READ) || c->out_size >= _IOC_SIZE(cmd)));
}

static const struct rule *find_rule(unsigned cmd)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (table[i].cmd == cmd)
			return &table[i];
	}
	return NULL;
}

static int check(const struct rule *rule, const struct call *c, bool on_directory)
{
	/* a directory is not opened with us: it has no handle that says how */
	unsigned may = on_directory ? VFS_MAY_READ : file_of_handle(c->node, c->fh).may;
	int err = check_caller(c, rule->caller, may);

	if (err)
		return err;
	if (on_directory && rule->on_directory)
		return rule->on_directory;
	if ((may & rule->open) != rule->open)
		return rule->otherwise;
	return has_its_size(rule->cmd, c) ? 0 : -EINVAL;
}

static void op_ioctl(fuse_req_t req, fuse_ino_t node, unsigned int cmd, void *arg,
		     struct fuse_file_info *fi, unsigned flags, const void *in_buf, size_t in_size,
		     size_t out_size)
{
	struct call call = {
		.req = req,
		.transport = transport_of(req),
		.node = node,
		.ino = node_to_ino(node),
		.fh = fi->fh,
		.in = in_buf,
		.in_size = in_size,
		.out_size = out_size,
	};

	const struct rule *rule = find_rule(cmd);
	int err = rule ? check(rule, &call, flags & FUSE_IOCTL_DIR) : -ENOTTY;

	if (err) {
		reply(&call, err, NULL, 0);
		return;
	}
	call.changes = rule->changes;
	rule->run(&call);
}

void ioctl_ops(struct fuse_lowlevel_ops *ops)
{
	ops->ioctl = op_ioctl;
}
