/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every operation of a mounted filesystem, once, whether anybody has its files mapped or not: the
 * only API of transports, which decode, make one call here, and reply. Core's operations are put
 * together with the mapping engine (modify.c), with watchers, with space that is about to be freed,
 * with answers that outlive the process, and with the rules of permission. docs/design/overview.md
 * follows three operations through the rooms.
 *
 * Functions return 0 (or a count) or a negative errno, ret_* are untouched on error. They may be
 * called from any thread with no lock held, and are durable when they return, as core/fs.h says of
 * each. Errors are those of the fs_ function of that name, and those that are said here. Objects
 * are named by inode number. An inode that nobody maps costs one uncontended lock.
 */
#ifndef DAXFUSE_VFS_VFS_H
#define DAXFUSE_VFS_VFS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "answers.h"
#include "opens.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/core/fs.h"
#include "daxfuse/ioctl.h"

struct vfs;
struct json_object;

/* ---- life ------------------------------------------------------------------------ */

struct vfs_config {
	struct fs *fs;
	bool probe_lines; /* poison may be in any line (a device), not in known pages only */
	uint64_t life;    /* of serving processes, counted from 1 */
	_Atomic uint64_t *next_handle; /* where it outlives us; NULL: nowhere */
	struct vfs_open_table *opens;  /* likewise */
	bool owners_set_projects;      /* else administrators only do */
	/*
	 * What the transport is told, and asked. From any thread, also one that serves.
	 */
	void *transport;
	/* It must drop what it has cached of an inode: attributes, and (data) pages. Must not
	 * wait. */
	void (*forget)(void *transport, uint64_t ino, bool data);
	/* Space or quota is short: wait, not for long, for space that is about to be freed. Whether
	 * anything was. */
	bool (*reclaim)(void *transport);
	/* A thread of its own begins to wait for a program to let go, or is done. False: it is not
	 * to, as too many do. With locks held: must not call us. NULL: it has threads enough. */
	bool (*waiting)(void *transport, bool begins);
};

/* The pool is mounted. -ENOMEM */
errint_t vfs_open(const struct vfs_config *config, struct vfs **ret_vfs);
/* Nobody calls anything any more, and nothing is mapped. NULL is fine. */
void vfs_close(struct vfs *v);

/* What goes past the transport's cache can be mapped through it all the same: else FS_DAX_AUTO is
 * no more than FS_DAX_INODE. Before the first open. */
void vfs_allow_auto(struct vfs *v);
/* The mode of the mount, as it is in effect. */
enum fs_dax_mode vfs_dax(const struct vfs *v);

/* ---- requests ---------------------------------------------------------------------- */

/* On whose behalf, and what an earlier process has made of it (answers.h). */
struct vfs_request {
	struct fs_request who; /* who.once: answer_once() of answer */
	bool (*is_member)(const struct vfs_request *request, uint32_t gid);
	/* May control the mount: docs/design/security.md. */
	bool (*is_administrator)(const struct vfs_request *request);
	struct vfs_answer *answer; /* NULL: there is nothing that outlives us */
	bool repeated;             /* an earlier process has had it */
	/* Not of this host: it changes neither projects nor flags that bind everybody. */
	bool foreign;
};

/* ---- names ------------------------------------------------------------------------- */

/* Of an inode that has no name: -ESTALE, it may be freed at any moment. */
errint_t vfs_lookup(struct vfs *v, uint64_t parent, const char *name, struct fs_attr *ret_attr);
int vfs_mknod(struct vfs *v, const struct vfs_request *request, uint64_t parent, const char *name,
	      uint32_t mode, uint32_t rdev, struct fs_attr *ret_attr);
int vfs_mkdir(struct vfs *v, const struct vfs_request *request, uint64_t parent, const char *name,
	      uint32_t mode, struct fs_attr *ret_attr);
int vfs_symlink(struct vfs *v, const struct vfs_request *request, uint64_t parent, const char *name,
		const char *target, struct fs_attr *ret_attr);
errint_t vfs_link(struct vfs *v, const struct vfs_request *request, uint64_t ino, uint64_t parent,
		  const char *name, struct fs_attr *ret_attr);
errint_t vfs_unlink(struct vfs *v, const struct vfs_request *request, uint64_t parent,
		    const char *name);
errint_t vfs_rmdir(struct vfs *v, const struct vfs_request *request, uint64_t parent,
		   const char *name);
errint_t vfs_rename(struct vfs *v, const struct vfs_request *request, uint64_t parent,
		    const char *name, uint64_t new_parent, const char *new_name, unsigned flags);
