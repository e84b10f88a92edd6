/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxfuse umount: umount(8) returns before the daemon is done, because the
 * kernel does not wait for it. The daemon holds the device's lock until its last
 * store, so waiting for the lock is waiting for the daemon.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>

#include "daxfuse/daemon/admin.h"
#include "command.h"
#include "mounts.h"
#include "report.h"
#include "daxfuse/base/errint.h"

static const struct command_option options[] = {
	{ 'w', "wait", NULL, "return only when the daemon has let go of the device" },
	{ 'l', "lazy", NULL, "detach now, finish when nobody uses it any more" },
	{ 0 },
};

enum { BUSY_TRIES = 50 };

static const struct command command = {
	.name = "daxfuse umount",
	.usage = "MOUNTPOINT|DEVICE",
	.summary = "Unmount, or end what serves DEVICE without a mount.",
	.options = options,
	.details = "Nothing is lost without --wait: all data is durable before umount begins.\n"
		   "It is for scripts that use the device again at once.",
	.usage_status = 1,
};

static errint_t run_fusermount(const char *mountpoint, bool lazy)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return -errno;
	if (child == 0) {
		execlp("fusermount3", "fusermount3", lazy ? "-uz" : "-u", "-q", "--", mountpoint,
		       (char *)NULL);
		_exit(127);
	}
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return WIFEXITED(status) && WEXITSTATUS(status) == 127 ? -ENOENT : -EBUSY;
}

static errint_t unmount(const char *mountpoint, bool lazy)
{
	if (umount2(mountpoint, (lazy ? MNT_DETACH : 0) | UMOUNT_NOFOLLOW) == 0)
		return 0;
	if (errno != EPERM)
		return -errno;
	return run_fusermount(mountpoint, lazy);
}

/* Somebody who looked at it only, as the daemon itself does after a start, is gone in a
 * moment. */
static errint_t unmount_soon(const char *mountpoint, bool lazy)
{
	const struct timespec pause = { .tv_nsec = 20000000 };
	int err = unmount(mountpoint, lazy);

	for (int i = 0; err == -EBUSY && i < BUSY_TRIES; i++) {
		nanosleep(&pause, NULL);
		err = unmount(mountpoint, lazy);
	}
	return err;
}

static int is_of_device(const char *device, const char *mountpoint, void *arg)
{
	return !strcmp(device, arg);
}

static int wait_for_device(const char *path)
{
	struct device_error error;
	struct device *dev;
	int err = device_open(path, DEVICE_READ | DEVICE_WAIT, &dev, &error);

	if (err) {
		report_device_error("daxfuse", path, err, &error);
		return 1;
	}
	device_close(dev);
	return 0;
}

static int stop(const char *device, bool wait)
{
	int err = admin_call(device, ADMIN_STOP, "", NULL);

	if (!err)
		return wait ? wait_for_device(device) : 0;
	report_failure("daxfuse", device, err, "cannot be ended", "");
	return 1;
}

int umount_main(int argc, char **argv)
{
	bool wait = false, lazy = false;
	char device[4096];
	int code, err;

	while ((code = command_next(&command, argc, argv)) >= 0) {
		wait |= code == 'w';
		lazy |= code == 'l';
	}
	command_operands(&command, argc, 1, 1);
	err = mounts_find_mountpoint(argv[optind], device, sizeof(device));
	if (err && admin_is_there(argv[optind]))
		return stop(argv[optind], wait);
	if (err) {
		report_failure("daxfuse", argv[optind], 0,
			       "is not a mount of daxfuse, nor a device that it serves without",
			       "daxfuse status shows all");
		return 1;
	}
	err = unmount_soon(argv[optind], lazy);
	if (err) {
		report_failure("daxfuse", argv[optind], err, "cannot be unmounted",
			       err == -EBUSY ? "see who uses it: fuser -vm MOUNTPOINT" : "");
		return 1;
	}
	/* with another mount point its daemon goes on */
	if (mounts_each(is_of_device, device) == 1)
		return 0;
	return wait ? wait_for_device(device) : 0;
}
