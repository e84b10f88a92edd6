/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's life. The process that was called forks first; the child opens
 * the device (whose lock is then its own), mounts the pool and serves; the
 * parent waits on a pipe for the exit status, which comes when the kernel has
 * greeted the child, that is when the mount is usable. If the child dies before,
 * the pipe closes, and that is a failure.
 *
 * SIGTERM and SIGINT unmount. Loops keep serving meanwhile, since unmounting
 * writes back what was stored through mappings; if the mount is busy, it is
 * detached and those who still use it get ENOTCONN.
 */
#include "daxfuse/fuse/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/fuse/deferred.h"
#include "daxfuse/fuse/log.h"
#include "daxfuse/fuse/outside.h"
#include "daxfuse/fuse/session.h"
#include "daxfuse/fuse/state.h"

enum { EXIT_USAGE = 1, EXIT_MOUNT = 32, BUSY_TRIES = 40 };

static int ready_fd = -1; /* the parent waits at its other end */

static void complain(const char *device, const char *what, int err, const char *advice)
{
	log_error("daxfuse: %s: %s%s%s\n", device, what, err ? ": " : "",
		  err ? strerror(-err) : "");
	if (advice && *advice)
		log_error("%s\n", advice);
}

/* ---- being ready ------------------------------------------------------------ */

static void detach_stdio(void)
{
	CLEANUP_FD int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; fd >= 0 && i < 3; i++)
		dup2(fd, i);
}

static void tell_parent(int status)
{
	char byte = (char)status;
	ssize_t n;

	if (ready_fd < 0)
		return;
	n = write(ready_fd, &byte, 1);
	(void)n; /* the parent may have been killed; the mount is as good */
	close(ready_fd);
	ready_fd = -1;
}

static void be_ready(void)
{
	if (ready_fd < 0)
		return;
	log_to_syslog();
	detach_stdio();
	tell_parent(0);
}

/* ---- signals ---------------------------------------------------------------- */

static void stop_signals(sigset_t *ret_set)
{
	sigemptyset(ret_set);
	sigaddset(ret_set, SIGTERM);
	sigaddset(ret_set, SIGINT);
	sigaddset(ret_set, SIGHUP);
	sigaddset(ret_set, SIGUSR1); /* ours: never mind, the mount is gone */
}

/* The thread beside those that serve. */
static void *wait_for_signal(void *arg)
{
	struct state *s = arg;
	sigset_t set;
	int number;

	outside_set_readahead(s);
	stop_signals(&set);
	if (sigwait(&set, &number) || number == SIGUSR1)
		return NULL;
	if (outside_unmount(s))
		fuse_session_exit(s->se); /* session_close() detaches it */
	return NULL;
}

/* ---- serving ---------------------------------------------------------------- */

/* umount(8) returns before the daemon has let go of the device, so one that is
 * busy is given a moment. */
static int open_device(struct state *s, struct device_error *ret_error)
{
	unsigned access = s->options->fs.read_only ? DEVICE_READ : DEVICE_WRITE;
	const struct timespec pause = { .tv_nsec = 50000000 };
	int err;

	for (int i = 0; i < BUSY_TRIES; i++) {
		*ret_error = (struct device_error){ 0 };
		err = device_open(s->device, access, &s->dev, ret_error);
		if (err != -EBUSY)
			break;
		nanosleep(&pause, NULL);
	}
	return err;
}

static int open_pool(struct state *s)
{
	struct device_error error;
	struct pmem *pm;
	int err = open_device(s, &error);

	if (!err)
		err = device_map(s->dev, &pm, &error);
	if (err) {
		complain(s->device, error.what[0] ? error.what : "cannot be opened", err,
			 error.advice);
		return err;
	}
	err = pmem_poison_init();
	if (!err)
		err = fs_mount(pm, &s->options->fs, &s->fs, &s->report);
	if (err)
		complain(s->device,
			 s->report.what[0] ? s->report.what : "the pool cannot be mounted", err,
			 s->report.advice);
	return err;
}

