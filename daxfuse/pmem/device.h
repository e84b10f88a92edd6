/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a pool lies on: a device-dax character device, or a regular file as an
 * image of one. Opening locks it; mapping goes through libpmem2.
 */
#ifndef DAXFUSE_PMEM_DEVICE_H
#define DAXFUSE_PMEM_DEVICE_H

#include "pmem.h"
#include "daxfuse/base/errint.h"

enum device_kind { DEVICE_DAX, DEVICE_IMAGE };

struct device_info {
	enum device_kind kind;
	char path[4096];      /* absolute, without symlinks */
	char name[64];        /* dax0.0, or the file's last component */
	char mode[16];        /* "devdax", "system-ram", "famfs", "disabled", "unknown", "image" */
	char driver[32];      /* the kernel's, of a device-dax; empty: none */
	bool pinned_memory;   /* system-ram that the kernel may never give back */
	uint64_t size;        /* bytes */
	uint64_t align;       /* bytes; images: 4096 */
	int numa_node;        /* -1 = unknown */
	char persistence[32]; /* "cpu_cache", "memory_controller", "none", "unknown" */
	char filesystem[16];  /* images: of the file beneath: "tmpfs", ... */
};

struct device; /* an open, locked, possibly mapped device */

enum device_access {
	DEVICE_READ = 1,    /* map read-only, shared lock */
	DEVICE_WRITE = 2,   /* map writable, exclusive lock */
	DEVICE_WAIT = 4,    /* wait for the lock instead of -EBUSY */
	DEVICE_NO_LOCK = 8, /* probe only: neither lock nor mapping */
};

/*
 * A failure that a person must act on: what failed and what to do, each one
 * line without newline. Filled by device_open() and device_map() on error.
 */
struct device_error {
	char what[512];
	char advice[512];
};

/* Fill ret_error, unless it is NULL, and hand err on. The format's first line is what, the second
 * advice. */
__attribute__((format(printf, 3, 4))) errint_t device_fail(struct device_error *ret_error, int err,
							   const char *format, ...);

/*
 * Open PATH and learn about it. -ENODEV: neither device-dax nor regular file; -EBUSY: another
 * daemon, mkfs or fsck holds it; -ENOTSUP: system-ram mode. ret_error may be NULL. A pool's demands
 * on its device are media's to check (media/geometry.h).
 */
errint_t device_open(const char *path, unsigned access, struct device **ret_dev,
		     struct device_error *ret_error);
/* The same on a descriptor of it that is open already, and whose lock, if it has
 * one, stays when the device is closed; fd below 0: as device_open(). */
errint_t device_open_fd(const char *path, int fd, unsigned access, struct device **ret_dev,
			struct device_error *ret_error);
/* Map all of it, whole 2 MiB units; the struct pmem lives as long as dev. */
errint_t device_map(struct device *dev, struct pmem **ret_pmem, struct device_error *ret_error);
const struct device_info *device_info(const struct device *dev);
/* What libpmem2 reported: "page", "cache_line" or "byte"; after device_map(). */
const char *device_granularity(const struct device *dev);
/*
 * What survives: "power" (loss of power), "process" (death of the daemon only:
 * the pool is an image in the page cache, or lies on volatile memory), or
 * "unknown" (the platform does not say); after device_map().
 */
const char *device_durability(const struct device *dev);
int device_fd(const struct device *dev);
/* What lies at the end of a path, or is open, as text that is equal for the same device or image.
 * 0 or negative errno. */
errint_t device_identity(const char *path, char *ret_text, size_t size);
errint_t device_identity_fd(int fd, char *ret_text, size_t size);
/*
 * Copy [offset, offset + len) of a device that need not be mapped, for probing.
 * -EIO: poison; -ERANGE: behind the end.
 */
errint_t device_peek(const struct device *dev, uint64_t offset, void *buf, size_t len);
/* Unmap, unlock, close. NULL is fine. */
void device_close(struct device *dev);

/* The command that makes a device-dax of another mode useful, and what to do before; empty: it is
 * useful as it is. */
void device_cure(const struct device_info *info, char *ret_text, size_t size);
/* What lies on it has changed: udev is told to look at it again, and renews its links. Of an image,
 * or without privilege, nothing is done. */
void device_announce(const struct device *dev);

/* Call fn for each device-dax of the machine, until it returns non-zero. */
int device_list(int (*fn)(const struct device_info *info, void *arg), void *arg);

#endif
