/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's life. The process that was called forks first and waits on a pipe
 * for the exit status, which comes when whoever serves answers the mount,
 * that is when the mount is usable. If the child dies before, the pipe closes,
 * and that is a failure.
 *
 * The child becomes the supervisor, which executes this program again, as the
 * serving process, as often as needed (supervisor.c); under systemd's fd store,
 * or without a keeper, it serves itself. Who serves opens the device, mounts the
 * pool, then mounts the session, or takes over the one that is there.
 *
 * SIGTERM and SIGINT unmount. Loops keep serving meanwhile, since unmounting
 * writes back what was stored through mappings; if the mount is busy, it is
 * detached and those who still use it get ENOTCONN.
 */
#include "daemon.h"

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
#include "daxfuse/clients/pins.h"
#include "daxfuse/media/geometry.h"
#include "again.h"
#include "control.h"
#include "deferred.h"
#include "log.h"
#include "notifier.h"
#include "outside.h"
#include "requests.h"
#include "restart.h"
#include "session.h"
#include "state.h"
#include "supervisor.h"
#include "systemd.h"

enum { EXIT_USAGE = 1, EXIT_MOUNT = 32, BUSY_TRIES = 40 };

static int ready_fd = -1; /* the parent waits at its other end */
static bool in_background;

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
	if (in_background) {
		log_to_syslog();
		detach_stdio();
	}
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

	outside_look(s);
	s->ready(); /* not before: whoever unmounts at once shall not find us looking */
	stop_signals(&set);
	if (sigwait(&set, &number) || number == SIGUSR1)
		return NULL;
	if (outside_unmount(s)) {
		outside_detach(s);
		deferred_end(s->deferred);
	}
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
		err = pool_open_device(s->device, s->fds.device, access, &s->dev, ret_error);
		if (err != -EBUSY)
			break;
		nanosleep(&pause, NULL);
	}
	return err;
}

/* By a thread that serves, of an inode that the kernel may be letting go of: not to wait here. */
static void trimmed(void *arg, uint64_t ino)
{
	const struct state *s = arg;

	deferred_forget_attributes(s->deferred, ino);
}

/*
 * Orphans of a mount that is taken over may be open still, and what programs have mapped
 * must not be given out.
 */
static struct fs_options pool_options(const struct state *s, struct fs_held *held, unsigned count)
{
	struct fs_options options = s->options->fs;

	options.keep_orphans = s->adopts;
	options.held = held;
	options.held_count = count;
	if (s->answers) {
		options.replayed = answers_replayed;
		options.replayed_arg = s->answers;
	}
	options.trimmed = trimmed;
	options.trimmed_arg = (void *)s;
	return options;
}

static int mount_pool(struct state *s, const struct pmem *pm)
{
	CLEANUP_FREE struct fs_held *held = NULL;
	struct fs_options options;
	unsigned count = 0;
	int err = s->pins ? pin_table_held(s->pins, &held, &count) : 0;

	if (err)
		return err;
	options = pool_options(s, held, count);
	return fs_mount(pm, &options, &s->fs, &s->report);
}

/* Attributes may be told of in a request; dropping pages may wait for write-back. */
static void forget(void *arg, uint64_t ino, bool data)
{
	struct state *s = arg;

	if (data)
		deferred_forget_pages(s->deferred, ino);
	else
		fuse_lowlevel_notify_inval_inode(s->se, ino_to_node(ino), -1, 0);
}

static bool reclaim(void *arg)
{
	struct state *s = arg;

	return deferred_drain(s->deferred);
}

static int open_vfs(struct state *s)
{
	const struct vfs_config config = {
		.fs = s->fs,
		.probe_lines = device_info(s->dev)->kind == DEVICE_DAX,
		.life = s->kept ? s->kept->starts : 1,
		.next_handle = s->pins ? &s->pins->next_handle : NULL,
		.transport = s,
		.forget = forget,
		.reclaim = reclaim,
	};

	s->needs_no_fsync = strcmp(device_granularity(s->dev), "cache_line") ||
			    s->options->direct.who == CLIENTS_NOBODY;
	return vfs_open(&config, &s->vfs);
}

/* Where programs connect: the keeper's socket, or our own. */
static int open_clients(struct state *s)
{
	struct clients_config config = {
		.vfs = s->vfs,
		.dev = s->dev,
		.policy = s->options->direct,
		.kept = s->pins,
	};

	if (s->kept)
		memcpy(s->socket, s->kept->socket, sizeof(s->socket));
	else
		s->fds.control = control_open(s->options, s->socket, sizeof(s->socket));
	config.socket = s->socket;
	config.listener = s->fds.control;
	return clients_open(&config, &s->clients);
}

static int complain_device(const struct state *s, int err, const struct device_error *error)
{
	complain(s->device, error->what[0] ? error->what : "cannot be opened", err, error->advice);
	return err;
}

/* The last process may have written still when the mount became read-only, and have been
 * killed: its last change is completed as at any mount. */
