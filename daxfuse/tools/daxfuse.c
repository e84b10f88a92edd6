/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one program: `daxfuse COMMAND ...` or, as mount helpers are called,
 * `daxfuse DEVICE MOUNTPOINT [-o OPTIONS]`. The first word decides: a command's
 * name is never taken for a device (name one "./list" if you must).
 */
#include <stdio.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/daemon/daemon.h"
#include "command.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
} commands[] = {
	{ "list", list_main, "devices of this machine, and what to do with them" },
	{ "probe", probe_main, "what lies on a device or image" },
	{ "status", status_main, "the state of a mount" },
	{ "map", map_main, "where the bytes of a file lie on the device" },
	{ "quota", quota_main, "limits of projects" },
	{ "volume", volume_main, "folders with a size of their own, for containers" },
	{ "volumes", volumes_main, "the volume plugin of Docker and Podman" },
	{ "label", label_main, "show or set a pool's label" },
	{ "dump", dump_main, "any object of a pool that is not mounted" },
	{ "realign", realign_main, "gather large files into whole units" },
	{ "restart", restart_main, "replace the daemon of a mount by the installed one" },
	{ "export", export_main, "a directory of a mount for virtual machines" },
	{ "run", run_main, "a program with mappings of the device itself" },
	{ "watch", watch_main, "what changes on a mount, for backup and replication" },
	{ "umount", umount_main, "unmount, and wait for the daemon" },
};

static void print_commands(void)
{
	printf("\ncommands (daxfuse COMMAND --help tells more):\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-8s %s\n", commands[i].name, commands[i].summary);
	printf("\nmkfs.daxfuse makes a pool, fsck.daxfuse checks one.\n");
}

static bool wants_help(int argc, char **argv)
{
	return argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"));
}

int main(int argc, char **argv)
{
	int status;

	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	}
	status = daemon_main(argc, argv);
	if (wants_help(argc, argv))
		print_commands();
	return status;
}
