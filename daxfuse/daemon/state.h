/* SPDX-License-Identifier: BSD-3-Clause */
/* Of the room: what the serving process consists of. */
#ifndef DAXFUSE_DAEMON_STATE_H
#define DAXFUSE_DAEMON_STATE_H

#include <stdatomic.h>
#include "daxfuse/clients/clients.h"
#include "daxfuse/core/fs.h"
#include "daxfuse/fuse/transport.h"
#include "daxfuse/keeper/kept.h"
#include "daxfuse/pmem/device.h"
#include "daxfuse/vhost/exports.h"
#include "options.h"

struct daemon {
	const struct options *options;
	char **argv;  /* as we were started, for a check of the next binary */
	char *device; /* canonical */
	char *mountpoint; /* canonical, or KEPT_NO_MOUNT; it may have been unmounted, and others be left */
	/* where a keeper has what outlives us; NULL, and no answers, if there is none */
	struct kept *kept;
	struct kept_fds fds;
	struct pin_table *pins;        /* of the keeper; NULL */
	struct vfs_open_table *opens;  /* likewise */
	struct view_table *view_table; /* likewise; ours without a keeper */
	struct vfs_answers *answers;
	bool adopts; /* the mount was there before us */
	/* from the device to the kernel */
	struct device *dev;
	struct fs *fs;
	struct fs_report report; /* of mounting the pool */
	struct vfs *vfs;
	char socket[108]; /* where programs ask for the device */
	struct clients *clients;
	bool has_session; /* of views of an earlier process, from before the pool is mounted */
	int session;
	struct views *views; /* NULL */
	char no_views[160];  /* why not, if they were asked for */
	struct transport *transport;
	struct exports *exports;               /* to guests */
	struct admin *admin;                   /* without a mount; else NULL */
	void (*ready)(const struct daemon *d); /* once, when the mount answers */
	atomic_bool replace;                   /* end with KEPT_EXIT_RESTART */
};

#endif
