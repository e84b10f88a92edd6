/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mounting a descriptor of /dev/fuse that a keeper holds already, so that no
 * instant exists in which the mount depends on the serving process alone.
 */
#ifndef DAXFUSE_KEEPER_ATTACH_H
#define DAXFUSE_KEEPER_ATTACH_H

#include "kept.h"

enum attach_state { ATTACH_NEVER, ATTACH_MOUNTED, ATTACH_GONE };

/* Whether fd, of /dev/fuse, was mounted, and still is. */
enum attach_state attach_look(int fd);
/* The descriptor that fusermount3 has put aside, or -1. It stays there. */
int attach_find(const struct kept_fds *fds);
/* What is mounted where, and how. */
struct attach {
	const char *device;     /* canonical */
	const char *mountpoint; /* canonical */
	bool read_only;
	bool no_atime;
	bool strict_atime;
	bool allow_other;
	/* of one mount point */
	bool no_suid;
	bool no_dev;
	bool no_exec;
	bool no_symfollow;
	bool no_dir_atime;
	const char *const *words; /* name=value, handed on; a value may be quoted */
	unsigned word_count;
	struct kept *kept; /* NULL: nobody keeps it */
};

/* Whether what a keeper holds is mounted already, or was served without a mount. */
bool attach_is_mounted(const struct kept *kept, const struct kept_fds *fds);
/* Its descriptor of /dev/fuse, if it was mounted; else -1. If it is not fds->fuse it is new. */
int attach_mounted(const struct kept_fds *fds);
/*
 * Mount it: by mount(2) on fds->fuse, or where that is not allowed by fusermount3. The descriptor
 * to serve, or negative errno (fusermount3 has said why on stderr).
 */
int attach_mount(const struct attach *attach, const struct kept_fds *fds);
/* The mount options as fusermount3 and libfuse want them, to be freed; NULL: no memory. */
char *attach_words(const struct attach *attach);

#endif
