/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's life. The process that was called forks first and waits on a pipe for the exit
 * status, which comes when the serving process answers the mount, that is when the mount is usable.
 * If the child dies before, the pipe closes, and that is a failure.
 *
 * The child becomes the supervisor, which executes this program again, as the serving process, as
 * often as needed (supervisor.c); under systemd's fd store, or without a keeper, it serves itself.
 * The serving process opens the device, mounts the pool, then mounts the session, or takes over the
 * one that is there.
 *
 * SIGTERM and SIGINT unmount. Loops keep serving meanwhile, since unmounting writes back all that
 * was stored through mappings; if the mount is busy, it is detached and those who still use it get
 * ENOTCONN. So do those who have it open when it has lost all its places (umount -l): it can't be
 * reached to be written back then, so stores through the kernel's mappings that nobody has synced
 * are lost. If it was unmounted, but another namespace has it still, the next signal ends it.
 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/keeper/attach.h"
#include "daxfuse/keeper/control.h"
#include "daxfuse/keeper/log.h"
#include "daxfuse/keeper/outside.h"
#include "daxfuse/keeper/places.h"
#include "daxfuse/keeper/supervisor.h"
#include "admin_serve.h"
#include "again.h"
#include "guests.h"
#include "open.h"
#include "restart.h"
#include "service.h"
#include "state.h"

enum { EXIT_USAGE = 1, EXIT_MOUNT = 32 };

static int ready_fd = -1; /* the parent waits at its other end */
static bool in_background;

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

/* Not before: who mounts for autofs is known by its process group, and others who come near the
 * mount point wait for it. */
static void leave_session(void)
{
	log_to_syslog();
	detach_stdio();
	setsid();
}

static void be_ready(void)
{
	if (in_background)
		leave_session();
	tell_parent(0);
}

static void say_ready(const struct daemon *d)
{
	if (d->kept)
		d->kept->served = true;
	be_ready();
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
	struct daemon *d = arg;
	sigset_t set;
	int number;

	if (!d->options->no_mount)
		outside_look(transport_place(d->transport), TRANSPORT_IO_MAX);
	d->ready(d); /* not before: a user that unmounts at once must not find us looking */
	stop_signals(&set);
	do {
		if (sigwait(&set, &number) || number == SIGUSR1)
			return NULL;
	} while (!d->options->no_mount && !outside_unmount(transport_place(d->transport)));
	if (!d->options->no_mount)
		outside_detach(transport_place(d->transport));
	transport_stop(d->transport, false);
	return NULL;
}

/* ---- serving ---------------------------------------------------------------- */

static int mount_transport(struct daemon *d)
{
	int err = transport_mount(d->transport, d->vfs, d->clients, d->views);
	const char *reason = log_held_back();

	if (!err)
		return 0;
	log_error("daxfuse: %s: cannot be mounted on %s: %s\n", d->device, d->mountpoint,
		  *reason ? reason : strerror(-err));
	log_error("%s\n",
		  geteuid() == 0
			  ? "is there /dev/fuse? modprobe fuse loads it"
			  : "users need fusermount3 (Debian: apt install fuse3) and a folder of "
			    "their own");
	return err;
}

static void report_recovery(const struct daemon *d)
{
	if (!d->adopts && (d->report.replayed || d->report.orphans))
		log_info("daxfuse: %s: recovered: %u records, %llu orphans\n", d->device,
			 d->report.replayed, (unsigned long long)d->report.orphans);
	if (d->report.spare_super)
		log_error("daxfuse: %s: the first superblock is damaged, the second one is used\n"
			  "repair it when it is unmounted: fsck.daxfuse -y %s\n",
			  d->device, d->device);
}

/* As SIGKILL would: the next process goes on with all that is left. Nothing is waited
 * for, as children and threads may wait for an answer that only that one gives. */
_Noreturn static void make_room(struct daemon *d)
{
	fflush(NULL);
	if (d->options->keeper == KEEPER_SYSTEMD)
		service_replace(d);
	_exit(KEPT_EXIT_RESTART);
}

