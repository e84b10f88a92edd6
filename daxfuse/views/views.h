/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Kernel views of files: what the module daxview makes of a device-dax, as mappers of the engine. A
 * file that is opened to be mapped gets a view, which the transport registers as what its mappings
 * go to, and reads and writes of files that are large enough; all else comes to the daemon as ever.
 * docs/design/views.md.
 */
#ifndef DAXFUSE_VIEWS_VIEWS_H
#define DAXFUSE_VIEWS_VIEWS_H

#include "daxfuse/base/errint.h"
#include "daxfuse/pmem/device.h"
#include "daxfuse/vfs/vfs.h"
#include "table.h"

struct views;
struct json_object;

struct views_config {
	struct vfs *vfs;
	const struct device *dev;
	/* A view has ended: the transport forgets what views_enter() has had it register, and frees
	 * the inode if nobody can reach it any more. stored: its times may be other ones than those
	 * that somebody was told who has asked before. With locks held. */
	void *transport;
	void (*ended)(void *transport, uint64_t ino, int backing, bool stored);
};

/*
 * Whether there can be views of this device: takes over the session with the module of an earlier
 * process of this mount, whose table this is, or begins one, and takes away views that a dead
 * daemon has left. While anybody has `holder` open, of /dev/daxview, views wait for the next
 * process; -1: they end with this one. Failing, ret_reason says why not, in one line.
 */
errint_t views_open(const struct device *dev, struct view_table *table, int holder,
		    int *ret_session, char *ret_reason, size_t size);
/* The vfs is open. Owns the session in any case. Views of an earlier process are ours from now on,
 * and programs that use them wait. The table outlives us. */
errint_t views_start(const struct views_config *config, struct view_table *table, int session,
		     struct views **ret_views);
/* The transport has mounted: there are threads from now on. NULL is fine, here and below. */
errint_t views_serve(struct views *v);
/* It can tell the kernel of changes: programs are answered from now on. Does not wait. */
void views_begin(struct views *v);
/* Nobody opens or maps any file any more; or the next process goes on with all. */
void views_stop(struct views *v, bool unmounted);

enum views_open {
	VIEWS_OPEN_UNMAPPED, /* without a view; it can't be mapped, as it is for writing only */
	VIEWS_OPEN_PLAIN,    /* without a view */
	VIEWS_OPEN_VIEWED,   /* with one */
};
/*
 * A file is about to be open, until views_leave(). Above 0: the number under which the transport
 * knows what it is mapped through: all open files of an inode that may be mapped have the same, or
 * none has. 0: none. register_backing() makes such a number of a descriptor, or returns 0. -ENOMEM:
 * it must not be opened. flags: of open(2).
 */
int views_enter(struct views *v, const struct vfs_opened *opened, int flags,
		int (*register_backing)(void *arg, int fd), void *arg);
/* Whether its reads and writes go to the view, too, with which it was opened: from now on. False:
 * they come to us. */
bool views_pass(struct views *v, const struct vfs_opened *opened, int flags);
/* Its handle is of any process. */
void views_leave(struct views *v, uint64_t ino, uint64_t handle, enum views_open how);
/* Whether its times may be other ones by now than those that the kernel was told, as programs store
 * past us both. */
bool views_may_store(struct views *v, uint64_t ino);
/* Whether it has a view: its memory may be in use, though the kernel does not know it any more. */
bool views_hold(struct views *v, uint64_t ino);
/* No view is made from now on. -EBUSY: there are some. */
errint_t views_pause(struct views *v);
void views_resume(struct views *v);

/* Counters, for reports. */
struct json_object *views_report(struct views *v);

#endif
