/* SPDX-License-Identifier: BSD-3-Clause */
/* daxfuse export: a directory of a mounted pool as a virtiofs device of virtual machines. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/size.h"
#include "daxfuse/ioctl.h"
#include "command.h"
#include "mounts.h"
#include "report.h"

static const struct command_option options[] = {
	{ 's', "socket", "PATH", "where the VMM connects (vhost-user)" },
	{ 't', "tag", "TAG", "the device's name in the guest (36 bytes at most)" },
	{ 'd', "subdir", "DIR", "this directory of the mount, not all of it" },
	{ 'r', "readonly", NULL, "the guest may change nothing" },
	{ 'c', "cache", "none|auto|always", "what the guest may believe without asking" },
	{ 'w', "window", "SIZE", "a DAX window: the guest maps the pool's memory itself" },
	{ 'v', "vmm", "qemu|crosvm|alioth", "whose window it is (qemu)" },
	{ 'x', "remove", NULL, "end the export with this socket" },
	{ 0 },
};

static const struct command command = {
	.name = "daxfuse export",
	.usage = "MOUNTPOINT",
	.summary = "A directory of a mount as a virtiofs device of virtual machines.",
	.options = options,
	.details =
		"With QEMU, whose memory must be shared:\n\n"
		"    daxfuse export --socket /run/vm.sock --tag pool /mnt/pm\n"
		"    qemu-system-x86_64 -m 4G \\\n"
		"      -object memory-backend-memfd,id=mem,size=4G,share=on \\\n"
		"      -machine q35,memory-backend=mem \\\n"
		"      -chardev socket,id=pool,path=/run/vm.sock \\\n"
		"      -device vhost-user-fs-pci,chardev=pool,tag=pool ...\n\n"
		"and in the guest: mount -t virtiofs pool /mnt. daxfuse status lists exports. The\n"
		"socket is of the daemon's user alone. Without a DAX window the guest caches pages;\n"
		"--cache says for how long it believes in names and attributes: not at all, a\n"
		"second (auto, the default), or an hour (if nobody else changes the directory).",
	.usage_status = 1,
};

struct words {
	const char *socket, *tag, *subdir, *cache, *window, *vmm;
	bool read_only, remove;
};

static void fill_window(const struct words *words, struct dxf_ioc_export *call)
{
	static const char *const vmms[] = {
		[DXF_EXPORT_QEMU] = "qemu",
		[DXF_EXPORT_CROSVM] = "crosvm",
		[DXF_EXPORT_ALIOTH] = "alioth",
	};
	uint64_t bytes = 0;

	while (words->vmm && call->vmm < ARRAY_SIZE(vmms) &&
	       strcmp(words->vmm, vmms[call->vmm]) != 0)
		call->vmm++;
	if (call->vmm == ARRAY_SIZE(vmms))
		command_misused(&command, "--vmm is qemu, crosvm or alioth");
	if (words->window && (parse_size(words->window, &bytes) || !bytes))
		command_misused(&command, "--window is a size, as 512M");
	call->window = bytes;
}

static void fill_call(const struct words *words, struct dxf_ioc_export *ret_call)
{
	static const struct {
		const char *name;
		unsigned code;
	} caches[] = {
		{ "auto", DXF_EXPORT_CACHE_AUTO },
		{ "none", DXF_EXPORT_CACHE_NONE },
		{ "always", DXF_EXPORT_CACHE_ALWAYS },
	};
	size_t i = 0;

	*ret_call = (struct dxf_ioc_export){
		.what = words->remove ? DXF_EXPORT_REMOVE : DXF_EXPORT_ADD,
		.read_only = words->read_only,
	};
	while (words->cache && i < ARRAY_SIZE(caches) && strcmp(words->cache, caches[i].name) != 0)
		i++;
	if (i == ARRAY_SIZE(caches))
		command_misused(&command, "--cache is none, auto or always");
	ret_call->cache = caches[i].code;
	if (words->tag && strlen(words->tag) > 36)
		command_misused(&command, "the tag is longer than 36 bytes");
	if (words->tag)
		strcpy(ret_call->tag, words->tag);
	fill_window(words, ret_call);
}

/* From the root, as the daemon stands elsewhere; the socket itself need not be there. */
static errint_t resolve_socket(const char *path, const struct stat *mount, char *ret_path,
			       size_t size)
{
	CLEANUP_FREE char *copy = strdup(path);
	CLEANUP_FREE char *folder = NULL;
	char *slash = copy ? strrchr(copy, '/') : NULL;
	const char *name = slash ? slash + 1 : path;
	struct stat st;
	int length;

	if (slash)
		*slash = '\0';
	folder = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
	if (!folder || stat(folder, &st))
		return -errno;
	/* its daemon would wait for itself */
	if (st.st_dev == mount->st_dev)
		return -ELOOP;
	length = snprintf(ret_path, size, "%s/%s", strcmp(folder, "/") ? folder : "", name);
	return !*name || length > 107 ? -ENAMETOOLONG : 0;
}

