/* SPDX-License-Identifier: BSD-3-Clause */
/* daxfuse restart: replace the serving process of a mount by the installed one. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <stdbool.h>
#include <time.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/daemon/admin.h"
#include "daxfuse/ioctl.h"
#include "command.h"
#include "mounts.h"
#include "report.h"

static const struct command command = {
	.name = "daxfuse restart",
	.usage = "MOUNTPOINT|DEVICE",
	.summary =
		"Replace a running daemon by the installed binary; programs notice a pause only.",
	.details =
		"The new binary is asked first whether it can take over; if not, nothing happens.\n"
		"Prints what serves afterwards, as JSON.",
	.usage_status = 1,
};

enum { TRIES = 2000 };

/* A mount; or, if fd is -1, a device that is served without. */
struct target {
	int fd;
	const char *device;
};

static errint_t call(const struct target *t, unsigned cmd, void *data)
{
	return admin_call_either(t->fd, t->device, cmd, data);
}

/* The "mount" object of the status; NULL on failure, errno says why. */
static struct json_object *mount_status(const struct target *t, struct json_object **ret_root)
{
	struct dxf_ioc_status status;
	struct json_object *mount = NULL;
	int err = call(t, DXF_IOC_STATUS, &status);

	errno = -err;
	if (err)
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

static errint_t starts_of(const struct target *t, int64_t *ret_starts)
{
	struct json_object *root = NULL, *mount = mount_status(t, &root);
	int err = mount ? 0 : -errno;

	if (mount)
		*ret_starts = number(mount, "starts");
	json_object_put(root);
	return err;
}

static void print_server(const struct target *t)
{
	static const char *const keys[] = { "pid", "version", "libfuse", "starts" };
	struct json_object *root = NULL, *mount = mount_status(t, &root);
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
static errint_t wait_for_new(const struct target *t, int64_t before)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	int64_t starts = before;
	int err = 0;

	for (int i = 0; !err && starts == before && i < TRIES; i++) {
		nanosleep(&pause, NULL);
		err = starts_of(t, &starts);
		if (t->fd < 0 && err == -ECONNRESET) /* asked too early */
			err = 0;
	}
	return err ? err : starts == before ? -ETIMEDOUT : 0;
}

/* 1: it is refused, and why has been said; negative errno. */
static int restart(const struct target *t, int64_t *ret_before)
{
	struct dxf_ioc_restart answer = { .reason = "" };
	int err = starts_of(t, ret_before);

	if (!err)
		err = call(t, DXF_IOC_RESTART, &answer);
	if (err || !answer.error)
		return err;
	report_failure("daxfuse", t->device, 0, answer.reason,
		       "nothing was changed, the running daemon goes on");
	return 1;
}

int restart_main(int argc, char **argv)
{
	CLEANUP_FD int fd = -1;
	struct target target = { -1, argv[argc - 1] };
	char device[4096];
	int64_t before;
	bool mounted;
	int err = 0;

	command_next(&command, argc, argv);
	command_operands(&command, argc, 1, 1);
	mounted = !mounts_find_mountpoint(argv[optind], device, sizeof(device));
	if (!mounted && !admin_is_there(argv[optind])) {
		report_failure("daxfuse", argv[optind], 0,
			       "is not a mount of daxfuse, nor a device that it serves without",
			       "daxfuse status shows all");
		return 1;
	}
	if (mounted) {
		fd = target.fd = open(argv[optind], O_RDONLY | O_CLOEXEC);
		err = fd < 0 ? -errno : 0;
	}
	if (!err)
		err = restart(&target, &before);
	if (err > 0)
		return 1;
	if (!err)
		err = wait_for_new(&target, before);
	if (err) {
		report_failure("daxfuse", argv[optind], err, "cannot be restarted",
			       err == -EPERM ? "run as root of the host, or as the mount's owner"
					     : "");
		return 1;
	}
	print_server(&target);
	return 0;
}
