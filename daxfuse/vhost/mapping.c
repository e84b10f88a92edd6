/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Units of files in the guest's window, and out of it. The guest's kernel keeps what it has asked
 * for as long as it knows the inode: it names no open file, and truncates and punches without a
 * word about it.
 */
#include <errno.h>
#include <string.h>

#include "request.h"

enum { SETUP_FLAGS = FUSE_SETUPMAPPING_FLAG_WRITE | FUSE_SETUPMAPPING_FLAG_READ };

ssize_t do_setupmapping(struct request *r)
{
	const struct fuse_setupmapping_in *in = request_take(r, sizeof(*in));
	struct window *w = r->guest->config.window;
	const struct shmem_patience patience = request_patience(r);
	bool changed;
	int err;

	if (!w || !window_is_connected(w))
		return -ENOSYS;
	if (!in || (in->flags & ~(uint64_t)SETUP_FLAGS))
		return request_malformed(r);
	err = window_map(w, r->ino, in->foffset, in->len, in->moffset,
			 in->flags & FUSE_SETUPMAPPING_FLAG_WRITE, &patience, &changed);
	if (changed)
		request_changed(r, r->ino, NULL, false, false);
	return err;
}

ssize_t do_removemapping(struct request *r)
{
	const struct fuse_removemapping_in *in = request_take(r, sizeof(*in));
	struct window *w = r->guest->config.window;
	const struct shmem_patience patience = request_patience(r);
	int err = 0;

	if (!w || !window_is_connected(w))
		return -ENOSYS;
	if (!in)
		return request_malformed(r);
	for (uint32_t i = 0; !err && i < in->count; i++) {
		struct fuse_removemapping_one one;
		const void *at = request_take(r, sizeof(one));

		if (!at)
			return request_malformed(r);
		memcpy(&one, at, sizeof(one)); /* it is not aligned */
		err = window_unmap(w, one.moffset, one.len, &patience);
	}
	return err;
}

/* Every change that was asked for was durable when it was answered; but not what was stored through
 * the window. */
ssize_t do_syncfs(struct request *r)
{
	struct window *w = r->guest->config.window;
	const struct shmem_patience patience = request_patience(r);

	return w ? window_sync(w, &patience) : 0;
}
