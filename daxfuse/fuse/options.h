/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of the daemon. One table (options.c) feeds parser and help. */
#ifndef DAXFUSE_FUSE_OPTIONS_H
#define DAXFUSE_FUSE_OPTIONS_H

#include <stdbool.h>

#include "daxfuse/core/fs.h"
#include "daxfuse/direct/direct.h"

#define OPTIONS_KERNEL_MAX 12

/* Who holds the mount while no process serves it. */
enum keeper {
	KEEPER_SUPERVISOR, /* our parent */
	KEEPER_SYSTEMD,    /* its fd store */
	KEEPER_NONE,       /* nobody: the mount dies with its daemon */
};

struct options {
	const char *device;     /* as given */
	const char *mountpoint; /* as given */
	struct fs_options fs;
	bool foreground;
	bool debug;    /* foreground, and libfuse prints each request */
	bool fake;     /* mount -f: do all but mount */
	bool help;
	bool version;
	bool allow_other;
	bool clone_fd; /* a descriptor of /dev/fuse for each thread */
	bool io_uring;
	enum keeper keeper;
	bool keeper_chosen; /* by the user */
	struct direct_policy direct;
	unsigned max_threads;
	bool no_suid;
	bool no_dev;
	const char *kernel[OPTIONS_KERNEL_MAX]; /* mount flags handed on */
	unsigned kernel_count;
};

/* Parse; -EINVAL with one line in ret_error. Strings of argv are kept (and cut
 * at commas). */
int options_parse(int argc, char **argv, struct options *ret_options, char *ret_error,
		  size_t error_size);
void options_print_help(void);

#endif
