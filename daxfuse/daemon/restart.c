/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An upgrade must not find out that it is impossible when the old process has ended. So the old one
 * starts the new binary first, with the same command line and the kept memory, and has it say
 * whether it understands both.
 */
#include "restart.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "state.h"
#include "daxfuse/base/errint.h"

enum { CHECK_SECONDS = 5 };

static const char check_variable[] = "DAXFUSE_RESTART_CHECK";
static const char agreed[] = "daxfuse: can take over\n";

/* ---- the kernel --------------------------------------------------------------- */

/* FUSE_NOTIFY_RESEND came with 6.9; a use after free in it was mended in the
 * releases named here, and in everything after the last one. */
static bool has_safe_resend(unsigned major, unsigned minor, unsigned patch)
{
	static const struct {
		unsigned major, minor, patch;
	} mended[] = { { 6, 12, 96 }, { 6, 18, 39 }, { 7, 1, 4 } };

	for (size_t i = 0; i < ARRAY_SIZE(mended); i++) {
		if (major == mended[i].major && minor == mended[i].minor)
			return patch >= mended[i].patch;
	}
	return major > 7 || (major == 7 && minor > 1);
}

bool restart_is_safe(char *ret_reason, size_t size)
{
	unsigned major = 0, minor = 0, patch = 0;
	struct utsname name;

	if (uname(&name) == 0)
		sscanf(name.release, "%u.%u.%u", &major, &minor, &patch);
	if (has_safe_resend(major, minor, patch))
		return true;
	snprintf(ret_reason, size,
		 "the kernel's resending of requests is missing or not safe "
		 "before 6.12.96, 6.18.39 and 7.1.4; -o keeper=supervisor uses it all the same");
	return false;
}

bool restart_has_keeper(const struct daemon *d)
{
	return d->kept &&
	       (d->options->keeper == KEEPER_SYSTEMD || (pid_t)d->kept->supervisor == getppid());
}

/* ---- the next binary ----------------------------------------------------------- */

void restart_describe(const struct daemon *d)
{
	const struct dxf_super *super = fs_super(d->fs);

	d->kept->pool_version = super->version;
	d->kept->pool_incompat = super->incompat;
	d->kept->pool_ro_compat = super->ro_compat;
}

bool restart_is_check(void)
{
	return getenv(check_variable) != NULL;
}

static const char *objection(const struct options *options, const struct kept *kept)
{
	if (options->io_uring || options->clone_fd || options->keeper == KEEPER_NONE)
		return "is not restartable with these options";
	if (kept->pool_version != DXF_VERSION || (kept->pool_incompat & ~DXF_INCOMPAT_KNOWN) ||
	    (!options->fs.read_only && (kept->pool_ro_compat & ~DXF_RO_COMPAT_KNOWN)))
		return "does not know the format of this pool";
	if (kept->session.capabilities & ~transport_capabilities())
		return "does not know what was agreed with the kernel at mount";
	if (kept->export_layout && kept->export_layout != exports_layout())
		return "keeps exports in another way: remove them first";
	return NULL;
}

const char *restart_objection(const struct options *options, const struct kept *kept)
{
	struct options now = *options;

	if (!kept)
		return "does not understand what the running one has kept";
	kept_remounted(kept, &now.fs);
	return objection(&now, kept);
}

int restart_check(const struct options *options)
{
	struct kept *kept = NULL;
	const char *no;

	kept_map(atoi(getenv(check_variable)), &kept);
	no = restart_objection(options, kept);
	printf("%s%s", no ? no : agreed, no ? "\n" : "");
	return no ? 1 : 0;
}

/* In a child: the next binary, with the kept memory as its descriptor 3. */
static void run_check(const struct daemon *d, const char *binary, int memory, int out)
{
	setpgid(0, 0);
	dup2(out, 1);
	dup2(out, 2);
	if (memory != 3)
		dup2(memory, 3); /* without close-on-exec */
	else
		fcntl(3, F_SETFD, 0);
	close_range(4, ~0U, 0);
	setenv(check_variable, "3", 1);
	execv(binary, d->argv);
	_exit(127);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* All that comes until its end, or until there is no room, or no time. */
static void hear_text(int fd, int64_t end, char *ret_text, size_t size)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	size_t used = 0;
	ssize_t n = 1;

	while (n > 0 && used < size - 1 && poll(&poll_fd, 1, (int)MAX(end - now_ms(), 0)) > 0) {
		n = read(fd, ret_text + used, size - 1 - used);
		used += n > 0 ? (size_t)n : 0;
	}
	ret_text[used] = '\0';
}

/* False: it has not ended in time. */
static bool hear_end(pid_t child, int64_t end, int *ret_status)
{
	const struct timespec pause = { .tv_nsec = 2000000 };

	for (;;) {
		pid_t ended = waitpid(child, ret_status, WNOHANG);

		if (ended == child)
			return true;
		if ((ended < 0 && errno != EINTR) || now_ms() >= end)
			return false;
		nanosleep(&pause, NULL);
	}
}

/*
 * What it says, one line; its wait status. It may hang, or what it was started from may: then it is
 * killed, with all that it has started, and not waited for. -ETIMEDOUT.
 */
static errint_t hear(int fd, pid_t child, char *ret_text, size_t size, int *ret_status)
{
	int64_t end = now_ms() + CHECK_SECONDS * 1000;
	bool ended;

	hear_text(fd, end, ret_text, size);
	/* a binary that says too much is not to be taken for one that hangs */
	ended = strlen(ret_text) < size - 1 && hear_end(child, end, ret_status);
	kill(-child, SIGKILL);
	if (ended)
		return 0;
	end = now_ms() + CHECK_SECONDS * 100;
	return hear_end(child, end, ret_status) && strlen(ret_text) == size - 1 ? 0 : -ETIMEDOUT;
}

errint_t restart_prepare(void *daemon, char *ret_reason, size_t size)
{
	const struct daemon *d = daemon;
	CLEANUP_FD int in = -1, out = -1;
	const char *binary = d->kept ? d->kept->binary : "";
	char text[256];
	int ends[2], status;
	pid_t child;

	if (!restart_has_keeper(d)) {
		snprintf(ret_reason, size, "has no keeper (any more), it dies with its daemon");
		return -EOPNOTSUPP;
	}
	if (!exports_are_kept(d->exports)) {
		snprintf(ret_reason, size, "has exports that cannot be kept: remove them first");
		return -EBUSY;
	}
	restart_describe(d); /* what the pool is may have changed since it was mounted */
	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	in = ends[0];
	out = ends[1];
	child = fork();
	if (child < 0)
		return -errno;
	if (child == 0)
		run_check(d, binary, d->fds.memory, out);
	setpgid(child, child); /* the first one counts */
	close(TAKE_FD(out));
	if (hear(in, child, text, sizeof(text), &status)) {
		snprintf(ret_reason, size, "%.200s says nothing for %d seconds", binary,
			 CHECK_SECONDS);
		return -ETIMEDOUT;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && !strcmp(text, agreed))
		return 0;
	text[strcspn(text, "\n")] = '\0';
	snprintf(ret_reason, size, "%.200s %.200s", binary,
		 WIFEXITED(status) && WEXITSTATUS(status) == 127 ? "cannot be executed"
		 : *text                                         ? text
			 : "does not answer as a daxfuse should");
	return -EOPNOTSUPP;
}

void restart_now(void *daemon)
{
	struct daemon *d = daemon;

	atomic_store_explicit(&d->replace, true, memory_order_relaxed);
	exports_pause(d->exports);
	transport_stop(d->transport, true);
}
