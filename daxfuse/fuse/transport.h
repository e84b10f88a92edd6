/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The transport on /dev/fuse: it takes the kernel's requests, makes one call into the vfs, and
 * replies; and it tells the kernel what it must not believe any more.
 */
#ifndef DAXFUSE_FUSE_TRANSPORT_H
#define DAXFUSE_FUSE_TRANSPORT_H

#include "daxfuse/base/errint.h"
#include "daxfuse/clients/clients.h"
#include "daxfuse/keeper/attach.h"
#include "daxfuse/keeper/places.h"
#include "daxfuse/views/views.h"
#include "daxfuse/vfs/vfs.h"

struct transport;

#define TRANSPORT_IO_MAX (1 << 20) /* bytes in one READ or WRITE */

/* The process that the transport is part of, for the ioctls that concern it. */
struct transport_host {
	void *arg;
	/* What the kernel can do is agreed on; before its first request, or what it sends again. */
	void (*greeted)(void *arg);
	/* DXF_IOC_STATUS: one JSON object, NUL-terminated; whole, or without what is for
	 * administrators. -ENOSPC: it does not fit. */
	int (*status)(void *arg, bool whole, char *ret_json, size_t size);
	/* DXF_IOC_REMOUNT. True: restart_now() is to be called once the request is answered. */
	bool (*remount)(void *arg, struct dxf_ioc_remount *change);
	/* DXF_IOC_EXPORT, on an inode. */
	int (*export)(void *arg, uint64_t ino, const struct dxf_ioc_export *call);
	/* DXF_IOC_RESTART: whether the installed binary could take over; if not, why. */
	int (*restart_prepare)(void *arg, char *ret_reason, size_t size);
	/* And be taken over from, once the current request is answered. */
	void (*restart_now)(void *arg);
};

struct transport_config {
	struct attach attach;
	struct kept *kept; /* of a keeper; NULL, and no answers, if there is none */
	struct kept_fds fds;
	struct vfs_answers *answers;
	bool adopts;   /* the mount was there before us */
	bool no_mount; /* others come by another transport: nothing is mounted, there is no kernel */
	bool io_uring;
	bool clone_fd;    /* a descriptor of /dev/fuse for each thread */
	bool debug;       /* libfuse prints each request */
	bool needs_fsync; /* else stores through mappings are as durable as they will be */
	bool maps;        /* programs may map the device itself */
	unsigned max_threads;
	struct transport_host host;
};

/* What libfuse says goes to the log from now on. Once, before anything else. */
void transport_log(void);
const char *transport_library(void); /* its version */
bool transport_has_io_uring(void);   /* whether it is built with it */

/* Without a mount yet: what transport_vfs() fills in may be used from now on. -ENOMEM */
errint_t transport_new(const struct transport_config *config, struct transport **ret_transport);
/* Of a struct vfs_config: the transport's functions. */
void transport_vfs(struct transport *t, struct vfs_config *ret_config);
/* For struct fs_options. */
void transport_trimmed(void *transport, uint64_t ino);

/* What another transport has changed. */
struct transport_change {
	uint64_t ino;     /* its attributes */
	const char *name; /* if not NULL: of the directory, this name is another one now */
	bool data;        /* bytes, or entries */
	bool size;        /* it has another end */
};
/* The kernel no longer believes what was before, when this returns. With no lock held, not in a
 * thread that serves the kernel's requests; the transport is mounted. */
void transport_changed(struct transport *t, const struct transport_change *change);
/* Another transport does not know the inode any more: it is freed, unless the kernel does. */
void transport_let_go(struct transport *t, uint64_t ino);

/* Of a struct views_config. */
void transport_view_ended(void *transport, uint64_t ino, int backing, bool stored);

/* Mount, or take the mount over; from now on there are threads. views may be NULL. -EINVAL, -EIO or
 * what mount(2) said: log_held_back() is why; others: no thread. */
int transport_mount(struct transport *t, struct vfs *vfs, struct clients *clients,
		    struct views *views);
/* Serve until unmounted or told to stop; 0 or negative errno. */
int transport_serve(struct transport *t);
/* From any thread: let transport_serve() return, soon. replaced: another process serves the mount
 * after us; a change of another transport, which its kernel is not told any more, is not answered:
 * transport_changed() does not return. */
void transport_stop(struct transport *t, bool replaced);
/* transport_serve() has returned: finish the deferred work. unmounted: the mount has ended, too,
 * and the kernel knows nothing any more; else all is left to the next process. Unmounts if no
 * keeper has the mount. NULL is fine. */
void transport_close(struct transport *t, bool unmounted);
/* When nobody uses the vfs and its filesystem any more: they tell it of what changes. NULL is
 * fine. */
void transport_free(struct transport *t);

const struct place *transport_place(const struct transport *t);
/* Whether requests come through rings: known when the kernel has greeted us. */
bool transport_uses_io_uring(const struct transport *t);
/* Whether files are mapped through views: likewise. */
bool transport_uses_views(const struct transport *t);
/* The capabilities that this version can be held to by an earlier one. */
uint64_t transport_capabilities(void);

#endif
