/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening what a pool lies on.
 *
 * One flock() on the device's inode, exclusive for writers, says who owns it:
 * the daemon holds it from mount until its last store, mkfs and fsck while they
 * work. It works on character devices as on files, and dies with its holder.
 *
 * A device in system-ram mode has no node under /dev, so a missing path whose last component is the
 * name of such a device is reported as such.
 */
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "discover.h"
#include "holder.h"
#include "map.h"
#include "daxfuse/base/errint.h"

struct device {
	struct device_info info;
	unsigned access;
	int fd;
	struct pmem_map *map; /* NULL until device_map() */
};

errint_t device_fail(struct device_error *ret_error, int err, const char *format, ...)
{
	char text[sizeof(ret_error->what) + sizeof(ret_error->advice)];
	char *advice;
	va_list args;

	if (!ret_error)
		return err;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	advice = strchr(text, '\n');
	if (advice)
		*advice++ = '\0';
	snprintf(ret_error->what, sizeof(ret_error->what), "%.500s", text);
	snprintf(ret_error->advice, sizeof(ret_error->advice), "%.500s", advice ? advice : "");
	return err;
}

static const char *last_component(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static const char *filesystem_name(long type)
{
	static const struct {
		long type;
		const char *name;
	} names[] = {
		{ TMPFS_MAGIC, "tmpfs" },     { HUGETLBFS_MAGIC, "hugetlbfs" },
		{ RAMFS_MAGIC, "ramfs" },     { EXT4_SUPER_MAGIC, "ext4" },
		{ XFS_SUPER_MAGIC, "xfs" },   { BTRFS_SUPER_MAGIC, "btrfs" },
		{ NFS_SUPER_MAGIC, "nfs" },   { OVERLAYFS_SUPER_MAGIC, "overlayfs" },
		{ FUSE_SUPER_MAGIC, "fuse" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (names[i].type == type)
			return names[i].name;
	}
	return "other";
}

static bool lies_in_ram(const struct device_info *info)
{
	return !strcmp(info->filesystem, "tmpfs") || !strcmp(info->filesystem, "hugetlbfs") ||
	       !strcmp(info->filesystem, "ramfs");
}

static errint_t describe_image(const char *path, int fd, const struct stat *st,
			       struct device_info *info)
{
	struct statfs fs;

	if ((fd < 0 ? statfs(path, &fs) : fstatfs(fd, &fs)) < 0)
		return -errno;
	info->kind = DEVICE_IMAGE;
	snprintf(info->name, sizeof(info->name), "%.63s", last_component(path));
	snprintf(info->mode, sizeof(info->mode), "image");
	snprintf(info->filesystem, sizeof(info->filesystem), "%s",
		 filesystem_name((long)fs.f_type));
	snprintf(info->persistence, sizeof(info->persistence), "%s",
		 lies_in_ram(info) ? "none" : "unknown");
	info->size = (uint64_t)st->st_size;
	info->align = 4096;
	info->numa_node = -1;
	return 0;
}

/* The kernel's name of a character device, if it is a device-dax. */
static errint_t dax_name(dev_t number, char *ret_name, size_t size)
{
	char path[128], target[512];
	ssize_t length;

	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/subsystem", major(number), minor(number));
	length = readlink(path, target, sizeof(target) - 1);
	if (length < 0)
		return -ENODEV;
	target[length] = '\0';
	if (strcmp(last_component(target), "dax"))
		return -ENODEV;
	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u", major(number), minor(number));
	length = readlink(path, target, sizeof(target) - 1);
	if (length < 0)
		return -ENODEV;
	target[length] = '\0';
	snprintf(ret_name, size, "%.63s", last_component(target));
	return 0;
}

static int describe_dax(dev_t number, struct device_info *info)
{
	char name[64];
	int err = dax_name(number, name, sizeof(name));

	if (err)
		return err;
	return discover_dax(name, info);
}

static errint_t not_a_pool(const char *path, const struct stat *st, struct device_error *ret_error)
{
	if (S_ISBLK(st->st_mode))
		return device_fail(ret_error, -ENODEV,
				   "is a block device\nmake its namespace a device-dax: "
				   "ndctl create-namespace -f -e NAMESPACE -m devdax -a 2M");
	if (S_ISDIR(st->st_mode))
		return device_fail(ret_error, -ENODEV,
				   "is a directory\nname a device-dax (daxfuse list shows them) "
				   "or an image file");
	return device_fail(
		ret_error, -ENODEV,
		"is neither a device-dax nor a regular file\ndaxfuse list shows the devices");
}

void device_cure(const struct device_info *info, char *ret_text, size_t size)
{
	*ret_text = '\0';
	if (!strcmp(info->mode, "disabled"))
		snprintf(ret_text, size, "daxctl enable-device %s", info->name);
	else if (info->pinned_memory)
		snprintf(
			ret_text, size,
			"boot with memhp_default_state=offline, as the kernel has put its own data "
			"there; then: daxctl reconfigure-device --mode=devdax %s",
			info->name);
	else if (strcmp(info->mode, "devdax") && strcmp(info->mode, "image"))
		snprintf(ret_text, size, "daxctl reconfigure-device --force --mode=devdax %s",
			 info->name);
}

static errint_t refuse_mode(const struct device_info *info, struct device_error *ret_error)
{
	char cure[256];

	device_cure(info, cure, sizeof(cure));
	if (!strcmp(info->mode, "system-ram"))
		return device_fail(ret_error, -ENOTSUP,
				   "is in system-ram mode, the kernel uses it as memory\n"
				   "give it back with: %s",
				   cure);
	if (!strcmp(info->mode, "disabled"))
		return device_fail(ret_error, -ENOTSUP, "is disabled\nenable it with: %s", cure);
	if (!strcmp(info->mode, "famfs"))
		return device_fail(
			ret_error, -ENOTSUP,
			"is in famfs mode\nunmount the famfs on all hosts that share it, "
			"and give it back with: %s",
			cure);
	if (!strcmp(info->mode, "unknown"))
		return device_fail(ret_error, -ENOTSUP,
				   "has the driver %s, which is not known here\n"
				   "if nothing uses it, give it back with: %s",
				   info->driver, cure);
	return 0;
}

static errint_t missing(const char *path, struct device_error *ret_error)
{
	struct device_info info;
	int err;

	if (discover_dax(last_component(path), &info))
		return device_fail(ret_error, -ENOENT,
				   "does not exist\ndaxfuse list shows the devices; "
				   "an image is made with: truncate -s 1G FILE");
	err = refuse_mode(&info, ret_error);
	return err ? err : device_fail(ret_error, -ENOENT, "does not exist\ntry: udevadm settle");
}

/* fd, if there is one, and not the file that the path names now: that may have been renamed, or lie
 * below the mount, and be asked of a daemon that only begins. */
static errint_t describe(const char *path, int fd, struct device_info *ret_info,
			 struct device_error *ret_error)
{
	CLEANUP_FREE char *real = fd < 0 ? realpath(path, NULL) : NULL;
	struct stat st;
	int err;

	if (strlen(real ? real : path) >= sizeof(ret_info->path))
		return device_fail(ret_error, -ENAMETOOLONG,
				   "is too long a name\ngive a shorter one");
	if ((fd < 0 ? stat(path, &st) : fstat(fd, &st)) < 0)
		return errno == ENOENT
			       ? missing(path, ret_error)
			       : device_fail(ret_error, -errno,
					     "cannot be looked at\ncheck the path and its modes");
	if (S_ISREG(st.st_mode))
		err = describe_image(path, fd, &st, ret_info);
	else if (S_ISCHR(st.st_mode))
		err = describe_dax(st.st_rdev, ret_info);
	else
		err = -ENODEV;
	if (err)
		return not_a_pool(path, &st, ret_error);
	snprintf(ret_info->path, sizeof(ret_info->path), "%s", real ? real : path);
	return refuse_mode(ret_info, ret_error);
}

static errint_t lock(int fd, unsigned access, struct device_error *ret_error)
{
	int operation = access & DEVICE_WRITE ? LOCK_EX : LOCK_SH;
	char holder[64];

	if (!(access & DEVICE_WAIT))
		operation |= LOCK_NB;
	while (flock(fd, operation) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EWOULDBLOCK)
			return device_fail(ret_error, -errno,
					   "cannot be locked\n"
					   "the filesystem that holds it must support flock()");
		if (holder_find(fd, holder, sizeof(holder)))
			snprintf(holder, sizeof(holder), "another process");
		return device_fail(ret_error, -EBUSY,
				   "is in use by %s\nunmount it, or wait until it is done", holder);
	}
	return 0;
}

static errint_t open_and_lock(struct device *dev, int fd, struct device_error *ret_error)
{
	int flags = dev->access & DEVICE_WRITE ? O_RDWR : O_RDONLY;
	int err;

	if (fd >= 0)
		dev->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	else
		dev->fd = open(dev->info.path, flags | O_CLOEXEC | O_NOCTTY);
	if (dev->fd < 0) {
		err = -errno;
		return device_fail(ret_error, err, "cannot be opened\n%s",
				   err == -EACCES || err == -EPERM || err == -EROFS
					   ? "run as root, or as a user who may write to it"
					   : "check the path");
	}
	if (dev->access & DEVICE_NO_LOCK)
		return 0;
	return lock(dev->fd, dev->access, ret_error);
}

static void cleanup_device(struct device **dev)
{
	device_close(*dev);
}

errint_t device_open_fd(const char *path, int fd, unsigned access, struct device **ret_dev,
			struct device_error *ret_error)
{
	CLEANUP(cleanup_device) struct device *dev = calloc(1, sizeof(*dev));
	int err;

	if (!dev)
		return device_fail(ret_error, -ENOMEM, "cannot be opened\nfree some memory");
	discover_without_udev();
	dev->fd = -1;
	dev->access = access;
	err = describe(path, fd, &dev->info, ret_error);
	if (!err)
		err = open_and_lock(dev, fd, ret_error);
	if (err)
		return err;
	*ret_dev = TAKE_POINTER(dev);
	return 0;
}

errint_t device_open(const char *path, unsigned access, struct device **ret_dev,
		     struct device_error *ret_error)
{
	return device_open_fd(path, -1, access, ret_dev, ret_error);
}

errint_t device_map(struct device *dev, struct pmem **ret_pmem, struct device_error *ret_error)
{
	uint64_t align = MAX(dev->info.align, PMEM_HUGE_PAGE);
	int err;

	if (dev->map || dev->access & DEVICE_NO_LOCK)
		return -EINVAL;
	err = pmem_map_fd(dev->fd, round_down(dev->info.size, align), align,
			  !(dev->access & DEVICE_WRITE), &dev->map);
	if (err)
		return device_fail(ret_error, err, "cannot be mapped\n%s",
				   err == -ENOMEM ? "check ulimit -v and vm.overcommit_memory"
				   : err == -EACCES
					   ? "check its modes, and that it may be mapped shared"
					   : "check that its filesystem supports shared mappings");
	/* a child that outlives us must not hold the device, nor its lock */
	madvise(dev->map->pm.base, dev->map->pm.size, MADV_DONTFORK);
	*ret_pmem = &dev->map->pm;
	return 0;
}

const struct device_info *device_info(const struct device *dev)
{
	return &dev->info;
}

const char *device_granularity(const struct device *dev)
{
	static const char *const names[] = {
		[PMEM2_GRANULARITY_BYTE] = "byte",
		[PMEM2_GRANULARITY_CACHE_LINE] = "cache_line",
		[PMEM2_GRANULARITY_PAGE] = "page",
	};

	return names[dev->map->granularity];
}

const char *device_durability(const struct device *dev)
{
	const char *domain = dev->info.persistence;

	if (dev->info.kind == DEVICE_IMAGE)
		return dev->map->granularity == PMEM2_GRANULARITY_PAGE ? "process" : "power";
	if (!strcmp(domain, "cpu_cache") || !strcmp(domain, "memory_controller"))
		return "power";
	return !strcmp(domain, "none") ? "process" : "unknown";
}

int device_fd(const struct device *dev)
{
	return dev->fd;
}

static int print_identity(const struct stat *st, char *ret_text, size_t size)
{
	if (S_ISCHR(st->st_mode))
		snprintf(ret_text, size, "%u:%u", major(st->st_rdev), minor(st->st_rdev));
	else
		snprintf(ret_text, size, "%u:%u/%llu", major(st->st_dev), minor(st->st_dev),
			 (unsigned long long)st->st_ino);
	return 0;
}

errint_t device_identity(const char *path, char *ret_text, size_t size)
{
	struct stat st;

	return stat(path, &st) ? -errno : print_identity(&st, ret_text, size);
}

errint_t device_identity_fd(int fd, char *ret_text, size_t size)
{
	struct stat st;

	return fstat(fd, &st) ? -errno : print_identity(&st, ret_text, size);
}

static errint_t peek_file(int fd, uint64_t offset, char *buf, size_t len)
{
	while (len > 0) {
		ssize_t got = pread(fd, buf, len, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -ERANGE;
		buf += got;
		offset += (uint64_t)got;
		len -= (size_t)got;
	}
	return 0;
}

/* device-dax has no read(): map the aligned range around it for a moment. */
static errint_t peek_dax(const struct device *dev, uint64_t offset, void *buf, size_t len)
{
	uint64_t start = round_down(offset, dev->info.align);
	uint64_t length = round_up(offset + len, dev->info.align) - start;
	struct pmem pm = { .size = length, .read_only = true };
	char *p;
	int err;

	p = mmap(NULL, length, PROT_READ, MAP_SHARED, dev->fd, (off_t)start);
	if (p == MAP_FAILED)
		return -errno;
	pm.base = p;
	err = pmem_poison_init();
	if (!err)
		err = pmem_read(&pm, buf, p + (offset - start), len);
	munmap(p, length);
	return err;
}

errint_t device_peek(const struct device *dev, uint64_t offset, void *buf, size_t len)
{
	if (offset > dev->info.size || len > dev->info.size - offset)
		return -ERANGE;
	if (dev->info.kind == DEVICE_IMAGE)
		return peek_file(dev->fd, offset, buf, len);
	return peek_dax(dev, offset, buf, len);
}

void device_announce(const struct device *dev)
{
	CLEANUP_FD int fd = -1;
	struct stat st;
	char path[64];

	if (dev->info.kind != DEVICE_DAX || fstat(dev->fd, &st) < 0)
		return;
	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/uevent", major(st.st_rdev),
		 minor(st.st_rdev));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "change", 6) != 6)
		return; /* they come with the next event */
}

void device_close(struct device *dev)
{
	if (!dev)
		return;
	pmem_map_free(dev->map);
	if (dev->fd >= 0)
		close(dev->fd);
	free(dev);
}
