/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The supervisor: the parent of the serving process, which holds its descriptors and its memory,
 * and starts the next one. It reads no request and maps no byte of the pool. Its rules:
 *
 * - A serving process that ends with status 0 has unmounted: that is the end.
 * - With KEPT_EXIT_RESTART it wants to be replaced by the binary that is installed now.
 * - Before the mount was usable for the first time, any other status is a refusal
 *   (it has said why); it is handed on.
 * - The installed binary may be broken, or not fit the kept memory, though nobody asked for it:
 *   after a failure our own program has its turn, after the next one the other.
 * - Everything else is a death: the next one is started at once, until there is no sense in it
 *   (lives.h). Then every request is answered with EIO, until the mount is gone.
 */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/base/cleanup.h"
#include "attach.h"
#include "giveup.h"
#include "kept.h"
#include "log.h"
#include "places.h"
#include "daxfuse/base/errint.h"

enum {
	START_TRIES = 600, /* with PAUSE between them */
	PAUSE = 50000000,  /* ns */
	EXIT_MOUNT = 32,
};
static const char own_program[] = "/proc/self/exe";

struct watch {
	const struct supervisor *what;
	struct kept *kept;
	struct kept_fds fds;
	int mounted; /* of /dev/fuse; -1: not found yet */
	int signals; /* a signalfd */
	int ready;   /* our end; -1: has said it */
	pid_t child;
	struct lives lives;
	bool usable; /* one of them has served */
	int stop;    /* the signal that asked for the end, which may meet no child; or 0 */
};

/* The descriptor of /dev/fuse that is mounted, or -1. It stays open: when it is
 * needed there may be no room for another one. */
static int mounted_fd(struct watch *k)
{
	if (k->mounted < 0)
		k->mounted = attach_find(&k->fds);
	if (k->mounted < 0 && k->fds.fuse >= 0 && attach_look(k->fds.fuse) != ATTACH_NEVER)
		k->mounted = k->fds.fuse;
	return k->mounted;
}

static bool is_mounted(struct watch *k)
{
	int fd = mounted_fd(k);

	return fd >= 0 && attach_look(fd) == ATTACH_MOUNTED;
}

/* ---- the serving process ------------------------------------------------------ */

/* Whether the installed program is the next one. If its path leads through the mount,
 * only the process that is to come could answer there. */
static bool is_installed_next(const struct watch *k)
{
	size_t length = strlen(k->what->config.mountpoint);

	return k->lives.failures % 2 == 0 &&
	       (strncmp(k->kept->binary, k->what->config.mountpoint, length) ||
		k->kept->binary[length] != '/');
}

/* In the child. A crash is to leave a core, as far as the limits allow. */
static void become_server(const struct watch *k, int ready)
{
	struct kept_fds fds = k->fds;
	struct rlimit limit;
	sigset_t set;

	fds.ready = ready;
	/* the others stay blocked: it takes them when it can */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	if (getrlimit(RLIMIT_CORE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_CORE, &limit);
	}
	if (kept_export(&fds) == 0) {
		if (is_installed_next(k))
			execv(k->kept->binary, k->what->argv);
		execv(own_program, k->what->argv);
	}
	log_error("daxfuse: %s: cannot be started: %s\n", k->kept->binary, strerror(errno));
	_exit(EXIT_MOUNT);
}

static void pause_once(void)
{
	const struct timespec pause = { .tv_nsec = PAUSE };

	nanosleep(&pause, NULL);
}

static errint_t try_to_start(struct watch *k)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	lives_start(&k->lives);
	fflush(NULL);
	k->kept->starts++;
	k->child = fork();
	if (k->child < 0) {
		int err = -errno;

		k->kept->starts--;
		close(ends[0]);
		close(ends[1]);
		return err;
	}
	if (k->child == 0)
		become_server(k, ends[1]);
	close(ends[1]);
	k->ready = ends[0];
	if (k->stop)
		kill(k->child, k->stop);
	return 0;
}

/* Once it is mounted, programs wait: the system may soon have enough again. */
static errint_t start_server(struct watch *k)
{
	int err = try_to_start(k);

	if (err)
		log_error("daxfuse: %s: no process: %s\n", k->what->config.device, strerror(-err));
	for (unsigned i = 0; err && k->usable && i < START_TRIES; i++) {
		pause_once();
		err = try_to_start(k);
	}
	return err;
}

static void take_ready(struct watch *k)
{
	char byte;

	k->lives.serves = read(k->ready, &byte, 1) == 1;
	if (k->lives.serves && !k->usable) {
		k->usable = true;
		mounted_fd(k);
		k->what->ready();
	}
	close(k->ready);
	k->ready = -1;
}

/* Until the child has ended; its wait status. It is reaped here: its calls to the kernel are over
 * then. */
