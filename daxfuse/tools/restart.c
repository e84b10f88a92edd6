/* SPDX-License-Identifier: BSD-3-Clause */
/* daxfuse restart: replace the serving process of a mount by the installed one. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/ioctl.h"
#include "command.h"
#include "mounts.h"
#include "report.h"

static const struct command command = {
	.name = "daxfuse restart",
	.usage = "MOUNTPOINT",
	.summary =
		"Replace a running daemon by the installed binary; programs notice a pause only.",
	.details =
		"The new binary is asked first whether it can take over; if not, nothing happens.\n"
		"Prints what serves afterwards, as JSON.",
	.usage_status = 1,
};

enum { TRIES = 2000 };

/* The "mount" object of the status; NULL on failure, errno says why. */
static struct json_object *mount_status(int fd, struct json_object **ret_root)
{
	struct dxf_ioc_status status;
	struct json_object *mount = NULL;

	if (ioctl(fd, DXF_IOC_STATUS, &status) < 0)
		return NULL;
	*ret_root = json_tokener_parse(status.json);
	errno = EPROTO;
	if (*ret_root)
		json_object_object_get_ex(*ret_root, "mount", &mount);
	return mount;
}

static int64_t number(struct json_object *mount, const char *key)
{
	struct json_object *value = NULL;

	return json_object_object_get_ex(mount, key, &value) ? json_object_get_int64(value) : -1;
}

static errint_t starts_of(int fd, int64_t *ret_starts)
{
	struct json_object *root = NULL, *mount = mount_status(fd, &root);
	int err = mount ? 0 : -errno;

	if (mount)
		*ret_starts = number(mount, "starts");
	json_object_put(root);
	return err;
}

static void print_server(int fd)
{
	static const char *const keys[] = { "pid", "version", "libfuse", "starts" };
	struct json_object *root = NULL, *mount = mount_status(fd, &root);
	struct json_object *out = json_object_new_object(), *value;

	for (size_t i = 0; mount && i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (json_object_object_get_ex(mount, keys[i], &value))
			json_object_object_add(out, keys[i], json_object_get(value));
	}
	printf("%s\n", json_object_to_json_string_ext(out, JSON_C_TO_STRING_PRETTY));
	json_object_put(out);
	json_object_put(root);
}

/* A request that is made now is answered by the old process, or by the new one as
 * soon as it is there: asking is waiting. */
static errint_t wait_for_new(int fd, int64_t before)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	int64_t starts = before;
	int err = 0;

	for (int i = 0; !err && starts == before && i < TRIES; i++) {
		nanosleep(&pause, NULL);
		err = starts_of(fd, &starts);
	}
	return err ? err : starts == before ? -ETIMEDOUT : 0;
}

int restart_main(int argc, char **argv)
{
	struct dxf_ioc_restart answer = { .reason = "" };
	CLEANUP_FD int fd = -1;
	char device[4096];
	int64_t before;
	int err;

	command_next(&command, argc, argv);
	command_operands(&command, argc, 1, 1);
	if (mounts_find_mountpoint(argv[optind], device, sizeof(device))) {
		report_failure("daxfuse", argv[optind], 0, "is not a mount of daxfuse",
			       "findmnt -t fuse.daxfuse shows the mounts");
		return 1;
	}
	fd = open(argv[optind], O_RDONLY | O_CLOEXEC);
	err = fd < 0 ? -errno : starts_of(fd, &before);
	if (!err && ioctl(fd, DXF_IOC_RESTART, &answer) < 0)
		err = -errno;
	if (!err && answer.error) {
		report_failure("daxfuse", argv[optind], 0, answer.reason,
			       "nothing was changed, the running daemon goes on");
		return 1;
	}
	if (!err)
		err = wait_for_new(fd, before);
	if (err) {
		report_failure("daxfuse", argv[optind], err, "cannot be restarted",
			       err == -EPERM ? "run as root of the host, or as the mount's owner"
					     : "");
		return 1;
	}
	print_server(fd);
	return 0;
}