static int serve_mount(struct daemon *d)
{
	pthread_t signals;
	sigset_t set;
	int err;

	stop_signals(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	err = mount_transport(d);
	if (!err)
		err = clients_serve(d->clients, transport_place(d->transport)->number);
	if (!err)
		err = views_serve(d->views);
	if (!err)
		err = admin_serve(d->admin);
	if (err)
		return err;
	err = -pthread_create(&signals, NULL, wait_for_signal, d);
	if (err) {
		complain(d->device, "no thread", err, NULL);
		return err;
	}
	report_recovery(d);
	err = transport_serve(d->transport);
	if (!err && atomic_load_explicit(&d->replace, memory_order_relaxed))
		make_room(d);
	pthread_kill(signals, SIGUSR1);
	pthread_join(signals, NULL);
	if (err)
		complain(d->device, "serving ended", err, NULL);
	return err;
}

/* A program that maps takes one, a guest dozens. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* The next process goes on with them: nothing of theirs is ended here, nor waited for. */
_Noreturn static void leave_exports(struct daemon *d)
{
	fflush(NULL);
	_exit(d->options->keeper == KEEPER_SYSTEMD ? service_end(d, EXIT_MOUNT) : EXIT_MOUNT);
}

/* The whole life of the serving process; its exit status. */
static int live_as_server(struct daemon *d)
{
	int err;

	raise_descriptor_limit();
	err = open_pool(d);
	if (!err && d->kept)
		restart_describe(d);
	if (!err)
		err = serve_mount(d);
	if (err && d->kept && d->exports && exports_count(d->exports) &&
	    attach_is_mounted(d->kept, &d->fds))
		leave_exports(d);
	admin_close(d->admin);
	exports_close(d->exports);
	transport_close(d->transport, !err);
	views_stop(d->views, !err || !d->kept);
	clients_close(d->clients);
	vfs_close(d->vfs);
	if (!err)
		control_remove(d->socket);
	if (d->fs)
		fs_unmount(d->fs);
	transport_free(d->transport);
	device_close(d->dev);
	if (!d->kept)
		free(d->view_table);
	if (!d->kept) /* a supervisor asks for the exit status */
		tell_parent(err ? EXIT_MOUNT : 0);
	return err ? EXIT_MOUNT : 0;
}

/* What is left of a mount that has lost its daemon: nobody can use it, and another one on top of it
 * would hide it for ever. */
static void clear_dead_mount(const char *mountpoint)
{
	struct stat st;
	unsigned number;

	while (stat(mountpoint, &st) && errno == ENOTCONN) {
		number = places_number(mountpoint);
		if (!places_is_trusted(number) || !outside_detach_places(number))
			return;
		log_info("daxfuse: %s: what was left of an earlier mount is detached\n",
			 mountpoint);
	}
}

static int find_mountpoint(const struct options *options, struct daemon *d)
{
	struct stat st;

	clear_dead_mount(options->mountpoint);
	d->mountpoint = realpath(options->mountpoint, NULL);
	if (d->mountpoint && (stat(d->mountpoint, &st) || !S_ISDIR(st.st_mode))) {
		errno = ENOTDIR;
		free(d->mountpoint);
		d->mountpoint = NULL;
	}
	if (d->mountpoint)
		return 0;
	log_error("daxfuse: %s: cannot be mounted on %s: %s\n", d->device, options->mountpoint,
		  strerror(errno));
	log_error("it must be a folder: mkdir -p %s\n", options->mountpoint);
	return EXIT_MOUNT;
}

static int find_paths(const struct options *options, struct daemon *d)
{
	d->device = realpath(options->device, NULL);
	if (!d->device && errno == ENOENT && options->no_fail)
		return 0;
	if (!d->device) {
		complain(options->device, "cannot be opened", -errno,
			 "see what there is: daxfuse list");
		return EXIT_MOUNT;
	}
	if (!options->no_mount)
		return find_mountpoint(options, d);
	d->mountpoint = strdup(KEPT_NO_MOUNT);
	return d->mountpoint ? 0 : EXIT_MOUNT;
}

static void free_paths(struct daemon *d)
{
	free(d->device);
	free(d->mountpoint);
	d->device = d->mountpoint = NULL;
}

/* As the serving process of a mount that a keeper holds. Its paths are not to be
 * looked at: they may lead through the mount. */
static int live_kept(struct daemon *d)
{
	static struct vfs_answers answers;
	struct options options = *d->options;
	int status;

	kept_remounted(d->kept, &options.fs);
	d->options = &options;

	d->device = strdup(d->kept->device);
	d->mountpoint = strdup(d->kept->mountpoint);
	if (!d->device || !d->mountpoint)
		return EXIT_MOUNT;
	if (kept_map_pins(d->fds.memory, &d->pins) || kept_map_opens(d->fds.memory, &d->opens) ||
	    kept_map_views(d->fds.memory, &d->view_table))
		return EXIT_MOUNT;
	answers_open(&answers, d->kept->answer, d->kept->starts, d->kept->crashed);
	d->answers = &answers;
	d->adopts = attach_is_mounted(d->kept, &d->fds);
	status = live_as_server(d);
	answers_close(&answers);
	return status;
}

static int complain_kept(const struct daemon *d, int err)
{
	complain(d->options->device, "what the last process has kept cannot be used", err,
		 "unmount (umount -l) and mount again");
	return EXIT_MOUNT;
}

static int live_supervised(struct daemon *d)
{
	int err = kept_map(d->fds.memory, &d->kept);

	if (err)
		return complain_kept(d, err);
	ready_fd = d->fds.ready;
	in_background = !d->options->foreground;
	if (in_background && d->kept->starts > 1)
		log_to_syslog();
	return live_kept(d);
}

static struct kept_config kept_config_of(const struct daemon *d)
{
	return (struct kept_config){
		.device = d->device,
		.mountpoint = d->mountpoint,
		.no_mount = d->options->no_mount,
		.read_only = d->options->fs.read_only,
		.views = d->options->views != VIEWS_OFF,
		.policy = &d->options->direct,
	};
}

static int open_kept(struct daemon *d)
{
	const struct kept_config config = kept_config_of(d);

	return kept_open(&config, &d->fds, &d->kept);
}

/* The unit is the same everywhere, so without a kernel for it the mount has no keeper. -1: go on
 * with what is kept from now on; else the exit status. */
static int begin_service(struct daemon *d)
{
	char reason[256];
	int status = find_paths(d->options, d), err;

	if (status || !d->device)
		return status;
	if (!d->options->no_mount && !restart_is_safe(reason, sizeof(reason)))
		return live_as_server(d);
	err = open_kept(d);
	free_paths(d);
	if (!err)
		err = service_store(d);
	return err ? complain_kept(d, err) : -1;
}

/* systemd starts us again itself; all it keeps comes back through the environment. */
static int live_under_systemd(struct daemon *d)
{
	int err = 0, status = -1;

	d->ready = service_ready;
	if (service_take(d))
		err = service_adopt(d);
	else
		status = begin_service(d);
	if (err)
		return complain_kept(d, err);
	if (status >= 0)
		return status;
	if (!service_begin(d))
		return service_give_up(d);
	return service_end(d, live_kept(d));
}

/* In the parent: the child's word; in the child: -1. */
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
		return -1;
	}
	close(ends[1]);
	do {
		n = read(ends[0], &status, 1);
	} while (n < 0 && errno == EINTR);
	return n == 1 ? status : EXIT_MOUNT;
}

