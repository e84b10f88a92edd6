/* SPDX-License-Identifier: BSD-3-Clause */
/* daxfuse run: a program whose mappings of files on a mount are those of the device. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "command.h"
#include "report.h"
#include "daxfuse/base/errint.h"

enum { OPTION_VERBOSE = 'v' };

static const struct command_option options[] = {
	{ OPTION_VERBOSE, "verbose", NULL, "have a line printed for each mapping when it ends" },
	{ 0 },
};

static const struct command command = {
	.name = "daxfuse run",
	.usage = "[--] PROGRAM [ARGUMENTS]",
	.summary =
		"Run a program whose shared mappings of files on a mount are mappings of the device.",
	.options = options,
	.details = "By LD_PRELOAD: programs that are static or set-user-ID are not changed. Files\n"
		   "that can't be mapped directly are mapped by the kernel, as ever; -v says why.",
	.usage_status = 1,
};

/* Beside the binary as it was built, or as it is installed. */
static char *find_preload(void)
{
	static const char *const places[] = { "../lib", DAXFUSE_LIBDIR_FROM_BIN "/daxfuse" };
	char self[PATH_MAX], path[PATH_MAX + 64], *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n < 0 ? 0 : n] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return NULL;
	*slash = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		snprintf(path, sizeof(path), "%s/%s/libdaxmap-preload.so", self, places[i]);
		if (!access(path, R_OK))
			return realpath(path, NULL);
	}
	return NULL;
}

static errint_t set_preload(const char *preload)
{
	const char *before = getenv("LD_PRELOAD");
	CLEANUP_FREE char *value = NULL;

	if (asprintf(&value, "%s%s%s", preload, before && *before ? ":" : "",
		     before ? before : "") < 0)
		return -ENOMEM;
	return setenv("LD_PRELOAD", value, 1) ? -errno : 0;
}

/*
 * A program built with AddressSanitizer's shared runtime ends at once if another library stands
 * before that. Ours may: the calls that it takes go on to the runtime's own functions. Said by the
 * environment, as it is for the program's children, too, which may be built so when it is not.
 */
static errint_t allow_before_asan(void)
{
	static const char option[] = "verify_asan_link_order";
	const char *before = getenv("ASAN_OPTIONS");
	CLEANUP_FREE char *value = NULL;

	if (before && strstr(before, option))
		return 0;
	if (asprintf(&value, "%s%s%s=0", before ? before : "", before && *before ? ":" : "",
		     option) < 0)
		return -ENOMEM;
	return setenv("ASAN_OPTIONS", value, 1) ? -errno : 0;
}

/* The program's own options are not ours: the first operand ends them. */
static void parse(int argc, char **argv)
{
	bool strict = getenv("POSIXLY_CORRECT");

	setenv("POSIXLY_CORRECT", "1", 1);
	while (command_next(&command, argc, argv) == OPTION_VERBOSE)
		setenv("DAXMAP_VERBOSE", "1", 1);
	if (!strict)
		unsetenv("POSIXLY_CORRECT");
}

int run_main(int argc, char **argv)
{
	CLEANUP_FREE char *preload = NULL;
	int err;

	parse(argc, argv);
	if (optind >= argc)
		command_misused(&command, "which program?");
	preload = find_preload();
	err = preload ? set_preload(preload) : -ENOENT;
	if (!err)
		err = allow_before_asan();
	if (err) {
		report_failure("daxfuse", "libdaxmap-preload.so", err, "cannot be used",
			       "it is installed in the library folder beside the program's");
		return 127;
	}
	execvp(argv[optind], argv + optind);
	err = -errno;
	report_failure("daxfuse", argv[optind], err, "cannot be run", NULL);
	return err == -ENOENT ? 127 : 126;
}
