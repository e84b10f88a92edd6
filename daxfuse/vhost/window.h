/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The DAX window of a guest: memory of its VMM into which units of files are mapped, so that the
 * guest loads from and stores to the pool itself. To the engine a window is a mapper that can't be
 * told to let go; each unit that it has is a pin, from before the VMM is asked to map it until the
 * VMM has said that it is gone.
 *
 * Functions may be called from any thread, with no lock held. -ECANCELED: they had to give up, as
 * patience->stop says; called again, they go on.
 */
#ifndef DAXFUSE_VHOST_WINDOW_H
#define DAXFUSE_VHOST_WINDOW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"
#include "exports.h"
#include "shmem.h"

#define WINDOW_UNIT UINT64_C(2097152)
#define WINDOW_SHIFT 21u
#define WINDOW_MOST (UINT64_C(1) << 40)

struct dialect;
struct window;
/* What of it outlives the serving process: all zeroes at first. */
struct window_record;
size_t window_record_bytes(uint64_t size);

struct window_config {
	struct vfs *vfs;
	int device; /* which VMMs get: its descriptor */
	const struct dialect *dialect;
	uint64_t size; /* whole units */
	bool read_only;
	const struct exports_host *host;
	struct window_record *record; /* the caller's */
};

/* With what the record says: nothing of it is allocated from now on. -ENOMEM, -EMFILE */
errint_t window_new(const struct window_config *config, struct window **ret_window);
/* Nobody calls it any more, and it is empty. NULL is fine. */
void window_free(struct window *w);
uint64_t window_size(const struct window *w);
const struct dialect *window_dialect(const struct window *w);

/* The front end's channel, ours from now on; -1: it has none. No queue runs. */
void window_connect(struct window *w, int channel);
int window_channel(const struct window *w);
bool window_is_connected(const struct window *w);
/* The front end is going: what it has is taken from it, as far as it answers in a second. No queue
 * runs, nor will. What is left it may be using still: it stays the files'. */
void window_disconnect(struct window *w);
bool window_is_in_use(const struct window *w);
/* It is gone, and so is all that it had. */
void window_abandon(struct window *w);

/* Whether a file with such attributes is to be used through the window, if the guest asks. */
bool window_wants(const struct window *w, const struct fs_attr *attr);
/*
 * [offset, offset + length) of a file, whole units, at a place of the window: mapped when it
 * returns; *ret_changed: of the file something has changed by that (blocks, times). -EINVAL: a
 * range that is none, or outside of the window; -ENXIO: behind the end of the file; -EBUSY: it is
 * mapped elsewhere, or can't be made whole units now; -ENOSPC, -EDQUOT: holes; -EOPNOTSUPP,
 * -ETXTBSY: as vfs_may_map(); -EPERM: it must not be written to; -EROFS; -EIO: poison, or the VMM
 * did not map it.
 */
errint_t window_map(struct window *w, uint64_t ino, uint64_t offset, uint64_t length, uint64_t at,
		    bool writes, const struct shmem_patience *patience, bool *ret_changed);
/* What is mapped in a range of the window goes. -EINVAL */
errint_t window_unmap(struct window *w, uint64_t at, uint64_t length,
		      const struct shmem_patience *patience);
/* All of it. */
errint_t window_clear(struct window *w, const struct shmem_patience *patience);
/* Earlier stores through it are durable. */
errint_t window_sync(struct window *w, const struct shmem_patience *patience);

struct window_counts {
	uint64_t units, files;    /* that are mapped now */
	uint64_t mapped, removed; /* since it was made, of units */
	uint64_t upgraded, refused,
		lost; /* for writing, too; not mapped by the VMM; not let go of by it */
};
void window_counts(const struct window *w, struct window_counts *ret_counts);

#endif