static int mount_session(struct state *s)
{
	int err = session_mount(s);

	if (err) {
		const char *reason = log_held_back();

		log_error("daxfuse: %s: cannot be mounted on %s: %s\n", s->device, s->mountpoint,
			  *reason ? reason : strerror(-err));
		log_error("%s\n", geteuid() == 0 ?
			  "is there /dev/fuse? modprobe fuse loads it" :
			  "users need fusermount3 (Debian: apt install fuse3) and a folder of "
			  "their own");
		return err;
	}
	err = deferred_start(s, &s->deferred);
	if (err)
		complain(s->device, "no thread", err, NULL);
	return err;
}

static int serve(struct state *s)
{
	pthread_t signals;
	sigset_t set;
	int err;

	stop_signals(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	err = mount_session(s);
	if (err)
		return err;
	err = -pthread_create(&signals, NULL, wait_for_signal, s);
	if (err) {
		complain(s->device, "no thread", err, NULL);
		return err;
	}
	if (s->report.replayed || s->report.orphans)
		log_info("daxfuse: %s: recovered: %u records, %llu orphans\n", s->device,
			 s->report.replayed, (unsigned long long)s->report.orphans);
	if (s->report.spare_super)
		log_error("daxfuse: %s: the first superblock is damaged, the second one is used\n"
			  "repair it when it is unmounted: fsck.daxfuse -y %s\n",
			  s->device, s->device);
	err = session_serve(s);
	pthread_kill(signals, SIGUSR1);
	pthread_join(signals, NULL);
	if (err)
		complain(s->device, "serving ended", err, NULL);
	return err;
}

/* The whole life of the serving process; its exit status. */
static int live(struct state *s)
{
	int err = open_pool(s);

	if (!err)
		err = serve(s);
	/* its thread uses the session */
	deferred_stop(s->deferred);
	session_close(s);
	if (s->fs)
		fs_unmount(s->fs);
	device_close(s->dev);
	tell_parent(err ? EXIT_MOUNT : 0);
	return err ? EXIT_MOUNT : 0;
}

/* In the parent: what the child says; in the child: -1. */
static int go_to_background(void)
{
	int ends[2];
	pid_t child;
	char status;
	ssize_t n;

	if (pipe2(ends, O_CLOEXEC))
		return EXIT_MOUNT;
	fflush(NULL);
	child = fork();
	if (child < 0) {
		perror("daxfuse: fork");
		return EXIT_MOUNT;
	}
	if (child == 0) {
		close(ends[0]);
		ready_fd = ends[1];
		setsid();
		return -1;
	}
	close(ends[1]);
	do {
		n = read(ends[0], &status, 1);
	} while (n < 0 && errno == EINTR);
	return n == 1 ? status : EXIT_MOUNT;
}

static int find_paths(const struct options *options, struct state *s)
{
	struct stat st;

	s->device = realpath(options->device, NULL);
	if (!s->device) {
		complain(options->device, "cannot be opened", -errno,
			 "see what there is: daxfuse list");
		return EXIT_MOUNT;
	}
	s->mountpoint = realpath(options->mountpoint, NULL);
	if (s->mountpoint && (stat(s->mountpoint, &st) || !S_ISDIR(st.st_mode))) {
		errno = ENOTDIR;
		free(s->mountpoint);
		s->mountpoint = NULL;
	}
	if (!s->mountpoint) {
		log_error("daxfuse: %s: cannot be mounted on %s: %s\n", s->device,
			  options->mountpoint, strerror(errno));
		log_error("it must be a folder: mkdir -p %s\n", options->mountpoint);
		return EXIT_MOUNT;
	}
	return 0;
}

static int run(const struct options *options)
{
	struct state s = { .options = options, .ready = be_ready };
	int status = find_paths(options, &s);

	if (!status && !options->fake) {
		status = options->foreground ? -1 : go_to_background();
		if (status < 0 && chdir("/"))
			status = EXIT_MOUNT;
		if (status < 0)
			status = live(&s);
	}
	free(s.device);
	free(s.mountpoint);
	return status;
}

int daemon_main(int argc, char **argv)
{
	struct options options;
	char error[256];

	log_init();
	if (options_parse(argc, argv, &options, error, sizeof(error))) {
		fprintf(stderr, "daxfuse: %s\nsee daxfuse --help\n", error);
		return EXIT_USAGE;
	}
	if (options.help) {
		options_print_help();
		return 0;
	}
	if (options.version) {
		printf("daxfuse %s (libfuse %s)\n", DAXFUSE_VERSION, fuse_pkgversion());
		return 0;
	}
	return run(&options);
}
