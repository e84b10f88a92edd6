/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Direct mappings of a mounted pool: the filesystem (core) and the mapping engine (map)
 * put together. Programs map the memory of their files themselves (include/daxfuse/
 * ioctl.h, direct.h); what changes files goes through here, so that it and the mappings
 * have one truth about a range. docs/design/direct.md.
 *
 * Functions return 0 (or a count) or a negative errno, and may be called from any
 * thread, with no lock held. An inode that nobody maps costs one uncontended lock.
 */
#ifndef DAXFUSE_DIRECT_DIRECT_H
#define DAXFUSE_DIRECT_DIRECT_H

#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/core/fs.h"
#include "daxfuse/ioctl.h"
#include "daxfuse/pmem/device.h"

struct direct;
struct json_object;
struct pin_table; /* pins.h */

/* Whom the device is given. */
enum direct_who { DIRECT_OWNER, DIRECT_NOBODY, DIRECT_GROUP, DIRECT_EVERYBODY };

struct direct_policy {
	enum direct_who who; /* OWNER: root, and who runs the daemon */
	uint32_t group;
};

struct direct_config {
	struct fs *fs;
	struct device *dev;           /* mapped; its descriptor is what programs get */
	bool read_only;
	struct direct_policy policy;
	const char *socket;           /* path; of a listening socket: */
	int listener;                 /* stays its owner's; -1: nobody can connect */
	struct pin_table *kept;       /* of an earlier process, or new; NULL: none */
	uint64_t life;                /* of serving processes, counted */
	/* The kernel must not believe any more what it has of an inode: attributes, and
	 * (data) pages. Must not wait. */
	void (*forget)(void *arg, uint64_t ino, bool data);
	void *forget_arg;
};

/* The pool is mounted, with what pin_table_held() says. Pins of an earlier process are taken
 * over. */
int direct_open(const struct direct_config *config, struct direct **ret_direct);
/* Begin to answer at the socket: a thread. */
int direct_serve(struct direct *d);
/* Nobody calls anything any more. NULL is fine. */
void direct_close(struct direct *d);

/* ---- open files ----------------------------------------------------------------- */

/* A number for an open file, which no other one gets during this mount. */
uint64_t direct_new_handle(struct direct *d);
/* It was closed: its pins end. */
void direct_release(struct direct *d, uint64_t handle);

/* Whether DXF_IOC_DIRECT finds something: the socket's path, or "". */
const char *direct_socket(const struct direct *d);

enum { DIRECT_MAY_READ = 1, DIRECT_MAY_WRITE = 2 };
struct direct_file {
	uint64_t ino;
	uint64_t handle;
	unsigned may; /* as it was opened */
};
/* DXF_IOC_MAP and the others; errors as there. */
int direct_map(struct direct *d, const struct direct_file *file, struct dxf_ioc_map *map);
int direct_unmap(struct direct *d, const struct direct_file *file, const struct dxf_ioc_unmap *unmap);
int direct_pin(struct direct *d, const struct direct_file *file, const struct dxf_ioc_pin *pin);
int direct_unpin(struct direct *d, const struct direct_file *file, const struct dxf_ioc_pin *pin);
int direct_promote(struct direct *d, const struct direct_file *file,
		   const struct dxf_ioc_promote *promote);

/* ---- what changes files ---------------------------------------------------------- */

/* As the fs_ functions; -EBUSY, too, of what moves extents under a mapping whose owner does
 * not let go. Mappers that answer are waited for, up to a second. */
int direct_setattr(struct direct *d, uint64_t ino, const struct fs_setattr *set,
		   struct fs_attr *ret_attr);
ssize_t direct_write(struct direct *d, const struct fs_request *request, uint64_t ino,
		     const void *buf, size_t length, uint64_t offset, unsigned flags);
int direct_fallocate(struct direct *d, const struct fs_request *request, uint64_t ino, int mode,
		     uint64_t offset, uint64_t length);
ssize_t direct_copy_range(struct direct *d, uint64_t in, uint64_t in_offset, uint64_t out,
			  uint64_t out_offset, size_t length);
int direct_realign(struct direct *d, uint64_t ino, uint64_t *offset, bool *ret_moved);
/* -EBUSY: the DAX flag of a file that is mapped. */
int direct_set_xflags(struct direct *d, uint64_t ino, const struct fs_xflags *xflags);
/* What was stored through mappings before is durable. */
int direct_fsync(struct direct *d, uint64_t ino);

/* ---- watching ---------------------------------------------------------------------- */

/* DXF_IOC_WATCH, DXF_IOC_WATCH_READ. */
int direct_watch(struct direct *d, const struct direct_file *file);
int direct_watch_read(struct direct *d, const struct direct_file *file, struct dxf_ioc_watch *watch);
/* Whether there is a watcher. One that comes later sees what was changed before. */
bool direct_is_watched(const struct direct *d);
/* Something was changed that does not go through here: names and attributes (DXF_WATCH_*).
 * After it was, before it is answered. */
void direct_note(struct direct *d, uint64_t ino, unsigned what, uint64_t offset, uint64_t length);

/* ---- reports ---------------------------------------------------------------------- */

/* One object: how much is mapped in which size, and the counters; ino 0: of the mount. */
struct json_object *direct_report(struct direct *d, uint64_t ino);

#endif