ssize_t vfs_readlink(struct vfs *v, uint64_t ino, char *buf, size_t size);
int vfs_readdir(struct vfs *v, uint64_t ino, uint64_t cookie,
		int (*emit)(const struct fs_dirent *entry, void *arg), void *arg);

/* ---- open files ---------------------------------------------------------------------- */

enum {
	VFS_MAY_READ = 1,
	VFS_MAY_WRITE = 2,
	/* It was append-only when it was opened, and must not be written to in any other way then:
	 * transports that do not know the flag let programs drop O_APPEND, and map. */
	VFS_ONLY_APPENDS = 4,
};

/* As other calls name it. */
struct vfs_open_file {
	uint64_t ino;
	uint64_t handle; /* 0: a directory, which is not opened with us */
	unsigned may;    /* VFS_MAY_*, as it was opened */
};

struct vfs_opened {
	struct fs_attr attr;
	uint64_t handle;   /* no other open file of this mount gets that number */
	bool direct;       /* reads and writes go past the transport's cache */
	bool keep_cache;   /* what that has of the file is not to be dropped now */
	bool only_appends; /* VFS_ONLY_APPENDS */
};

/* open(2)'s flags, O_TRUNC included; kill_suidgid: and that takes suid and sgid away. */
errint_t vfs_open_inode(struct vfs *v, const struct vfs_request *request, uint64_t ino, int flags,
			bool kill_suidgid, struct vfs_opened *ret_opened);
/* The flags of one that was just made; its mode does not bind them. */
int vfs_create(struct vfs *v, const struct vfs_request *request, uint64_t parent, const char *name,
	       uint32_t mode, int flags, struct vfs_opened *ret_opened);
int vfs_tmpfile(struct vfs *v, const struct vfs_request *request, uint64_t parent, uint32_t mode,
		int flags, struct vfs_opened *ret_opened);
/* Its answer did not reach anybody. */
void vfs_cancel_open(struct vfs *v, const struct vfs_opened *opened);
/* It was closed: its pins and its watcher end. */
void vfs_release(struct vfs *v, uint64_t ino, uint64_t handle);
/* What has opened a file is about to be answered. */
void vfs_opening_answered(const struct vfs_request *request);
/* It is not asked again: unless it was about to be answered, nobody knows of that open file. */
void vfs_opening_lost(struct vfs *v, const struct vfs_answer *lost);
/* The handle that an earlier process was about to answer with; 0: none. */
uint64_t vfs_opening_choice(const struct vfs_answer *answer);
/* Whether it was opened by this process, and not by an earlier one of this mount. */
bool vfs_is_of_this_life(const struct vfs *v, uint64_t handle);
/* Whether an open file of an earlier process may be left that can be read from. */
bool vfs_earlier_opens(struct vfs *v, uint64_t ino);
/* The transport maps the file past its cache, and so sends its reads and writes past it: nobody
 * knows of the open file yet. */
void vfs_open_past_cache(struct vfs *v, const struct vfs_request *request,
			 struct vfs_opened *opened);
/* Whether the transport caches what is read by this open file. */
bool vfs_is_cached(uint64_t handle);
/* It is read, or written to: so its open is over, and has dropped what it was to drop. */
void vfs_open_is_used(struct vfs *v, uint64_t handle);
/* The file was written to past the transport's cache. True: others read through it, and may have
 * taken old bytes in meanwhile; they must be dropped before the write is answered. */
bool vfs_wrote_past_cache(struct vfs *v, uint64_t ino);
/* fn is told of each handle that is released, before the file is trimmed. Not while in use. */
void vfs_on_release(struct vfs *v, void (*fn)(void *arg, uint64_t handle), void *arg);

/* A transport has told of this inode, and will be asked about it by its number: it stays what it is
 * until vfs_unhold(), also without a name. -ESTALE: there is none. */
errint_t vfs_hold(struct vfs *v, uint64_t ino, struct fs_attr *ret_attr);
void vfs_unhold(struct vfs *v, uint64_t ino);

/*
 * Inodes without a name are freed by a transport that knows that nobody can reach them: one that
 * was told so asks vfs_is_orphan() (and which one), and once sure, vfs_reap(). If the number has
 * another generation by then, or a name again, nothing happens.
 */
bool vfs_is_orphan(struct vfs *v, uint64_t ino, uint32_t *ret_generation);
void vfs_reap(struct vfs *v, uint64_t ino, uint32_t generation);
/* Call fn for each there is. */
void vfs_orphans_for_each(struct vfs *v, void (*fn)(void *arg, uint64_t ino, uint32_t generation),
			  void *arg);

/* ---- attributes -------------------------------------------------------------------- */