static const char *advice_of(int err)
{
	switch (err) {
	case -EPERM:
	case -EACCES:
		return "run as root of the host, or as the mount's owner";
	case -EEXIST:
		return "an export has this socket or tag already: see daxfuse status";
	case -EADDRINUSE:
		return "something lies at the socket's path, or listens there";
	case -ELOOP:
		return "the socket must not lie on the mount itself: try /run";
	case -ENAMETOOLONG:
		return "a socket's path has 107 bytes at most";
	case -ENOENT:
		return "see daxfuse status for what is exported";
	case -ERANGE:
		return "a window of QEMU or crosvm is a power of two; QEMU takes 512M at most";
	case -EROFS:
		return "QEMU maps all of a window for writing, so neither mount nor export may be "
		       "read-only";
	case -EINVAL:
		return "a window has a multiple of 2M; paths and tags have no control characters";
	case -ENOTTY:
		return "the running daemon is of an older release: daxfuse restart";
	}
	return "";
}

static errint_t export(const char *mountpoint, const struct words *words,
		       struct dxf_ioc_export *call)
{
	CLEANUP_FD int mount = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_FD int fd = mount < 0 ? -1
				      : openat(mount, words->subdir ? words->subdir : ".",
					       O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st, of_directory;
	int err;

	if (fd < 0 || fstat(mount, &st) || fstat(fd, &of_directory))
		return -errno;
	if (st.st_dev != of_directory.st_dev)
		return -EXDEV;
	err = resolve_socket(words->socket, &st, call->socket, sizeof(call->socket));
	if (!err && ioctl(fd, DXF_IOC_EXPORT, call) < 0)
		err = -errno;
	return err;
}

static void read_words(int argc, char **argv, struct words *words)
{
	int code;

	while ((code = command_next(&command, argc, argv)) >= 0) {
		switch (code) {
		case 's':
			words->socket = optarg;
			break;
		case 't':
			words->tag = optarg;
			break;
		case 'd':
			words->subdir = optarg;
			break;
		case 'c':
			words->cache = optarg;
			break;
		case 'w':
			words->window = optarg;
			break;
		case 'v':
			words->vmm = optarg;
			break;
		case 'r':
			words->read_only = true;
			break;
		default:
			words->remove = true;
		}
	}
	if (!words->socket)
		command_misused(&command, "--socket is missing");
	if (!words->remove && (!words->tag || !*words->tag))
		command_misused(&command, "--tag is missing");
	command_operands(&command, argc, 1, 1);
}

int export_main(int argc, char **argv)
{
	struct words words = { 0 };
	struct dxf_ioc_export call;
	char device[4096];
	int err;

	read_words(argc, argv, &words);
	fill_call(&words, &call);
	if (mounts_find_mountpoint(argv[optind], device, sizeof(device))) {
		report_failure("daxfuse", argv[optind], 0, "is not a mount of daxfuse",
			       "findmnt -t fuse.daxfuse shows the mounts");
		return 1;
	}
	err = export(argv[optind], &words, &call);
	if (err)
		report_failure("daxfuse", argv[optind], err,
			       words.remove ? "the export cannot be removed" : "cannot be exported",
			       advice_of(err));
	return err ? 1 : 0;
}