static int wait_for_child(struct watch *k)
{
	for (;;) {
		struct pollfd fds[] = { { k->signals, POLLIN, 0 }, { k->ready, POLLIN, 0 } };
		struct signalfd_siginfo info;
		int status;

		if (poll(fds, 2, -1) < 0) {
			pause_once(); /* no memory? There must not be two that serve */
			continue;
		}
		if (k->ready >= 0 && fds[1].revents)
			take_ready(k);
		if (!(fds[0].revents & POLLIN) ||
		    read(k->signals, &info, sizeof(info)) != sizeof(info))
			continue;
		if (info.ssi_signo != SIGCHLD) {
			k->stop = (int)info.ssi_signo;
			kill(k->child, k->stop);
		} else if (waitpid(k->child, &status, WNOHANG) == k->child) {
			return status;
		}
	}
}

/* ---- its death ---------------------------------------------------------------- */

/* Write down why, for status and the log. */
static void note_death(struct watch *k, int status)
{
	struct kept *kept = k->kept;
	struct timespec now;
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;

	clock_gettime(CLOCK_REALTIME, &now);
	if (WIFSIGNALED(status))
		snprintf(kept->last_reason, sizeof(kept->last_reason), "killed by signal %d (%s)%s",
			 WTERMSIG(status), strsignal(WTERMSIG(status)),
			 WCOREDUMP(status) ? ", core dumped" : "");
	else
		snprintf(kept->last_reason, sizeof(kept->last_reason), "exit status %d",
			 WEXITSTATUS(status));
	kept->last_death = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	kept->deaths++;
	kept->crashed = !killed;
	lives_died(&k->lives, killed);
	log_error("daxfuse: %s on %s: the serving process %d ended: %s; %s\n",
		  k->what->config.device, k->what->config.mountpoint, (int)k->child,
		  kept->last_reason,
		  lives_are_hopeless(&k->lives) ? "it is given up" : "it is started again");
}

/* ---- giving up ---------------------------------------------------------------- */

static struct place place_of(const struct watch *k)
{
	return (struct place){ k->what->config.mountpoint, k->kept->number };
}

/* Nothing is left that could answer, or be unmounted. */
static int give_up_guests(struct watch *k)
{
	log_error("daxfuse: %s: no process can serve, the last one: %s; its guests get no answers "
		  "any more\n"
		  "nothing that was acknowledged is lost; stop these guests, see the log and the "
		  "cores, check the pool (fsck.daxfuse -n %s), and start it again\n",
		  k->what->config.device, k->kept->last_reason, k->what->config.device);
	kept_give_up(&k->fds);
	return EXIT_MOUNT;
}

static int give_up(struct watch *k)
{
	int fd = mounted_fd(k);

	if (k->kept->no_mount)
		return give_up_guests(k);
	if (fd < 0)
		return EXIT_MOUNT;
	log_error(
		"daxfuse: %s: no process can serve, the last one: %s; the mount %s answers EIO "
		"from now on\n"
		"nothing that was acknowledged is lost; unmount it (umount -l %s), see the log and "
		"the cores, check the pool (fsck.daxfuse -n %s), and mount it again\n",
		k->what->config.device, k->kept->last_reason, k->what->config.mountpoint,
		k->what->config.mountpoint, k->what->config.device);
	kept_give_up(&k->fds);
	giveup_answer(&(struct giveup){ fd, k->signals, place_of(k), k->stop });
	return EXIT_MOUNT;
}

/* The first failure may have been an accident; many need not come all at once. */
static void pause_between(unsigned failures)
{
	for (unsigned i = 1; i < failures; i++)
		pause_once();
}

/* ---- all ---------------------------------------------------------------------- */

/* Before the mount was usable: a process that refuses to serve may have mounted it. */
static int refuse_mount(struct watch *k, int status)
{
	const struct place place = place_of(k);

	if (status && is_mounted(k))
		giveup_detach(&place);
	return status;
}

static int keep_serving(struct watch *k)
{
	for (;;) {
		int status, err = start_server(k);

		if (err)
			return k->usable ? give_up(k) : EXIT_MOUNT;
		status = wait_for_child(k);
		if (k->ready >= 0)
			take_ready(k);
		if (WIFEXITED(status) && WEXITSTATUS(status) == KEPT_EXIT_RESTART) {
			k->kept->crashed = false;
			continue;
		}
		if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || !k->usable))
			return refuse_mount(k, WEXITSTATUS(status));
		if (k->usable && !k->kept->no_mount && !is_mounted(k))
			return 0;
		note_death(k, status);
		if (lives_are_hopeless(&k->lives))
			return give_up(k);
		pause_between(k->lives.failures);
	}
}

int supervisor_run(const struct supervisor *supervisor)
{
	struct watch k = {
		.what = supervisor,
		.fds = KEPT_FDS_NONE,
		.mounted = -1,
		.ready = -1,
	};
	sigset_t set;
	int err = kept_open(&supervisor->config, &k.fds, &k.kept);

	if (!err) {
		k.kept->supervisor = (uint32_t)getpid();
		giveup_signals(&set);
		sigprocmask(SIG_BLOCK, &set, NULL);
		k.signals = signalfd(-1, &set, SFD_CLOEXEC);
		err = k.signals < 0 ? -errno : 0;
	}
	if (err) {
		log_error("daxfuse: %s: cannot be supervised: %s\n", supervisor->config.device,
			  strerror(-err));
		return EXIT_MOUNT;
	}
	return keep_serving(&k);
}
