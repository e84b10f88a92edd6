/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between the two transports: the kernel hears of what a guest has changed before the guest has its
 * answer, and is asked before an inode is freed that a guest does not know any more.
 */
#include "guests.h"

#include <errno.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/keeper/log.h"

static void tell_kernel(void *daemon, const struct exports_change *change)
{
	const struct daemon *d = daemon;

	transport_changed(d->transport, &(struct transport_change){
						.ino = change->ino,
						.name = change->name,
						.data = change->data,
						.size = change->size,
					});
}

static void let_go(void *daemon, uint64_t ino)
{
	const struct daemon *d = daemon;

	transport_let_go(d->transport, ino);
}

errint_t guests_open(struct daemon *d)
{
	const struct exports_config config = {
		.vfs = d->vfs,
		.host = { d, tell_kernel, let_go },
		.shelf_in = d->fds.shelf_in,
		.shelf_out = d->fds.shelf_out,
		.answers = d->answers,
	};
	unsigned lost = 0;
	int err = exports_open(&config, &d->exports, &lost);

	if (lost)
		log_error("daxfuse: %s: %u exports cannot be gone on with: their guests get no "
			  "answers\nstop these guests, and add the exports anew\n",
			  d->device, lost);
	return err;
}

void guests_begin(void *daemon)
{
	struct daemon *d = daemon;

	if (exports_start(d->exports))
		log_error("daxfuse: %s: no threads: guests of exports wait\n"
			  "have it restarted: daxfuse restart %s\n",
			  d->device, d->mountpoint);
}

static errint_t add_export(struct daemon *d, uint64_t ino, const struct dxf_ioc_export *call)
{
	static const enum exports_cache caches[] = {
		[DXF_EXPORT_CACHE_AUTO] = EXPORTS_CACHE_AUTO,
		[DXF_EXPORT_CACHE_NONE] = EXPORTS_CACHE_NONE,
		[DXF_EXPORT_CACHE_ALWAYS] = EXPORTS_CACHE_ALWAYS,
	};

	if (call->cache >= ARRAY_SIZE(caches) || call->read_only > 1)
		return -EINVAL;
	return exports_add(d->exports, &(struct export_options){
					       .socket = call->socket,
					       .tag = call->tag,
					       .root = ino,
					       .read_only = call->read_only,
					       .cache = caches[call->cache],
				       });
}

errint_t guests_export(void *daemon, uint64_t ino, const struct dxf_ioc_export *call)
{
	struct daemon *d = daemon;

	switch (call->what) {
	case DXF_EXPORT_ADD:
		return add_export(d, ino, call);
	case DXF_EXPORT_REMOVE:
		return exports_remove(d->exports, call->socket);
	}
	return -EINVAL;
}
