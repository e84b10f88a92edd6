/* SPDX-License-Identifier: BSD-3-Clause */
/* daxfuse volumes: the volume plugin is a program of its own, beside this one (volumes.c). */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "report.h"

int volumes_main(int argc, char **argv)
{
	char path[PATH_MAX + 16];
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	char *slash;

	path[n < 0 ? 0 : n] = '\0';
	slash = strrchr(path, '/');
	strcpy(slash ? slash + 1 : path, "daxfuse-volumes");
	execv(path, argv);
	report_failure("daxfuse", path, -errno, "cannot be executed",
		       "it is installed with daxfuse");
	return 1;
}