static int complete_last_change(struct state *s)
{
	struct fs_options options = s->options->fs;
	struct device_error error = { 0 };
	struct device *dev = NULL;
	struct fs *fs = NULL;
	struct pmem *pm;
	int err = pool_open_device(s->device, s->fds.device, DEVICE_WRITE, &dev, &error);

	options.read_only = false;
	options.keep_orphans = true;
	options.replayed = answers_replayed;
	options.replayed_arg = s->answers;
	if (!err)
		err = device_map(dev, &pm, &error);
	if (!err)
		err = fs_mount(pm, &options, &fs, NULL);
	fs_unmount(fs);
	device_close(dev);
	return err;
}

static int open_and_mount(struct state *s, struct device_error *ret_error)
{
	struct pmem *pm;
	int err = open_device(s, ret_error);

	if (!err)
		err = device_map(s->dev, &pm, ret_error);
	if (err)
		return err;
	err = mount_pool(s, pm);
	if (err != -EROFS || !s->kept || !s->kept->remounted || complete_last_change(s))
		return err;
	device_close(s->dev);
	s->dev = NULL;
	err = open_device(s, ret_error);
	if (!err)
		err = device_map(s->dev, &pm, ret_error);
	return err ? err : mount_pool(s, pm);
}

static int open_pool(struct state *s)
{
	struct device_error error = { 0 };
	int err = pmem_poison_init();

	if (!err)
		err = open_and_mount(s, &error);
	if (err && error.what[0])
		return complain_device(s, err, &error);
	if (err)
		complain(s->device,
			 s->report.what[0] ? s->report.what : "the pool cannot be mounted", err,
			 s->report.advice);
	if (!err)
		err = open_vfs(s);
	if (!err)
		err = open_clients(s);
	return err;
}

static int open_session(struct state *s)
{
	int err = session_open(s);

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
	/* a process first, then threads */
	err = notifier_start(fuse_session_fd(s->se), &s->notifier);
	if (!err)
		err = deferred_start(s, &s->deferred);
	if (err)
		complain(s->device, "no thread", err, NULL);
	return err;
}

static void report_recovery(const struct state *s)
{
	if (!s->adopts && (s->report.replayed || s->report.orphans))
		log_info("daxfuse: %s: recovered: %u records, %llu orphans\n", s->device,
			 s->report.replayed, (unsigned long long)s->report.orphans);
	if (s->report.spare_super)
		log_error("daxfuse: %s: the first superblock is damaged, the second one is used\n"
			  "repair it when it is unmounted: fsck.daxfuse -y %s\n",
			  s->device, s->device);
}

/* As SIGKILL would: the next process goes on with all that is left. Nothing is waited
 * for, as children and threads may wait for an answer that only that one gives. */
_Noreturn static void make_room(void)
{
	fflush(NULL);
	_exit(KEPT_EXIT_RESTART);
}

