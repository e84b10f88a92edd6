/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Directories of a mounted pool as virtiofs devices of virtual machines: the transport beside
 * fuse/. A VMM connects to an export's socket and speaks vhost-user; its guest's requests come
 * through virtqueues in the guest's memory, and end in the same calls of the vfs as the kernel's.
 *
 * docs/design/guests.md has the memory model, and what a hostile guest can do.
 */
#ifndef DAXFUSE_VHOST_EXPORTS_H
#define DAXFUSE_VHOST_EXPORTS_H

#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/vfs/vfs.h"

struct device;
struct exports;
struct json_object;

#define EXPORTS_MAX 64u
#define EXPORTS_SOCKET_MAX 107u /* bytes of a path */
#define EXPORTS_TAG_MAX 36u

/* What a guest may believe without asking: of names and attributes for how long, of data between
 * two opens. */
enum exports_cache { EXPORTS_CACHE_NONE, EXPORTS_CACHE_AUTO, EXPORTS_CACHE_ALWAYS };

/* What a guest's memory is in: they differ in how they map a window (dialect.h). */
enum exports_vmm { EXPORTS_QEMU, EXPORTS_CROSVM, EXPORTS_ALIOTH };

/* Something that another transport may have cached is another one now. */
struct exports_change {
	uint64_t ino;     /* its attributes */
	const char *name; /* if not NULL: of the directory, this name */
	bool data;        /* bytes, or entries */
	bool size;        /* where it ends */
};

/* The first transport, of the same vfs. From threads of ours, with no lock held. */
struct exports_host {
	void *arg;
	/* Returns when it does not believe the old any more. */
	void (*changed)(void *arg, const struct exports_change *change);
	/* A guest does not know the inode any more: is it to be freed? */
	void (*let_go)(void *arg, uint64_t ino);
	/* A thread of ours has made a system call that it may not make; once for each. */
	void (*refused)(void *arg, const char *socket, long call);
};

struct exports_config {
	struct vfs *vfs;
	struct device *dev; /* of windows */
	struct exports_host host;
	/* where descriptors lie that outlive us (shelf.h); -1: nothing does */
	int shelf_in, shelf_out;
	struct vfs_answers *answers; /* likewise; NULL */
	unsigned ioctls;             /* their type: of calls of the vfs, in our threads; 0: none */
};

struct export_options {
	const char *socket; /* a path, from the root */
	const char *tag;
	uint64_t root; /* inode of the directory */
	bool read_only;
	enum exports_cache cache;
	enum exports_vmm vmm;
	uint64_t window; /* bytes of the DAX window; 0: none */
};

/* With those of an earlier process, whose guests know what they knew, and wait. Before the vfs
 * frees what nobody knows. ret_lost: so many could not be gone on with. -ENOMEM */
errint_t exports_open(const struct exports_config *config, struct exports **ret_exports,
		      unsigned *ret_lost);
/* Serve those: the host's kernel can be told of changes from now on, but none of its requests is
 * served yet. -EAGAIN: no threads */
errint_t exports_start(struct exports *e);
/* End all, and wait for their threads. NULL is fine. */
void exports_close(struct exports *e);
/* Another process is about to go on with them: VMMs are not listened to any more, and what one has
 * just said is carried out when this returns, unless that takes seconds. */
void exports_pause(struct exports *e);
/* Whether all of them go on in the next process. */
bool exports_are_kept(struct exports *e);

/* VMMs may connect, and are served once exports_start() was called. -EEXIST: an export has the
 * socket or the tag already; -EALREADY: and is equal; -EADDRINUSE: something else lies there;
 * -ENOTDIR; -EINVAL: a path or tag that is none; -EMFILE: too many; what bind(2) says. Of a window:
 * -EINVAL: no whole units; -ERANGE: no size for this VMM; -EROFS: this VMM maps all writable, or
 * the mount can't be written to. */
errint_t exports_add(struct exports *e, const struct export_options *options);
/* Its guest gets no answers any more. Returns before all that it held is let go of. -ENOENT */
errint_t exports_remove(struct exports *e, const char *socket);
/* Of what is kept of exports: another number is another way to keep it. */
uint64_t exports_layout(void);
unsigned exports_count(struct exports *e);
/* An array, an object for each. */
struct json_object *exports_report(struct exports *e);

#endif
