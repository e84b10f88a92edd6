/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the serving process consists of, from below: the device, the pool, the vfs, and those who
 * come to it beside the kernel (programs, kernel views, guests). The transport is made early, as
 * the vfs calls it; it is mounted by the daemon's life (daemon.c).
 */
#include "open.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/clients/pins.h"
#include "daxfuse/keeper/attach.h"
#include "daxfuse/keeper/control.h"
#include "daxfuse/keeper/log.h"
#include "daxfuse/media/geometry.h"
#include "admin_serve.h"
#include "guests.h"
#include "remount.h"
#include "restart.h"
#include "status.h"

enum { BUSY_TRIES = 40 };

void complain(const char *device, const char *what, int err, const char *advice)
{
	log_error("daxfuse: %s: %s%s%s\n", device, what, err ? ": " : "",
		  err ? strerror(-err) : "");
	if (advice && *advice)
		log_error("%s\n", advice);
}

/* umount(8) returns before the daemon has let go of the device, so one that is
 * busy is given a moment. */
static errint_t open_device(struct daemon *d, struct device_error *ret_error)
{
	unsigned access = d->options->fs.read_only ? DEVICE_READ : DEVICE_WRITE;
	const struct timespec pause = { .tv_nsec = 50000000 };
	int err;

	for (int i = 0; i < BUSY_TRIES; i++) {
		*ret_error = (struct device_error){ 0 };
		err = pool_open_device(d->device, d->fds.device, access, &d->dev, ret_error);
		if (err != -EBUSY)
			break;
		nanosleep(&pause, NULL);
	}
	return err;
}

/*
 * Orphans of a mount that is taken over may be open still, and space that programs have mapped must
 * not be given out.
 */
static struct fs_options pool_options(const struct daemon *d, struct fs_busy *busy, unsigned count)
{
	struct fs_options options = d->options->fs;

	options.keep_orphans = d->adopts;
	options.busy = busy;
	options.busy_count = count;
	if (d->answers) {
		options.replayed = answers_replayed;
		options.replayed_arg = d->answers;
	}
	options.trimmed = transport_trimmed;
	options.trimmed_arg = d->transport;
	return options;
}

static errint_t mount_pool(struct daemon *d, const struct pmem *pm)
{
	CLEANUP_FREE struct fs_busy *busy = NULL;
	struct fs_options options;
	unsigned count = 0;
	int err = d->pins ? pin_table_busy(d->pins, &busy, &count) : 0;

	if (!err && d->view_table)
		err = view_table_busy(d->view_table, &busy, &count);
	if (err)
		return err;
	options = pool_options(d, busy, count);
	return fs_mount(pm, &options, &d->fs, &d->report);
}

static errint_t open_vfs(struct daemon *d)
{
	struct vfs_config config = {
		.fs = d->fs,
		.probe_lines = device_info(d->dev)->kind == DEVICE_DAX,
		.life = d->kept ? d->kept->starts : 1,
		.next_handle = d->pins ? &d->pins->next_handle : NULL,
		.opens = d->opens,
		.owners_set_projects = d->options->owners_set_projects,
	};

	transport_vfs(d->transport, &config);
	return vfs_open(&config, &d->vfs);
}

/* Without a mount no program has a file to map. */
static struct clients_policy direct_policy(const struct daemon *d)
{
	const struct clients_policy nobody = { CLIENTS_NOBODY, 0 };

	return d->options->no_mount ? nobody : d->options->direct;
}

/* Where programs connect: the keeper's socket, or our own. */
static errint_t open_clients(struct daemon *d)
{
	struct clients_config config = {
		.vfs = d->vfs,
		.dev = d->dev,
		.policy = direct_policy(d),
		.kept = d->pins,
	};

	if (d->kept)
		memcpy(d->socket, d->kept->socket, sizeof(d->socket));
	else
		d->fds.control = control_open(&config.policy, d->socket, sizeof(d->socket));
	config.socket = d->socket;
	config.listener = d->fds.control;
	return clients_open(&config, &d->clients);
}

