/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxfuse quota: limits of projects. A project is a number that directories pass on to all that is
 * made in them; its limits are kept in the pool.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/ioctl.h"
#include "command.h"
#include "report.h"

static const struct command_option options[] = {
	{ 'u', "human", NULL, "print for people" },
	{ 'b', "bytes", "SIZE", "limit the bytes (K, M, G, T; 0 = no limit)" },
	{ 'i', "inodes", "NUMBER", "limit the number of files (0 = no limit)" },
	{ 'a', "assign", NULL, "put the directory PATH into PROJECT" },
	{ 0 },
};

static const struct command command = {
	.name = "daxfuse quota",
	.usage = "PATH [PROJECT]",
	.summary = "Show or set limits of projects on the mount that PATH lies on (JSON).",
	.options = options,
	.details = "Of all projects an administrator is told, others of the one that PATH is in.\n"
		   "A limit that is not given stays as it is. --assign sets the project of the\n"
		   "directory itself and of what is made in it from then on:\n\n"
		   "    daxfuse quota /mnt/pm/web 7 --assign --bytes 10G",
	.usage_status = 1,
};

struct request {
	bool human, assign, set_bytes, set_inodes;
	uint64_t bytes, inodes;
};

static struct json_object *describe(const struct dxf_ioc_quota *quota)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "project", json_object_new_int64(quota->project));
	json_object_object_add(object, "bytes", json_object_new_uint64(quota->bytes));
	json_object_object_add(object, "byte_limit", json_object_new_uint64(quota->byte_limit));
	json_object_object_add(object, "inodes", json_object_new_uint64(quota->inodes));
	json_object_object_add(object, "inode_limit", json_object_new_uint64(quota->inode_limit));
	return object;
}

static void print_heading(void)
{
	printf("%10s %12s %12s %12s %12s\n", "PROJECT", "USED", "LIMIT", "FILES", "LIMIT");
}

static void print_human(const struct dxf_ioc_quota *quota)
{
	char used[HUMAN_SIZE], limit[HUMAN_SIZE] = "-", inodes[HUMAN_SIZE] = "-";

	if (quota->byte_limit)
		human_size(quota->byte_limit, limit, sizeof(limit));
	if (quota->inode_limit)
		snprintf(inodes, sizeof(inodes), "%llu", quota->inode_limit);
	printf("%10u %12s %12s %12llu %12s\n", quota->project,
	       human_size(quota->bytes, used, sizeof(used)), limit, quota->inodes, inodes);
}

/* Of others than administrators: the project that the path is in. */
static errint_t read_own(int fd, struct dxf_ioc_quota *ret_quota)
{
	struct fsxattr attr;

	if (ioctl(fd, FS_IOC_FSGETXATTR, &attr) < 0)
		return -errno;
	*ret_quota = (struct dxf_ioc_quota){ .project = attr.fsx_projid };
	if (!attr.fsx_projid)
		return -ENOENT;
	return ioctl(fd, DXF_IOC_QUOTA_GET, ret_quota) < 0 ? -errno : 0;
}

/* *quota: the project to begin with; then what was found, if that is the first one. */
static errint_t read_next(int fd, struct dxf_ioc_quota *quota)
{
	if (ioctl(fd, DXF_IOC_QUOTA_NEXT, quota) == 0)
		return 0;
	return errno == EPERM && quota->project == 1 ? read_own(fd, quota) : -errno;
}

static errint_t show_all(int fd, bool human)
{
	CLEANUP_JSON struct json_object *list = json_object_new_array();
	struct dxf_ioc_quota quota = { .project = 1 };
	int err;

	if (human)
		print_heading();
	while (!(err = read_next(fd, &quota))) {
		if (human)
			print_human(&quota);
		else
			json_object_array_add(list, describe(&quota));
		if (quota.project == UINT32_MAX)
			break;
		quota.project++;
	}
	if (err && err != -ENOENT && err != -EPERM)
		return err;
	if (!human)
		report_json(list);
	return 0;
}

static errint_t show_one(int fd, uint32_t project, bool human)
{
	CLEANUP_JSON struct json_object *object = NULL;
	struct dxf_ioc_quota quota = { .project = project };

	if (ioctl(fd, DXF_IOC_QUOTA_GET, &quota) < 0)
		return -errno;
	if (human) {
		print_heading();
		print_human(&quota);
	} else {
		object = describe(&quota);
		report_json(object);
	}
	return 0;
}

static errint_t set_limits(int fd, uint32_t project, const struct request *request)
{
	struct dxf_ioc_quota quota = { .project = project };

	if (ioctl(fd, DXF_IOC_QUOTA_GET, &quota) < 0 && errno != ENOENT)
		return -errno;
	quota.project = project;
	if (request->set_bytes)
		quota.byte_limit = request->bytes;
	if (request->set_inodes)
		quota.inode_limit = request->inodes;
	return ioctl(fd, DXF_IOC_QUOTA_SET, &quota) < 0 ? -errno : 0;
}

static errint_t assign(int fd, uint32_t project)
{
	struct fsxattr attr;

	if (ioctl(fd, FS_IOC_FSGETXATTR, &attr) < 0)
		return -errno;
	attr.fsx_projid = project;
	attr.fsx_xflags |= FS_XFLAG_PROJINHERIT;
	return ioctl(fd, FS_IOC_FSSETXATTR, &attr) < 0 ? -errno : 0;
}

static errint_t run(const char *path, const char *project_text, const struct request *request)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool set = request->set_bytes || request->set_inodes;
	uint64_t project;
	int err = 0;

	if (fd < 0)
		return -errno;
	if (!project_text)
		return show_all(fd, request->human);
	if (parse_size(project_text, &project) || !project || project > UINT32_MAX)
		command_misused(&command, "%s is not the number of a project", project_text);
	if (set)
		err = set_limits(fd, (uint32_t)project, request);
	if (!err && request->assign)
		err = assign(fd, (uint32_t)project);
	if (err || set || request->assign)
		return err;
	return show_one(fd, (uint32_t)project, request->human);
}

static uint64_t parse_limit(const char *text)
{
	uint64_t value;

	if (parse_size(text, &value))
		command_misused(&command, "%s is not a number", text);
	return value;
}

int quota_main(int argc, char **argv)
{
	struct request request = { 0 };
	int code, err;

	while ((code = command_next(&command, argc, argv)) >= 0) {
		request.human |= code == 'u';
		request.assign |= code == 'a';
		if (code == 'b') {
			request.set_bytes = true;
			request.bytes = parse_limit(optarg);
		} else if (code == 'i') {
			request.set_inodes = true;
			request.inodes = parse_limit(optarg);
		}
	}
	command_operands(&command, argc, 1, 2);
	if (!argv[optind + 1] && (request.assign || request.set_bytes || request.set_inodes))
		command_misused(&command, "PROJECT is missing");
	err = run(argv[optind], argv[optind + 1], &request);
	if (err)
		report_failure("daxfuse", argv[optind], err, "quota",
			       err == -EPERM    ? "it needs CAP_SYS_ADMIN: run as root of the host"
			       : err == -ENOENT ? "daxfuse quota PATH shows the projects"
			       : err == -ENOTTY ? "name a path on a mount of daxfuse"
						: "");
	return err ? 1 : 0;
}
