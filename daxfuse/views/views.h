/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Kernel views of files: what the module daxview makes of a device-dax, as mappers of the engine. A
 * file that is opened to be mapped gets a view, which the transport registers as what its mappings
 * go to; reads and writes come to the daemon as ever. docs/design/views.md.
 */
#ifndef DAXFUSE_VIEWS_VIEWS_H
#define DAXFUSE_VIEWS_VIEWS_H

#include "daxfuse/base/errint.h"
#include "daxfuse/pmem/device.h"
#include "daxfuse/vfs/vfs.h"

struct views;
struct json_object;

struct views_config {
	struct vfs *vfs;
	const struct device *dev;
	/* A view has ended: the transport forgets what views_enter() has had it register, and frees
	 * the inode if nobody can reach it any more. With locks held. */
	void *transport;
	void (*ended)(void *transport, uint64_t ino, int backing);
};

/* Whether there can be views of this device: begins a session with the module, and takes views away
 * that a dead daemon has left. Failing, ret_reason says why not, in one line. */
errint_t views_open(const struct device *dev, int *ret_session, char *ret_reason, size_t size);
/* The vfs is open. Owns the session in any case. */
errint_t views_start(const struct views_config *config, int session, struct views **ret_views);
/* Nobody opens or maps any file any more. NULL is fine. */
void views_stop(struct views *v);

/*
 * A file is about to be open, until views_leave(). Above 0: the number under which the transport
 * knows what it is mapped through: all open files of an inode have the same, or none has. 0: none.
 * register_backing() makes such a number of a descriptor, or returns 0. -ENOMEM: it must not be
 * opened.
 */
int views_enter(struct views *v, const struct vfs_opened *opened,
		int (*register_backing)(void *arg, int fd), void *arg);
void views_leave(struct views *v, uint64_t ino);
/* Whether it has a view: its memory may be in use, though the kernel does not know it any more. */
bool views_hold(struct views *v, uint64_t ino);

/* Counters, for reports. */
struct json_object *views_report(struct views *v);

#endif