static int serve(struct state *s)
{
	pthread_t signals;
	sigset_t set;
	int err;

	stop_signals(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	err = open_session(s);
	if (!err)
		err = clients_serve(s->clients);
	if (err)
		return err;
	err = -pthread_create(&signals, NULL, wait_for_signal, s);
	if (err) {
		complain(s->device, "no thread", err, NULL);
		return err;
	}
	report_recovery(s);
	err = session_serve(s);
	if (!err && __atomic_load_n(&s->replace, __ATOMIC_RELAXED))
		make_room();
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

	if (!err && s->kept)
		restart_describe(s);
	if (!err)
		err = serve(s);
	deferred_stop(s->deferred, !err);
	notifier_stop(s->notifier);
	session_close(s);
	clients_close(s->clients);
	vfs_close(s->vfs);
	if (!err)
		control_remove(s->socket);
	if (s->fs)
		fs_unmount(s->fs);
	device_close(s->dev);
	if (!s->kept) /* a supervisor asks for the exit status */
		tell_parent(err ? EXIT_MOUNT : 0);
	return err ? EXIT_MOUNT : 0;
}

static int find_mountpoint(const struct options *options, struct state *s)
{
	struct stat st;

	s->mountpoint = realpath(options->mountpoint, NULL);
	if (s->mountpoint && (stat(s->mountpoint, &st) || !S_ISDIR(st.st_mode))) {
		errno = ENOTDIR;
		free(s->mountpoint);
		s->mountpoint = NULL;
	}
	if (s->mountpoint)
		return 0;
	log_error("daxfuse: %s: cannot be mounted on %s: %s\n", s->device, options->mountpoint,
		  strerror(errno));
	log_error("it must be a folder: mkdir -p %s\n", options->mountpoint);
	return EXIT_MOUNT;
}

static int find_paths(const struct options *options, struct state *s)
{
	s->device = realpath(options->device, NULL);
	if (!s->device && errno == ENOENT && options->no_fail)
		return 0;
	if (!s->device) {
		complain(options->device, "cannot be opened", -errno,
			 "see what there is: daxfuse list");
		return EXIT_MOUNT;
	}
	return find_mountpoint(options, s);
}

static void free_paths(struct state *s)
{
	free(s->device);
	free(s->mountpoint);
	s->device = s->mountpoint = NULL;
}

/* As the serving process of a mount that a keeper holds. Its paths are not to be
 * looked at: they may lead through the mount. */
static int live_kept(struct state *s)
{
	static struct vfs_answers answers;
	struct options options = *s->options;
	int status;

	kept_remounted(s->kept, &options.fs);
	s->options = &options;

	s->device = strdup(s->kept->device);
	s->mountpoint = strdup(s->kept->mountpoint);
	if (!s->device || !s->mountpoint)
		return EXIT_MOUNT;
	if (kept_map_pins(s->fds.memory, &s->pins))
		return EXIT_MOUNT;
	answers_open(&answers, s->kept->answer, s->kept->starts, s->kept->crashed);
	s->answers = &answers;
	s->adopts = session_is_mounted(s);
	status = live(s);
	answers_close(&answers);
	return status;
}

static int complain_kept(const struct state *s, int err)
{
	complain(s->options->device, "what the last process has kept cannot be used", err,
		 "unmount (umount -l) and mount again");
	return EXIT_MOUNT;
}

static int live_supervised(struct state *s)
{
	int err = kept_map(s->fds.memory, &s->kept);

	if (err)
		return complain_kept(s, err);
	ready_fd = s->fds.ready;
	in_background = !s->options->foreground;
	if (in_background && s->kept->starts > 1)
		log_to_syslog();
	return live_kept(s);
}

/* systemd starts us again itself; all it keeps comes back through the environment. The
 * unit is the same everywhere, so without a kernel for it the mount has no keeper. */
static int live_under_systemd(struct state *s)
{
	char reason[256];
	int err = 0, status;

	s->ready = systemd_ready;
	if (systemd_take(&s->fds)) {
		err = kept_map(s->fds.memory, &s->kept);
	} else {
		status = find_paths(s->options, s);
		if (status || !s->device)
			return status;
		if (!restart_is_safe(reason, sizeof(reason)))
			return live(s);
		err = kept_open(s->options, s->device, s->mountpoint, &s->fds, &s->kept);
		free_paths(s);
		systemd_forget(); /* what a process stored that was killed meanwhile */
		if (!err)
			err = systemd_store(&s->fds);
	}
	if (err)
		return complain_kept(s, err);
	s->kept->starts++;
	status = live_kept(s);
	/* after a failure systemd tries again, and shall find the mount */
	if (!status || !session_is_mounted(s))
		systemd_forget();
	return status;
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
		in_background = true;
		setsid();
		return -1;
	}
	close(ends[1]);
	do {
		n = read(ends[0], &status, 1);
	} while (n < 0 && errno == EINTR);
	return n == 1 ? status : EXIT_MOUNT;
}

static int supervise(struct state *s)
{
	const struct supervisor supervisor = {
		.options = s->options,
		.device = s->device,
		.mountpoint = s->mountpoint,
		.argv = s->argv,
		.ready = be_ready,
	};
	int status = supervisor_run(&supervisor);

	tell_parent(status);
	return status;
}

/* As it was called; whoever serves may be another process. */
static int start(struct state *s)
{
	int status = find_paths(s->options, s);

	if (status || !s->device)
		return status;
	status = again_mount(s->options, s->device, s->mountpoint);
	if (status >= 0)
		return status;
	if (s->options->fake)
		return 0;
	status = s->options->foreground ? -1 : go_to_background();
	if (status >= 0)
		return status;
	if (chdir("/"))
		return EXIT_MOUNT;
	return s->options->keeper == KEEPER_SUPERVISOR ? supervise(s) : live(s);
}

static int run(const struct options *options, char **words)
{
	struct state s = {
		.options = options,
		.ready = be_ready,
		.fds = KEPT_FDS_NONE,
		.argv = words,
	};
	int status;

	if (kept_import(&s.fds))
		status = live_supervised(&s);
	else if (options->keeper == KEEPER_SYSTEMD && !options->fake)
		status = live_under_systemd(&s);
	else
		status = start(&s);
	free_paths(&s);
	return status;
}

/* Parsing cuts the words up; whoever is started later wants them whole. */
static char **copy_words(int argc, char **argv)
{
	char **copy = calloc((size_t)argc + 1, sizeof(*copy));

	for (int i = 0; copy && i < argc; i++)
		copy[i] = strdup(argv[i]);
	return copy;
}

static void free_words(char **words)
{
	for (char **word = words; word && *word; word++)
		free(*word);
	free(words);
}

static int parse_and_run(int argc, char **argv, char **words)
{
	struct options options;
	char error[256];

	if (!words || options_parse(argc, argv, &options, error, sizeof(error))) {
		fprintf(stderr, "daxfuse: %s\nsee daxfuse --help\n", words ? error : "no memory");
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
	if (restart_is_check())
		return restart_check(&options);
	if (options.remount)
		return again_remount(&options);
	return run(&options, words);
}

int daemon_main(int argc, char **argv)
{
	char **words = copy_words(argc, argv);
	int status;

	log_init();
	status = parse_and_run(argc, argv, words);
	free_words(words);
	return status;
}
