/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pool whose superblock has been checked: where its parts lie, and the
 * journals, allocator and inode allocator that work on it. The rooms above get
 * everything on media through this.
 */
#ifndef DAXFUSE_MEDIA_VOLUME_H
#define DAXFUSE_MEDIA_VOLUME_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/format.h"
#include "daxfuse/pmem/pmem.h"

struct alloc;
struct ialloc;

/* One journal slot; a commit holds its lock from the record to its retirement. */
struct journal {
	_Alignas(64) pthread_mutex_t lock;
	struct dxf_journal_header *header;
	uint64_t sequence; /* of the last record */
	atomic_bool bad;   /* poisoned: left alone */
	uint64_t commits;
	uint64_t bytes;
};

/* How a volume is opened, and whom to tell. */
struct volume_options {
	bool read_only;
	/* By volume_open(): a record was replayed that carries out a request (tx_decides()), and is
	 * still live. NULL: nobody wants to know. */
	void (*replayed)(void *arg, uint64_t unique, uint32_t opcode, int64_t result);
	void *replayed_arg;
};

struct volume {
	struct volume_options options;
	const struct pmem *pm;
	struct dxf_super super; /* the checked copy; never read from media again */
	uint64_t units;         /* all units of the pool */
	uint64_t *unit_word;    /* on media: state of each unit */
	uint64_t (*bitmap)[8];  /* on media: blocks of each split unit */
	uint64_t *inode_map;    /* on media: chunk -> device offset */
	struct dxf_quota *quota;
	struct journal *journals;
	pthread_mutex_t *quota_lock; /* one a quota slot */
	struct alloc *alloc;
	struct ialloc *ialloc;
};

/*
 * Check one superblock (a copy in memory) against a device of device_size
 * bytes. 0; -EINVAL: not a pool; -EUCLEAN: torn or impossible; -EOPNOTSUPP:
 * newer format; -EROFS: an unknown ro_compat bit; -EFBIG: the device is shorter.
 */
errint_t super_check(const struct dxf_super *super, uint64_t device_size);

/* CRC32C of a superblock as stored. */
uint32_t super_crc(const struct dxf_super *super);

/*
 * Read both copies, choose the valid one of higher generation. *ret_spare: the
 * first copy was not usable. Errors as super_check(); -EIO if both are poisoned.
 */
errint_t super_load(const struct pmem *pm, struct dxf_super *ret_super, bool *ret_spare);

/*
 * Write both copies, one after the other, so that at any time one is valid.
 * Order: second copy, fence, first copy, fence.
 */
void super_store(const struct pmem *pm, struct dxf_super *super);

/* Fill in the offsets of a pool of super->pool_size bytes. */
void super_layout(struct dxf_super *super);

/*
 * Replay the journals and load the allocators. *ret_replayed: records. With
 * options->read_only nothing is stored, and -EROFS says that a journal needs
 * replay. options may be NULL.
 */
errint_t volume_open(const struct pmem *pm, const struct dxf_super *super,
		     const struct volume_options *options, struct volume **ret_vol,
		     unsigned *ret_replayed);
void volume_close(struct volume *vol);

#endif