static int supervise(struct daemon *d)
{
	const struct supervisor supervisor = {
		.config = kept_config_of(d),
		.argv = d->argv,
		.ready = be_ready,
	};
	int status = supervisor_run(&supervisor);

	tell_parent(status);
	return status;
}

/* As it was called; the serving process may be another one. */
static int start_daemon(struct daemon *d)
{
	int status = find_paths(d->options, d);

	if (status || !d->device)
		return status;
	status = d->options->no_mount ? -1 : again_mount(d->options, d->device, d->mountpoint);
	if (status >= 0)
		return status;
	if (d->options->fake)
		return 0;
	status = d->options->foreground ? -1 : go_to_background();
	if (status >= 0)
		return status;
	if (chdir("/"))
		return EXIT_MOUNT;
	return d->options->keeper == KEEPER_SUPERVISOR ? supervise(d) : live_as_server(d);
}

static int run_daemon(const struct options *options, char **words)
{
	struct daemon d = {
		.options = options,
		.ready = say_ready,
		.fds = KEPT_FDS_NONE,
		.argv = words,
	};
	bool kept = kept_import(&d.fds);
	int status;

	if (options->keeper == KEEPER_SYSTEMD && !options->fake)
		status = live_under_systemd(&d);
	else if (kept)
		status = live_supervised(&d);
	else
		status = start_daemon(&d);
	free_paths(&d);
	return status;
}

/* Parsing cuts the words up; a process that is started later wants them whole. */
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
		printf("daxfuse %s (libfuse %s)\n", DAXFUSE_VERSION, transport_library());
		return 0;
	}
	if (restart_is_check())
		return restart_check(&options);
	if (options.remount)
		return again_remount(&options);
	return run_daemon(&options, words);
}

int daemon_main(int argc, char **argv)
{
	char **kept = service_words(&argc); /* as it was mounted, whatever a unit says now */
	char **words = copy_words(argc, kept ? kept : argv);
	int status;

	transport_log();
	status = parse_and_run(argc, kept ? kept : argv, words);
	free_words(words);
	free_words(kept);
	return status;
}
