/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What outlives the serving process, so that the next one can go on where it
 * stopped: descriptors, which a keeper holds open (our supervisor, or systemd's
 * fd store), and one page-aligned piece of memory, a memfd, which holds what the
 * kernel said when it greeted us, the requests that are in progress, and, behind
 * that, which pieces of the device programs have mapped (clients/pins.h), which files are
 * open (vfs/opens.h), and which have kernel views (views/table.h).
 *
 * A memfd and not the pool: SIGKILL loses no store, and its contents mean nothing once the machine
 * or the mount is gone, as the kernel's side of it is gone, too. So it costs no flush and no fence.
 * docs/design/restart.md has the argument.
 */
#ifndef DAXFUSE_KEEPER_KEPT_H
#define DAXFUSE_KEEPER_KEPT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/vfs/answers.h"
#include "lives.h"

#define KEPT_MAGIC UINT32_C(0x4b465844)
/* Grows when the next binary could misread what this one kept. (A test has a binary that does.) */
#ifndef KEPT_VERSION
#define KEPT_VERSION UINT32_C(8)
#endif
#define KEPT_INIT_MAX 4096
/* In place of a mount point, as in fstab(5). */
#define KEPT_NO_MOUNT "none"
/* Exit status of a serving process that wants to be replaced by a new one. */
#define KEPT_EXIT_RESTART 76

/* What was agreed with the kernel, and can't be agreed on anew. */
struct kept_session {
	uint64_t capabilities;       /* FUSE_CAP_* */
	_Atomic uint32_t init_bytes; /* 0: not greeted yet */
	uint32_t reserved;
	char init[KEPT_INIT_MAX]; /* the greeting, as it came */
};

struct kept {
	uint32_t magic;
	uint32_t version;
	uint32_t bytes;     /* sizeof(struct kept) of its maker */
	uint32_t starts;    /* of serving processes, this one included */
	uint32_t deaths;    /* of serving processes that did not want to end */
	uint32_t crashed;   /* the last one's death was its own doing, not a SIGKILL */
	int64_t last_death; /* ns since the epoch; 0: none */
	char last_reason[128];
	char binary[4096];     /* what the keeper starts next */
	char device[4096];     /* canonical: a process that takes over must not look at a path */
	char mountpoint[4096]; /* that leads through the mount itself; or KEPT_NO_MOUNT */
	uint32_t no_mount;     /* guests are served, and nothing is mounted */
	uint32_t served;       /* without a mount: a process has, so this one takes over */
	char socket[108];      /* where programs ask for the device; "": nowhere */
	uint32_t number;       /* of the mount, see places.h; 0: not mounted yet */
	/* the pool's feature words, for the next binary to look at */
	uint32_t pool_version;
	uint32_t supervisor; /* its pid, 0 = systemd */
	uint64_t pool_incompat;
	uint64_t pool_ro_compat;
	uint32_t mounting;  /* fusermount3 was started, and nobody has seen its end */
	uint32_t remounted; /* 0: as the command line says; else of kept_remount() */
	/* under systemd; a supervisor has its own */
	struct lives lives;
	uint32_t end; /* of the last process, or what it will be: ends.h */
	uint32_t word_count;
	uint64_t export_layout; /* exports_layout(), if there are exports; else 0 */
	char words[4096];       /* the command line, each word with its end; none: it is too long */
	struct kept_session session;
	_Alignas(64) struct vfs_answer answer[VFS_ANSWERS];
};

/* Descriptors; -1: not there. */
struct kept_fds {
	int fuse;       /* of /dev/fuse; as root made before it is mounted */
	int memory;     /* struct kept */
	int device;     /* the pool's, whose lock lives as long */
	int mount;      /* users: where fusermount3 puts the descriptor of /dev/fuse */
	int mount_peer; /* the other end of it, which fusermount3 gets */
	int control;    /* listens at kept->socket */
	int ready;      /* the supervisor waits for a byte here */
	int program;    /* systemd: what serves now, or did last: it understands what was kept */
	int shelf_in;   /* a socket in whose queue descriptors of exports lie: base/shelf.h */
	int shelf_out;  /* the other end of it */
	int views;      /* of /dev/daxview: what programs map lasts as long (views/session.c) */
};
#define KEPT_FDS_NONE                                      \
	{                                                  \
		-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1 \
	}

struct pin_table;
struct vfs_open_table;
struct view_table;
struct clients_policy;

/* What a new mount is of. */
struct kept_config {
	const char *device;     /* canonical */
	const char *mountpoint; /* canonical; or KEPT_NO_MOUNT */
	bool no_mount;
	bool read_only;
	bool views;                          /* there may be kernel views of the device */
	const struct clients_policy *policy; /* who may come near the socket */
};

/* The descriptors and the memory of a new mount. If the device or /dev/fuse can't be had, the
 * serving process will say so. 0 or negative errno. */
int kept_open(const struct kept_config *config, struct kept_fds *ret_fds, struct kept **ret_kept);
/* Map the memory that an earlier process made. -EINVAL: not ours; -EOPNOTSUPP: another version. */
errint_t kept_map(int fd, struct kept **ret_kept);
/* What programs have mapped, which files are open, and which have views, of the same descriptor. 0
 * or negative errno. */
errint_t kept_map_pins(int fd, struct pin_table **ret_pins);
errint_t kept_map_opens(int fd, struct vfs_open_table **ret_opens);
errint_t kept_map_views(int fd, struct view_table **ret_views);

/* What a remount has made of the options: written down, and read by the next process. */
struct fs_options;
uint32_t kept_remount(const struct fs_options *options);
void kept_remounted(const struct kept *kept, struct fs_options *options);

/* What holds kernel views of this device; -1: it can't have any, or there is no module, as the
 * process that serves will say. */
int kept_open_views(int device);

/* Guests are not to wait for another process. */
void kept_clear_shelf(struct kept_fds *fds);
/* No process will serve any more: nobody is to wait for one, and the device can be checked. */
void kept_give_up(struct kept_fds *fds);

/* Hand descriptors on through an exec, and their numbers through an environment variable. 0 or
 * -ENOMEM. */
errint_t kept_export(const struct kept_fds *fds);
/* Whether there are such: take the descriptors, forget the variable. */
bool kept_import(struct kept_fds *ret_fds);

#endif