/* Why there can be no views, whatever the module says; NULL. */
static const char *views_objection(const struct daemon *d)
{
	if (fs_is_read_only(d->fs))
		return "the mount is read-only";
	/* the kernel can be told only once */
	if (d->adopts && d->kept->session.init_bytes && !d->view_table->agreed)
		return "there were none when it was mounted";
	return NULL;
}

static errint_t begin_views(struct daemon *d, int *ret_session)
{
	const char *objection;

	if (d->has_session) {
		d->has_session = false;
		*ret_session = d->session;
		return 0;
	}
	if (!d->view_table)
		d->view_table = calloc(1, sizeof(*d->view_table));
	if (!d->view_table)
		return -ENOMEM;
	objection = views_objection(d);
	if (!objection)
		return views_open(d->dev, d->view_table, d->fds.views, ret_session, d->no_views,
				  sizeof(d->no_views));
	snprintf(d->no_views, sizeof(d->no_views), "%s", objection);
	return -EROFS;
}

/* A mount that is taken over goes on without, unless there may be views, which can't be left: there
 * are none without the module, and none when it has become read-only. */
static bool goes_without_views(const struct daemon *d, int err)
{
	if (d->adopts && d->view_table->agreed)
		return err == -ENOENT || err == -ENODEV || err == -ENXIO || err == -EROFS;
	return d->adopts || d->options->views == VIEWS_AUTO;
}

static bool may_have_views(const struct daemon *d)
{
	return d->options->views != VIEWS_OFF && !d->options->no_mount;
}

/* Files may be growing by themselves, through views of an earlier process: they are not when its
 * session has been taken over, and only then the pool may be looked at. */
static errint_t adopt_session(struct daemon *d)
{
	int err;

	if (!d->adopts || !d->view_table || !d->view_table->agreed || !may_have_views(d) ||
	    d->options->fs.read_only || d->has_session)
		return 0;
	err = views_open(d->dev, d->view_table, d->fds.views, &d->session, d->no_views,
			 sizeof(d->no_views));
	d->has_session = !err;
	if (!err || goes_without_views(d, err))
		return 0;
	complain(d->device, d->no_views, err, NULL);
	return err;
}

/* The kernel ends a mount of which a request waits longer. */
static void warn_of_timeout(const struct daemon *d, const char *name)
{
	char path[64];
	CLEANUP_FILE FILE *file = NULL;
	unsigned seconds = 0;

	snprintf(path, sizeof(path), "/proc/sys/fs/fuse/%s", name);
	file = fopen(path, "re");
	if (!file || fscanf(file, "%u", &seconds) != 1 || !seconds)
		return;
	log_error("daxfuse: %s: the kernel ends mounts whose daemon is away for %u seconds\n"
		  "set it to 0: sysctl fs.fuse.%s=0\n",
		  d->device, seconds, name);
}

/* Once for a mount. */
static void say_views(const struct daemon *d)
{
	if (d->adopts || device_info(d->dev)->kind != DEVICE_DAX)
		return;
	if (d->views)
		log_info("daxfuse: %s: files are mapped through kernel views\n", d->device);
	else
		log_info("daxfuse: %s: no kernel views: %s\n", d->device, d->no_views);
	warn_of_timeout(d, "default_request_timeout");
	warn_of_timeout(d, "max_request_timeout");
}

/* Without the module, or on another device: as the option says. */
static errint_t open_views(struct daemon *d)
{
	const struct views_config config = {
		.vfs = d->vfs,
		.dev = d->dev,
		.transport = d->transport,
		.ended = transport_view_ended,
	};
	int session, err;

	if (!may_have_views(d))
		return 0;
	err = begin_views(d, &session);
	if (!err)
		err = views_start(&config, d->view_table, session, &d->views);
	else if (goes_without_views(d, err))
		err = 0;
	if (!err)
		say_views(d);
	else if (*d->no_views)
		complain(d->device, d->no_views, 0,
			 "mount it with -o views=off, or modprobe daxview");
	else
		complain(d->device, "its kernel views cannot be had", err, NULL);
	return err;
}

static struct attach attach_of(const struct daemon *d)
{
	const struct options *o = d->options;

