/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory and the descriptors that outlive the serving process: made, handed on, found. */
#include "kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/shelf.h"
#include "daxfuse/clients/pins.h"
#include "daxfuse/core/fs.h"
#include "daxfuse/vfs/opens.h"
#include "daxfuse/daxview.h"
#include "daxfuse/views/table.h"
#include "control.h"

static const char variable[] = "DAXFUSE_KEPT";

static errint_t map_kept(int fd, struct kept **ret_kept)
{
	void *p = mmap(NULL, sizeof(struct kept), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		       fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	*ret_kept = p;
	return 0;
}

static off_t pins_offset(void)
{
	return (off_t)round_up(sizeof(struct kept), 4096);
}

static off_t opens_offset(void)
{
	return pins_offset() + (off_t)round_up(sizeof(struct pin_table), 4096);
}

static off_t views_offset(void)
{
	return opens_offset() + (off_t)round_up(sizeof(struct vfs_open_table), 4096);
}

/* A page of it takes memory when it is used. */
static off_t kept_bytes(void)
{
	return views_offset() + (off_t)sizeof(struct view_table);
}

static errint_t map_table(int fd, off_t offset, size_t size, void **ret_table)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);

	if (p == MAP_FAILED)
		return -errno;
	*ret_table = p;
	return 0;
}

errint_t kept_map_pins(int fd, struct pin_table **ret_pins)
{
	void *table = NULL;
	int err = map_table(fd, pins_offset(), sizeof(struct pin_table), &table);

	if (!err)
		*ret_pins = table;
	return err;
}

errint_t kept_map_opens(int fd, struct vfs_open_table **ret_opens)
{
	void *table = NULL;
	int err = map_table(fd, opens_offset(), sizeof(struct vfs_open_table), &table);

	if (!err)
		*ret_opens = table;
	return err;
}

errint_t kept_map_views(int fd, struct view_table **ret_views)
{
	void *table = NULL;
	int err = map_table(fd, views_offset(), sizeof(struct view_table), &table);

	if (!err)
		*ret_views = table;
	return err;
}