errint_t vfs_getattr(struct vfs *v, uint64_t ino, struct fs_attr *ret_attr);
/* -EBUSY, too: a mapping whose owner does not let go. */
errint_t vfs_setattr(struct vfs *v, const struct vfs_request *request, uint64_t ino,
		     const struct fs_setattr *set, struct fs_attr *ret_attr);
errint_t vfs_statfs(struct vfs *v, uint64_t ino, struct fs_statfs *ret_statfs);
ssize_t vfs_getxattr(struct vfs *v, uint64_t ino, const char *name, void *value, size_t size);
/* Names that begin with "trusted." are for administrators to see. size 0: only the length. */
ssize_t vfs_listxattr(struct vfs *v, const struct vfs_request *request, uint64_t ino, char *list,
		      size_t size);
/* Setting an ACL takes sgid away from a caller who is not in the file's group, as chmod(2). */
errint_t vfs_setxattr(struct vfs *v, const struct vfs_request *request, uint64_t ino,
		      const char *name, const void *value, size_t size, int flags);
errint_t vfs_removexattr(struct vfs *v, const struct vfs_request *request, uint64_t ino,
			 const char *name);
errint_t vfs_get_xflags(struct vfs *v, uint64_t ino, struct fs_xflags *ret_xflags);
/* -EBUSY: the DAX flag of a file that is mapped. -EPERM: the project, of one who may not say. */
errint_t vfs_set_xflags(struct vfs *v, const struct vfs_request *request, uint64_t ino,
			const struct fs_xflags *xflags);

/* ---- data --------------------------------------------------------------------------- */

/* As fs_read(); the bytes that emit gets were looked at for poison, so that nobody else meets
 * it. */
ssize_t vfs_read(struct vfs *v, uint64_t ino, uint64_t offset, size_t length, bool noatime,
		 fs_emit emit, void *arg);
/* The same into a buffer. */
ssize_t vfs_pread(struct vfs *v, uint64_t ino, void *buf, size_t length, uint64_t offset,
		  bool noatime);
enum {
	VFS_WRITE_KILL_SUIDGID = 1, /* the caller is not privileged */
	VFS_WRITE_APPENDS = 2,      /* O_APPEND: offset is the end, as the transport knows it */
};
/* -EPERM, too: VFS_ONLY_APPENDS. */
ssize_t vfs_write(struct vfs *v, const struct vfs_request *request,
		  const struct vfs_open_file *file, const void *buf, size_t length, uint64_t offset,
		  unsigned flags);
/* A call that moves or frees extents under a mapping waits for mappers that answer, up to a
 * second. */
errint_t vfs_fallocate(struct vfs *v, const struct vfs_request *request, uint64_t ino, int mode,
		       uint64_t offset, uint64_t length);
ssize_t vfs_copy_range(struct vfs *v, const struct vfs_request *request, uint64_t in,
		       uint64_t in_offset, const struct vfs_open_file *out, uint64_t out_offset,
		       size_t length);
off_t vfs_seek(struct vfs *v, uint64_t ino, uint64_t offset, int whence);
/* Earlier stores through mappings are durable. */
errint_t vfs_fsync(struct vfs *v, uint64_t ino);

/* ---- space -------------------------------------------------------------------------- */

/* DXF_IOC_EXTENTS: from extents->start on. */
errint_t vfs_extents(struct vfs *v, uint64_t ino, struct dxf_ioc_extents *extents);
errint_t vfs_realign(struct vfs *v, uint64_t ino, uint64_t *offset, bool *ret_moved);
/* Make the unit around offset a whole one, mapped or not. */
errint_t vfs_promote(struct vfs *v, uint64_t ino, uint64_t offset);
errint_t vfs_quota_get(struct vfs *v, uint32_t project, struct fs_quota *ret_quota);
errint_t vfs_quota_set(struct vfs *v, uint32_t project, uint64_t block_limit, uint64_t inode_limit);
/* Of the lowest project from `project` on. -ENOENT: there is none. */
errint_t vfs_quota_next(struct vfs *v, uint32_t project, struct fs_quota *ret_quota);
errint_t vfs_set_label(struct vfs *v, const char *label);

/* ---- watching ------------------------------------------------------------------------ */

/* DXF_IOC_WATCH, DXF_IOC_WATCH_READ. */
errint_t vfs_watch(struct vfs *v, const struct vfs_open_file *file);
errint_t vfs_watch_read(struct vfs *v, const struct vfs_open_file *file,
			struct dxf_ioc_watch *watch);

/* ---- reports ------------------------------------------------------------------------- */

/* One object: how much is mapped in which size, and the counters; ino 0: of the mount. */
struct json_object *vfs_report(struct vfs *v, uint64_t ino);

#endif