	return (struct attach){
		.device = d->device,
		.mountpoint = d->mountpoint,
		.read_only = o->fs.read_only,
		.no_atime = o->fs.atime == FS_ATIME_NEVER,
		.strict_atime = o->fs.atime == FS_ATIME_STRICT,
		.allow_other = o->allow_other,
		.no_suid = o->no_suid,
		.no_dev = o->no_dev,
		.no_exec = o->no_exec,
		.no_symfollow = o->no_symfollow,
		.no_dir_atime = o->no_dir_atime,
		.words = o->kernel,
		.word_count = o->kernel_count,
		.kept = d->kept,
	};
}

/* The device is mapped: its abilities are known. */
static errint_t open_transport(struct daemon *d)
{
	const struct options *o = d->options;
	const struct transport_config config = {
		.attach = attach_of(d),
		.kept = d->kept,
		.fds = d->fds,
		.answers = d->answers,
		.adopts = d->adopts,
		.no_mount = o->no_mount,
		.io_uring = o->io_uring,
		.clone_fd = o->clone_fd,
		.debug = o->debug,
		.needs_fsync = !strcmp(device_granularity(d->dev), "cache_line"),
		.maps = o->direct.who != CLIENTS_NOBODY,
		.max_threads = o->max_threads,
		.host = {
			.arg = d,
			.greeted = guests_begin,
			.status = status_json,
			.remount = remount_change,
			.export = guests_export,
			.restart_prepare = restart_prepare,
			.restart_now = restart_now,
		},
	};

	return transport_new(&config, &d->transport);
}

static errint_t complain_device(const struct daemon *d, int err, const struct device_error *error)
{
	complain(d->device, error->what[0] ? error->what : "cannot be opened", err, error->advice);
	return err;
}

/* The last process may have written still when the mount became read-only, and have been
 * killed: its last change is completed as at any mount. */
static errint_t complete_last_change(struct daemon *d)
{
	struct fs_options options = d->options->fs;
	struct device_error error = { 0 };
	struct device *dev = NULL;
	struct fs *fs = NULL;
	struct pmem *pm;
	int err = pool_open_device(d->device, d->fds.device, DEVICE_WRITE, &dev, &error);

	options.read_only = false;
	options.keep_orphans = true;
	options.replayed = answers_replayed;
	options.replayed_arg = d->answers;
	if (!err)
		err = device_map(dev, &pm, &error);
	if (!err)
		err = fs_mount(pm, &options, &fs, NULL);
	fs_unmount(fs);
	device_close(dev);
	return err;
}

static errint_t open_and_mount(struct daemon *d, struct device_error *ret_error)
{
	struct pmem *pm;
	int err = open_device(d, ret_error);

	if (!err)
		err = device_map(d->dev, &pm, ret_error);
	if (err)
		return err;
	if (!d->transport)
		err = open_transport(d);
	if (!err)
		err = adopt_session(d);
	if (!err)
		err = mount_pool(d, pm);
	if (err != -EROFS || !d->kept || !d->kept->remounted || complete_last_change(d))
		return err;
	device_close(d->dev);
	d->dev = NULL;
	err = open_device(d, ret_error);
	if (!err)
		err = device_map(d->dev, &pm, ret_error);
	return err ? err : mount_pool(d, pm);
}

static errint_t open_admin(struct daemon *d)
{
	int err = admin_open(d, &d->admin);

	if (err)
		complain(d->device, "nobody could control it: no socket", err,
			 "it lies in /run/daxfuse, of a user in XDG_RUNTIME_DIR or /tmp");
	return err;
}

errint_t open_pool(struct daemon *d)
{
	struct device_error error = { 0 };
	int err = pmem_poison_init();

	if (!err)
		err = open_and_mount(d, &error);
	if (err && error.what[0])
		return complain_device(d, err, &error);
	if (err)
		complain(d->device,
			 d->report.what[0] ? d->report.what : "the pool cannot be mounted", err,
			 d->report.advice);
	if (!err)
		err = open_vfs(d);
	if (!err)
		err = open_clients(d);
	if (!err)
		err = open_views(d);
	if (!err)
		err = guests_open(d);
	if (!err && d->options->no_mount)
		err = open_admin(d);
	return err;
}
