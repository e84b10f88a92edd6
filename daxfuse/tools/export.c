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

#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/daemon/admin.h"
#include "daxfuse/daemon/export_words.h"
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
	.usage = "MOUNTPOINT|DEVICE",
	.summary =
		"A directory of a mount as a virtiofs device of virtual machines; of a DEVICE that is served without a "
		"mount, too.",
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

static void set_word(struct export_words *said, const char *name, const char *value)
{
	const char *wrong = value ? export_words_set(said, name, value) : NULL;

	if (wrong)
		command_misused(&command, "--%s %s: %s", name, value, wrong);
}

static void fill_call(const struct words *words, struct export_words *ret_said)
{
	*ret_said = (struct export_words){
		.call.what = words->remove ? DXF_EXPORT_REMOVE : DXF_EXPORT_ADD,
		.call.read_only = words->read_only,
		.directory = ".",
	};
	set_word(ret_said, "tag", words->tag);
	set_word(ret_said, "subdir", words->subdir);
	set_word(ret_said, "cache", words->cache);
	set_word(ret_said, "window", words->window);
	set_word(ret_said, "vmm", words->vmm);
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
	if (mount && st.st_dev == mount->st_dev)
		return -ELOOP;
	length = snprintf(ret_path, size, "%s/%s", strcmp(folder, "/") ? folder : "", name);
	return !*name || length > 107 ? -ENAMETOOLONG : 0;
}

static errint_t export(const char *mountpoint, const char *socket, struct export_words *said)
{
	CLEANUP_FD int mount = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_FD int fd =
		mount < 0 ? -1 : openat(mount, said->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st, of_directory;
	int err;

	if (fd < 0 || fstat(mount, &st) || fstat(fd, &of_directory))
		return -errno;
	if (st.st_dev != of_directory.st_dev)
		return -EXDEV;
	err = resolve_socket(socket, &st, said->call.socket, sizeof(said->call.socket));
	if (!err && ioctl(fd, DXF_IOC_EXPORT, &said->call) < 0)
		err = -errno;
	return err;
}

/* The daemon of this device has no mount. */
static errint_t export_without_mount(const char *device, const char *socket,
				     struct export_words *said)
{
	int err = resolve_socket(socket, NULL, said->call.socket, sizeof(said->call.socket));

	return err ? err : admin_call(device, DXF_IOC_EXPORT, said->directory, &said->call);
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
	struct export_words said;
	char device[4096];
	bool mounted;
	int err;

	read_words(argc, argv, &words);
	fill_call(&words, &said);
	mounted = !mounts_find_mountpoint(argv[optind], device, sizeof(device));
	if (!mounted && !admin_is_there(argv[optind])) {
		report_failure("daxfuse", argv[optind], 0,
			       "is not a mount of daxfuse, nor a device that it serves without",
			       "daxfuse status shows all");
		return 1;
	}
	err = mounted ? export(argv[optind], words.socket, &said)
		      : export_without_mount(argv[optind], words.socket, &said);
	if (err)
		report_failure("daxfuse", argv[optind], err,
			       words.remove ? "the export cannot be removed" : "cannot be exported",
			       export_words_advice(&said.call, err));
	return err ? 1 : 0;
}