static int create_memory(struct kept **ret_kept)
{
	int fd = memfd_create("daxfuse", MFD_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = ftruncate(fd, kept_bytes()) ? -errno : map_kept(fd, ret_kept);
	if (err) {
		close(fd);
		return err;
	}
	(*ret_kept)->magic = KEPT_MAGIC;
	(*ret_kept)->version = KEPT_VERSION;
	(*ret_kept)->bytes = sizeof(struct kept);
	return fd;
}

static errint_t fill_in(struct kept *kept, const char *device, const char *mountpoint)
{
	if (strlen(device) >= sizeof(kept->device) ||
	    strlen(mountpoint) >= sizeof(kept->mountpoint))
		return -ENAMETOOLONG;
	strcpy(kept->device, device);
	strcpy(kept->mountpoint, mountpoint);
	/* the path: the file that lies there when the next process starts is the new binary */
	return readlink("/proc/self/exe", kept->binary, sizeof(kept->binary) - 1) < 0 ? -errno : 0;
}

int kept_open_views(int device)
{
	struct stat st;

	if (fstat(device, &st) || !S_ISCHR(st.st_mode))
		return -1;
	return open(DAXVIEW_PATH, O_RDWR | O_CLOEXEC);
}

static errint_t open_for_mount(const struct kept_config *config, struct kept_fds *fds,
			       struct kept *kept)
{
	int pair[2];

	if (geteuid() == 0)
		fds->fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	fds->mount = pair[0];
	fds->mount_peer = pair[1];
	if (config->views)
		fds->views = kept_open_views(fds->device);
	fds->control = control_open(config->policy, kept->socket, sizeof(kept->socket));
	return 0;
}

int kept_open(const struct kept_config *config, struct kept_fds *ret_fds, struct kept **ret_kept)
{
	const int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int err;

	ret_fds->memory = create_memory(ret_kept);
	if (ret_fds->memory < 0)
		return ret_fds->memory;
	err = fill_in(*ret_kept, config->device, config->mountpoint);
	if (err)
		return err;
	(*ret_kept)->no_mount = config->no_mount;
	/* for writing, if allowed: it may be remounted so. A serving process maps no more than it
	 * needs. */
	ret_fds->device = open(config->device, O_RDWR | flags);
	if (ret_fds->device < 0 && config->read_only)
		ret_fds->device = open(config->device, O_RDONLY | flags);
	err = shelf_make(&ret_fds->shelf_in, &ret_fds->shelf_out);
	if (err || config->no_mount)
		return err;
	return open_for_mount(config, ret_fds, *ret_kept);
}

/* Before the rest, which has another size in another version. */
static errint_t check_version(int fd)
{
	struct {
		uint32_t magic, version, bytes;
	} start;

	if (pread(fd, &start, sizeof(start), 0) != sizeof(start) || start.magic != KEPT_MAGIC)
		return -EINVAL;
	return start.version == KEPT_VERSION && start.bytes == sizeof(struct kept) ? 0
										   : -EOPNOTSUPP;
}

errint_t kept_map(int fd, struct kept **ret_kept)
{
	struct kept *kept = NULL;
	struct stat st;
	int err = check_version(fd);

	if (err)
		return err;
	if (fstat(fd, &st))
		return -errno;
	if (st.st_size < kept_bytes())
		return -EINVAL;
	err = map_kept(fd, &kept);
	if (err)
		return err;
	if (kept->session.init_bytes > KEPT_INIT_MAX) {
		munmap(kept, sizeof(*kept));
		return -EOPNOTSUPP;
	}
	*ret_kept = kept;
	return 0;
}

enum { REMOUNTED = 1, READ_ONLY = 2, ATIME_SHIFT = 8, ATIME_MASK = 3 };

uint32_t kept_remount(const struct fs_options *options)
{
	return REMOUNTED | (options->read_only ? READ_ONLY : 0) |
	       (uint32_t)options->atime << ATIME_SHIFT;
}

void kept_remounted(const struct kept *kept, struct fs_options *options)
{
	if (!kept->remounted)
		return;
	options->read_only = kept->remounted & READ_ONLY;
	options->atime = kept->remounted >> ATIME_SHIFT & ATIME_MASK;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(TAKE_FD(*fd));
}

void kept_clear_shelf(struct kept_fds *fds)
{
	close_fd(&fds->shelf_in);
	close_fd(&fds->shelf_out);
}

void kept_give_up(struct kept_fds *fds)
{
	kept_clear_shelf(fds);
	close_fd(&fds->views);
	close_fd(&fds->device);
}

/* In the order in which their numbers are handed on: new ones at the end, for the next binary. */
static const size_t handed_on[] = {
	offsetof(struct kept_fds, fuse),       offsetof(struct kept_fds, memory),
	offsetof(struct kept_fds, device),     offsetof(struct kept_fds, mount),
	offsetof(struct kept_fds, mount_peer), offsetof(struct kept_fds, ready),
	offsetof(struct kept_fds, control),    offsetof(struct kept_fds, program),
	offsetof(struct kept_fds, shelf_in),   offsetof(struct kept_fds, shelf_out),
	offsetof(struct kept_fds, views),
};

enum { LEAST = 7 }; /* without a program, before version 5 */

static int *fd_at(struct kept_fds *fds, size_t i)
{
	return (int *)(void *)((char *)fds + handed_on[i]);
}

/* They are to go through an exec, or have come through one and must not go through another. */
static void set_close_on_exec(struct kept_fds *fds, int flag)
{
	for (size_t i = 0; i < ARRAY_SIZE(handed_on); i++) {
		if (*fd_at(fds, i) >= 0)
			fcntl(*fd_at(fds, i), F_SETFD, flag);
	}
}

errint_t kept_export(const struct kept_fds *fds)
{
	struct kept_fds copy = *fds;
	char text[ARRAY_SIZE(handed_on) * sizeof("-2147483648")];
	size_t length = 0;

	for (size_t i = 0; i < ARRAY_SIZE(handed_on); i++)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%d ",
					   *fd_at(&copy, i));
	set_close_on_exec(&copy, 0);
	return setenv(variable, text, 1) ? -ENOMEM : 0;
}

bool kept_import(struct kept_fds *ret_fds)
{
	const char *text = getenv(variable);
	struct kept_fds fds = KEPT_FDS_NONE;
	size_t count = 0;
	char *end;

	for (; text && count < ARRAY_SIZE(handed_on); count++, text = end) {
		int fd = (int)strtol(text, &end, 10);

		if (end == text)
			break;
		*fd_at(&fds, count) = fd;
	}
	if (count < LEAST)
		return false;
	unsetenv(variable);
	set_close_on_exec(&fds, FD_CLOEXEC);
	*ret_fds = fds;
	return true;
}
