/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Why a process: a thread that waits for an answer of its own daemon can't be killed any more once
 * SIGKILL has ended those that would answer. It keeps /dev/fuse open, so the connection never ends,
 * and a process that touches the mount hangs for ever. A child that has closed our descriptors is
 * only one more client: when the daemon dies, it gets ENOTCONN.
 */
#include "outside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daxfuse/base/cleanup.h"
#include "places.h"
#include "daxfuse/base/errint.h"

/* Of an inode, as the kernel makes it of what we tell (fs/fuse/inode.c). */
enum { HANDLE_TYPE = 0x81, HANDLE_BYTES = 12 };
enum { ASK_TRIES = 100 };

struct inode_handle {
	struct file_handle head;
	uint32_t words[3]; /* the node, upper half first; its generation */
};

struct call {
	/* Found by the caller's thread, as a child of many threads must not allocate: the allocator
	 * may be locked for ever. */
	const char *where; /* of those two that touch it */
	char **everywhere; /* of those that unmount */
	unsigned read_ahead;
	struct inode_handle handle; /* of outside_ask(), as what follows */
	uint64_t node;
	int pid;
};

/* Run fn in a child that has no descriptors but stdio. */
static errint_t run_outside(errint_t (*fn)(const struct call *c), const struct call *c)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return -errno;
	if (child == 0) {
		prctl(PR_SET_NAME, "daxfuse-outside");
		close_range(3, ~0U, 0);
		_exit(-fn(c));
	}
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}

/*
 * The kernel reads ahead 128 KiB on a FUSE mount and can't be told otherwise
 * through FUSE; root may set it from outside, to one whole READ. Its answer to
 * our greeting would set it back, so that must have come first: statfs() waits
 * for it.
 */
static errint_t look_at(const struct call *c)
{
	CLEANUP_FD int fd = -1;
	struct statfs ignored;
	struct stat st;
	char path[64];

	if (!c->where)
		return -ENOENT;
	if (statfs(c->where, &ignored) || stat(c->where, &st))
		return -errno;
	if (geteuid() != 0)
		return 0;
	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(st.st_dev),
		 minor(st.st_dev));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || dprintf(fd, "%d", (int)(c->read_ahead >> 10)) < 0 ? -errno : 0;
}

void outside_look(const struct place *place, unsigned read_ahead)
{
	CLEANUP_FREE char *where = places_find(place->number, place->path);

	run_outside(look_at, &(struct call){
				     .where = where,
				     .read_ahead = read_ahead,
			     });
}

/* Until the kernel believes what it was answered: it drops an answer if it was told meanwhile that
 * attributes are out of date. */
static errint_t renew_size(int fd)
{
	struct statx answered, believed;

	for (unsigned i = 0; i < ASK_TRIES; i++) {
		if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS,
			  &answered) ||
		    statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &believed))
			return -errno;
		if (believed.stx_size == answered.stx_size)
			return 0;
	}
	return -EAGAIN;
}

/* Nothing is asked of what other filesystems may be open there. */
static bool is_open_as(int folder, const char *name, const struct statx *mount, uint64_t node)
{
	struct statx stx;

	return statx(folder, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, &stx) == 0 &&
	       stx.stx_dev_major == mount->stx_dev_major &&
	       stx.stx_dev_minor == mount->stx_dev_minor && stx.stx_ino == node;
}

/* The descriptor of a program that is such a file. */
static int find_open(int folder, const struct statx *mount, uint64_t node)
{
	_Alignas(struct dirent64) char room[4096]; /* readdir() would allocate its own */
	ssize_t n;

	while ((n = getdents64(folder, room, sizeof(room))) > 0) {
		for (char *at = room; at < room + n; at += ((struct dirent64 *)at)->d_reclen) {
			const char *name = ((struct dirent64 *)at)->d_name;

			if (is_open_as(folder, name, mount, node))
				return openat(folder, name, O_PATH | O_CLOEXEC);
		}
	}
	return -1;
}

/* Through a descriptor of the program that waits for us. */
static errint_t ask_by_program(const struct call *c, int mount)
{
	CLEANUP_FD int folder = -1, fd = -1;
	struct statx stx;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/fd", c->pid);
	folder = c->pid ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (folder < 0 || statx(mount, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &stx))
		return -EPERM;
	fd = find_open(folder, &stx, c->node);
	return fd < 0 ? -ENOENT : renew_size(fd);
}

/* By its handle: it may have no name, or many. The kernel has it in its cache, or nothing to
 * forget. */
static errint_t ask_kernel(const struct call *c)
{
	CLEANUP_FD int mount = c->where ? open(c->where, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	CLEANUP_FD int fd = -1;

	if (mount < 0)
		return c->where ? -errno : -ENOENT;
	fd = open_by_handle_at(mount, (struct file_handle *)&c->handle.head, O_PATH | O_CLOEXEC);
	if (fd < 0 && errno == EPERM)
		return ask_by_program(c, mount);
	return fd < 0 ? -errno : renew_size(fd);
}

errint_t outside_ask(const struct place *place, uint64_t node, uint32_t generation, int pid)
{
	CLEANUP_FREE char *where = places_find(place->number, place->path);
	const struct call call = {
		.where = where,
		.node = node,
		.pid = pid,
		.handle = {
			.head = { .handle_bytes = HANDLE_BYTES, .handle_type = HANDLE_TYPE },
			.words = { (uint32_t)(node >> 32), (uint32_t)node, generation },
		},
	};

	return run_outside(ask_kernel, &call);
}

/* A child of its own: there may be more places. */
static errint_t run_fusermount(const char *place, const char *how)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		execlp("fusermount3", "fusermount3", how, "-q", "--", place, (char *)NULL);
		_exit(errno);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}

/* A busy mount can't be unmounted, but nothing of it may be lost. */
static void write_back(const char *place)
{
	CLEANUP_FD int fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		syncfs(fd);
}

static errint_t unmount_place(const char *place)
{
	write_back(place);
	if (umount2(place, UMOUNT_NOFOLLOW) == 0)
		return 0;
	return errno == EPERM ? run_fusermount(place, "-u") : -errno;
}

static errint_t unmount_all(const struct call *c)
{
	int err = 0;

	for (char **place = c->everywhere; !err && *place; place++)
		err = unmount_place(*place);
	return err;
}

/* The others are detached whatever comes of this one. */
static int detach_place(const char *place, void *arg)
{
	bool *ret_left = arg;

	if (umount2(place, MNT_DETACH | UMOUNT_NOFOLLOW) &&
	    (errno != EPERM || run_fusermount(place, "-uz")))
		*ret_left = true;
	return 0;
}

static errint_t detach_all(const struct call *c)
{
	bool left = false;

	for (char **place = c->everywhere; *place; place++)
		detach_place(*place, &left);
	return left ? -EPERM : 0;
}

static errint_t run_everywhere(errint_t (*fn)(const struct call *c), unsigned number)
{
	char **everywhere = places_all(number);
	int err = everywhere ? -ENOENT : -ENOMEM;

	if (everywhere && *everywhere)
		err = run_outside(fn, &(struct call){ .everywhere = everywhere });
	places_free(everywhere);
	return err;
}

errint_t outside_unmount(const struct place *place)
{
	return run_everywhere(unmount_all, place->number) ? -EBUSY : 0;
}

void outside_detach(const struct place *place)
{
	run_everywhere(detach_all, place->number);
}

bool outside_detach_places(unsigned number)
{
	bool left = false;

	return places_each(number, detach_place, &left) == 0 && !left;
}
