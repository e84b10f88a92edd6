/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * With a keeper the next process does it: it opens the device as it should be, and starts as a
 * mount does, recovery included. Without one the daemon goes on as it is, and writes no more: its
 * mapping can't change, so one that was made for reading stays so.
 */
#include "remount.h"
#include "daxfuse/base/errint.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "daxfuse/base/lockrank.h"
#include "daxfuse/ioctl.h"
#include "restart.h"
#include "state.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* one after the other */

static const enum fs_atime_mode atime_modes[] = {
	[DXF_ATIME_RELATIVE] = FS_ATIME_RELATIVE,
	[DXF_ATIME_STRICT] = FS_ATIME_STRICT,
	[DXF_ATIME_NEVER] = FS_ATIME_NEVER,
};

static errint_t refuse_change(struct dxf_ioc_remount *change, int err, const char *reason)
{
	snprintf(change->reason, sizeof(change->reason), "%s", reason);
	return err;
}

static bool is_open_for_writing(int device)
{
	return (fcntl(device, F_GETFL) & O_ACCMODE) == O_RDWR;
}

/* Programs that were given the device to read have locks of their own (clients/server.c). */
static errint_t lock_for_writing(int device, struct dxf_ioc_remount *change)
{
	if (flock(device, LOCK_EX | LOCK_NB) == 0)
		return 0;
	/* one that can't be turned into an exclusive one is lost */
	flock(device, LOCK_SH | LOCK_NB);
	return refuse_change(change, -EBUSY,
			     "its device is read by others: programs that map its "
			     "files directly, a check, or another mount");
}

/* The next process gets this descriptor and its lock: it must not find out that it can't. */
static errint_t prepare_writing(const struct daemon *d, struct dxf_ioc_remount *change)
{
	if (!is_open_for_writing(d->fds.device))
		return refuse_change(change, -EROFS, "its device could be opened for reading only");
	return lock_for_writing(d->fds.device, change);
}

static errint_t change_by_next(struct daemon *d, const struct fs_options *wanted,
			       struct dxf_ioc_remount *change)
{
	uint32_t before = d->kept->remounted;
	int err = wanted->read_only ? 0 : prepare_writing(d, change);

	if (err)
		return err;
	d->kept->remounted = kept_remount(wanted);
	err = restart_prepare(d, change->reason, sizeof(change->reason));
	if (err)
		d->kept->remounted = before;
	return err;
}

static errint_t change_here(struct daemon *d, const struct fs_options *wanted,
			    struct dxf_ioc_remount *change)
{
	int device = device_fd(d->dev), err = 0;

	if (!wanted->read_only && is_open_for_writing(device))
		err = lock_for_writing(device, change);
	if (err)
		return err;
	err = fs_set_mode(d->fs, wanted->read_only, wanted->atime);
	if (fs_is_read_only(d->fs))
		flock(device, LOCK_SH | LOCK_NB);
	return err ? refuse_change(change, err,
				   "it has its device for reading only, and no keeper: "
				   "unmount it, and mount it again")
		   : 0;
}

static errint_t change_mode(struct daemon *d, struct dxf_ioc_remount *change, bool *ret_replace)
{
	struct fs_options wanted = {
		.read_only = fs_is_read_only(d->fs),
		.atime = fs_atime(d->fs),
	};
	bool replace = restart_has_keeper(d);
	int err;

	if (change->what & ~(unsigned)(DXF_REMOUNT_READ_ONLY | DXF_REMOUNT_ATIME) ||
	    change->atime > DXF_ATIME_NEVER)
		return -EINVAL;
	if (atomic_load_explicit(&d->replace, memory_order_relaxed))
		return refuse_change(change, -EBUSY, "it is being restarted");
	if (change->what & DXF_REMOUNT_READ_ONLY)
		wanted.read_only = change->read_only;
	if (change->what & DXF_REMOUNT_ATIME)
		wanted.atime = atime_modes[change->atime];
	if (wanted.read_only == fs_is_read_only(d->fs) && wanted.atime == fs_atime(d->fs))
		return 0;
	if (wanted.read_only && !fs_is_read_only(d->fs) && exports_count(d->exports))
		return refuse_change(change, -EBUSY,
				     "it has exports, whose guests may write: remove them first");
	if (wanted.read_only && views_pause(d->views))
		return refuse_change(change, -EBUSY,
				     "some of its files are open to be mapped through kernel "
				     "views, or are mapped: end the programs");
	err = replace ? change_by_next(d, &wanted, change) : change_here(d, &wanted, change);
	if (err || !wanted.read_only)
		views_resume(d->views);
	*ret_replace = replace && !err;
	return err;
}

bool remount_change(void *daemon, struct dxf_ioc_remount *change)
{
	struct daemon *d = daemon;
	bool replace = false;

	change->reason[0] = '\0';
	lock_mutex(LOCK_REMOUNT, &lock);
	change->error = change_mode(d, change, &replace);
	if (replace)
		atomic_store_explicit(&d->replace, true, memory_order_relaxed);
	unlock_mutex(LOCK_REMOUNT, &lock);
	return replace;
}
