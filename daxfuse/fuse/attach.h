/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mounting a descriptor of /dev/fuse that a keeper holds already, so that no
 * instant exists in which the mount depends on the serving process alone.
 */
#ifndef DAXFUSE_FUSE_ATTACH_H
#define DAXFUSE_FUSE_ATTACH_H

#include "kept.h"
#include "state.h"

enum attach_state { ATTACH_NEVER, ATTACH_MOUNTED, ATTACH_GONE };

/* Whether fd, of /dev/fuse, was mounted, and still is. */
enum attach_state attach_look(int fd);
/* The descriptor that fusermount3 has put aside, or -1. It stays there. */
int attach_find(const struct kept_fds *fds);
/*
 * Mount s->mountpoint: by mount(2) on fds->fuse, or where that is not allowed by
 * fusermount3. The descriptor to serve, or negative errno (fusermount3 has said
 * why on stderr).
 */
int attach_mount(const struct state *s, const struct kept_fds *fds);
/* The mount options as fusermount3 and libfuse want them, to be freed; NULL: no memory. */
char *attach_words(const struct state *s);

#endif
