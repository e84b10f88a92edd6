/* SPDX-License-Identifier: BSD-3-Clause */
/* daxfuse label: read or set the label, of a mounted pool or of one that is not. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "daxfuse/core/fs.h"
#include "daxfuse/ioctl.h"
#include "daxfuse/media/geometry.h"
#include "command.h"
#include "mounts.h"
#include "report.h"
#include "signature.h"

static const struct command command = {
	.name = "daxfuse label",
	.usage = "DEVICE|MOUNTPOINT [LABEL]",
	.summary = "Show or set the label of a pool (63 bytes at most, \"\" removes it).",
	.usage_status = 1,
};

/* Links of udev have the label in their names. */
static void announce(const char *path)
{
	CLEANUP_DEVICE struct device *dev = NULL;

	if (device_open(path, DEVICE_READ | DEVICE_NO_LOCK, &dev, NULL) == 0)
		device_announce(dev);
}

static int set_mounted(const char *mountpoint, const char *label)
{
	struct dxf_ioc_label request = { "" };
	CLEANUP_FD int fd = open(mountpoint, O_RDONLY | O_CLOEXEC);

	memcpy(request.label, label, strlen(label));
	if (fd < 0 || ioctl(fd, DXF_IOC_SET_LABEL, &request) < 0) {
		report_failure("daxfuse", mountpoint, -errno, "cannot be labelled",
			       errno == EPERM || errno == EACCES
				       ? "it needs CAP_SYS_ADMIN: run as root of the host"
				       : "");
		return 1;
	}
	return 0;
}

static int set_unmounted(const char *path, const char *label)
{
	CLEANUP_DEVICE struct device *dev = NULL;
	const struct fs_options options = { 0 };
	struct device_error error;
	struct fs_report report;
	struct pmem *pm;
	struct fs *fs;
	int err;

	err = pool_open_device(path, -1, DEVICE_WRITE, &dev, &error);
	if (!err)
		err = device_map(dev, &pm, &error);
	if (err) {
		report_device_error("daxfuse", path, err, &error);
		return 1;
	}
	err = pmem_poison_init();
	if (!err)
		err = fs_mount(pm, &options, &fs, &report);
	if (err) {
		report_failure("daxfuse", path, err, report.what, report.advice);
		return 1;
	}
	err = fs_set_label(fs, label);
	fs_unmount(fs);
	if (err)
		report_failure("daxfuse", path, err, "cannot be labelled", "");
	return err ? 1 : 0;
}

static int show(const char *path)
{
	struct signature signature;
	struct device_error error;
	int err = signature_of(path, &signature, NULL, &error);

	if (err) {
		report_device_error("daxfuse", path, err, &error);
		return 1;
	}
	if (signature.kind != SIGNATURE_POOL || !*signature.uuid) {
		report_failure("daxfuse", path, 0, "holds no pool", "daxfuse probe tells more");
		return 1;
	}
	printf("%s\n", signature.label);
	return 0;
}

int label_main(int argc, char **argv)
{
	char device[4096], mountpoint[4096];
	const char *operand, *label;
	bool mounted;
	int status;

	command_next(&command, argc, argv);
	command_operands(&command, argc, 1, 2);
	operand = argv[optind];
	label = argv[optind + 1];
	if (label && strlen(label) > 63)
		command_misused(&command, "the label is longer than 63 bytes");
	if (mounts_find_mountpoint(operand, device, sizeof(device)) == 0) {
		snprintf(mountpoint, sizeof(mountpoint), "%s", operand);
		mounted = true;
	} else {
		snprintf(device, sizeof(device), "%s", operand);
		mounted = mounts_find_device(device, mountpoint, sizeof(mountpoint)) == 0;
	}
	if (!label)
		return show(device);
	status = mounted ? set_mounted(mountpoint, label) : set_unmounted(device, label);
	if (!status)
		announce(device);
	return status;
}
