/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between the two transports: the kernel hears of what a guest has changed before the guest has its
 * answer, and is asked before an inode is freed that a guest does not know any more.
 */
#include "guests.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/daxview.h"
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

static errint_t add_export(struct daemon *d, uint64_t ino, const struct dxf_ioc_export *call)
{
	static const enum exports_cache caches[] = {
		[DXF_EXPORT_CACHE_AUTO] = EXPORTS_CACHE_AUTO,
		[DXF_EXPORT_CACHE_NONE] = EXPORTS_CACHE_NONE,
		[DXF_EXPORT_CACHE_ALWAYS] = EXPORTS_CACHE_ALWAYS,
	};

	static const enum exports_vmm vmms[] = {
		[DXF_EXPORT_QEMU] = EXPORTS_QEMU,
		[DXF_EXPORT_CROSVM] = EXPORTS_CROSVM,
		[DXF_EXPORT_ALIOTH] = EXPORTS_ALIOTH,
	};

	if (call->cache >= ARRAY_SIZE(caches) || call->read_only > 1 ||
	    call->vmm >= ARRAY_SIZE(vmms))
		return -EINVAL;
	return exports_add(d->exports, &(struct export_options){
					       .socket = call->socket,
					       .tag = call->tag,
					       .root = ino,
					       .read_only = call->read_only,
					       .cache = caches[call->cache],
					       .vmm = vmms[call->vmm],
					       .window = call->window,
				       });
}

static void tell_refused(void *daemon, const char *socket, long call)
{
	const struct daemon *d = daemon;

	log_error(
		"daxfuse: %s: an unexpected system call (%ld) in a thread that serves the guest of "
		"%s; it was refused\n"
		"such threads may not open, execute or connect: if the guest is not to be "
		"trusted, end it; else report this\n",
		d->device, call, socket);
}

/* ---- of the mount's options ---------------------------------------------------------------- */

/* From the root, through directories only. */
static errint_t find_directory(const struct daemon *d, const char *path, uint64_t *ret_ino)
{
	struct fs_attr attr = { .ino = DXF_ROOT_INO };
	CLEANUP_FREE char *copy = strdup(path);
	char *save = NULL;
	int err = copy ? 0 : -ENOMEM;

	for (char *name = copy ? strtok_r(copy, "/", &save) : NULL; !err && name;
	     name = strtok_r(NULL, "/", &save)) {
		if (!strcmp(name, "."))
			continue;
		err = strcmp(name, "..") ? vfs_lookup(d->vfs, attr.ino, name, &attr) : -EINVAL;
	}
	*ret_ino = attr.ino;
	return err;
}

/* One that is there already is left of a process that died before it could mount. */
static errint_t add_option(struct daemon *d, const struct export_words *words)
{
	uint64_t ino = 0;
	int err = find_directory(d, words->directory, &ino);

	if (!err)
		err = add_export(d, ino, &words->call);
	if (err == -EALREADY && d->kept && d->kept->starts > 1)
		return 0;
	if (err)
		log_error("daxfuse: %s: export=%s:%s: %s\n%s\n", d->device, words->call.socket,
			  words->call.tag, strerror(-err), export_words_advice(&words->call, err));
	return err;
}

/* The next program must know it. */
static void note_layout(const struct daemon *d)
{
	if (d->kept)
		d->kept->export_layout = exports_count(d->exports) ? exports_layout() : 0;
}

errint_t guests_open(struct daemon *d)
{
	const struct exports_config config = {
		.vfs = d->vfs,
		.dev = d->dev,
		.host = { d, tell_kernel, let_go, tell_refused },
		.ioctls = _IOC_TYPE(DAXVIEW_IOC_SESSION),
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
	for (unsigned i = 0; !err && !d->adopts && i < d->options->export_count; i++)
		err = add_option(d, &d->options->export[i]);
	if (!err)
		note_layout(d);
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

errint_t guests_export(void *daemon, uint64_t ino, const struct dxf_ioc_export *call)
{
	struct daemon *d = daemon;

	int err = -EINVAL;

	if (call->what == DXF_EXPORT_ADD)
		err = add_export(d, ino, call);
	else if (call->what == DXF_EXPORT_REMOVE)
		err = exports_remove(d->exports, call->socket);
	note_layout(d);
	return err;
}

errint_t guests_export_below(struct daemon *d, const char *directory,
			     const struct dxf_ioc_export *call)
{
	uint64_t ino = DXF_ROOT_INO;
	int err = call->what == DXF_EXPORT_ADD ? find_directory(d, directory, &ino) : 0;

	if (!err)
		err = guests_export(d, ino, call);
	return err == -EALREADY ? -EEXIST : err;
}
