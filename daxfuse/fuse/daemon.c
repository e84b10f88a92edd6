/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon: opens and locks the device, recovers and mounts the pool, serves
 * the kernel until it is unmounted.
 *
 * In the background the child does all of that; the parent waits for its word on
 * a pipe (the exit status, and then nothing more of it is needed), so it returns
 * when the mount is usable, with the real result. Whatever goes wrong before is
 * said on the parent's stderr by the child, which shares it until then.
 */
#include "daxfuse/fuse/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "daxfuse/fuse/session.h"

enum { EXIT_USAGE = 1, EXIT_MOUNT = 32, WRITE_BYTES = 1 << 20, BACKGROUND = 256, BUSY_TRIES = 40 };

static bool to_syslog;

static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (to_syslog)
		vsyslog(LOG_ERR, format, args);
	else
		vfprintf(stderr, format, args);
	va_end(args);
}

static void say_error(const char *device, const char *what, const char *advice)
{
	say("daxfuse: %s: %s\n", device, what);
	if (advice && *advice)
		say("%s\n", advice);
}

static void fuse_log_handler(enum fuse_log_level level, const char *format, va_list args)
{
	if (to_syslog)
		vsyslog(level <= FUSE_LOG_ERR ? LOG_ERR : LOG_DEBUG, format, args);
	else
		vfprintf(stderr, format, args);
}

/* ---- what is agreed with the kernel --------------------------------------- */

static void want(struct fuse_conn_info *conn, uint64_t capability)
{
	if (fuse_get_feature_flag(conn, capability))
		fuse_set_feature_flag(conn, capability);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	static const uint64_t wanted[] = {
		FUSE_CAP_ASYNC_READ, FUSE_CAP_ATOMIC_O_TRUNC, FUSE_CAP_EXPORT_SUPPORT,
		FUSE_CAP_DONT_MASK, FUSE_CAP_IOCTL_DIR, FUSE_CAP_AUTO_INVAL_DATA,
		FUSE_CAP_READDIRPLUS, FUSE_CAP_READDIRPLUS_AUTO, FUSE_CAP_ASYNC_DIO,
		FUSE_CAP_PARALLEL_DIROPS, FUSE_CAP_POSIX_ACL, FUSE_CAP_CACHE_SYMLINKS,
		FUSE_CAP_DIRECT_IO_ALLOW_MMAP,
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		want(conn, wanted[i]);
	/* without, the kernel asks for security.capability before each write */
	if (LIBFUSE_KILL_SUIDGID)
		want(conn, FUSE_CAP_HANDLE_KILLPRIV_V2);
	/* a write is durable when it returns, so it can't wait in the kernel; and
	 * pipes cost more than the copy they save, as data must reach the pool */
	fuse_unset_feature_flag(conn, FUSE_CAP_WRITEBACK_CACHE);
	fuse_unset_feature_flag(conn, FUSE_CAP_SPLICE_READ);
	fuse_unset_feature_flag(conn, FUSE_CAP_SPLICE_WRITE);
	fuse_unset_feature_flag(conn, FUSE_CAP_SPLICE_MOVE);
	/* their locks are the kernel's own: it knows all users of the mount */
	fuse_unset_feature_flag(conn, FUSE_CAP_POSIX_LOCKS);
	fuse_unset_feature_flag(conn, FUSE_CAP_FLOCK_LOCKS);
	conn->max_write = WRITE_BYTES;
	conn->max_readahead = WRITE_BYTES;
	conn->max_background = BACKGROUND;
	conn->congestion_threshold = BACKGROUND * 3 / 4;
	conn->time_gran = 1;
}

static void fill_ops(struct fuse_lowlevel_ops *ops)
{
	memset(ops, 0, sizeof(*ops));
	ops->init = op_init;
	attr_ops(ops);
	namespace_ops(ops);
	directory_ops(ops);
	data_ops(ops);
	ioctl_ops(ops);
}

/* ---- mounting ------------------------------------------------------------- */

/* A comma in the device's name would end the option. */
static void add_escaped(char *text, size_t size, const char *value)
{
	size_t used = strlen(text);

	for (; *value && used + 3 < size; value++) {
		if (*value == ',' || *value == '\\')
			text[used++] = '\\';
		text[used++] = *value;
	}
	text[used] = '\0';
}

static void add_option(char *text, size_t size, const char *option)
{
	size_t used = strlen(text);

	snprintf(text + used, size - used, ",%s", option);
}

static void mount_options(const struct options *o, char *text, size_t size)
{
	char path[4096];

	snprintf(text, size, "subtype=daxfuse,default_permissions,fsname=");
	add_escaped(text, size, realpath(o->device, path) ? path : o->device);
	if (o->allow_other)
		add_option(text, size, "allow_other");
	if (o->fs.read_only)
		add_option(text, size, "ro");
	add_option(text, size, o->no_suid || geteuid() ? "nosuid" : "suid");
	add_option(text, size, o->no_dev || geteuid() ? "nodev" : "dev");
	for (unsigned i = 0; i < o->kernel_count; i++)
		add_option(text, size, o->kernel[i]);
	if (o->io_uring)
		add_option(text, size, "io_uring");
}

static int new_session(struct session *s)
{
	char text[8192], name[] = "daxfuse", dash_o[] = "-o", debug[] = "-d";
	char *argv[] = {name, dash_o, text, s->options->debug ? debug : NULL, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(s->options->debug ? 4 : 3, argv);
	static struct fuse_lowlevel_ops ops;

	mount_options(s->options, text, sizeof(text));
	fill_ops(&ops);
	s->fuse = fuse_session_new(&args, &ops, sizeof(ops), s);
	fuse_opt_free_args(&args);
	s->clone_fd = s->options->clone_fd && !s->options->io_uring;
	s->io_uring = s->options->io_uring;
	return s->fuse ? 0 : -EINVAL;
}

/* umount(8) returns before the daemon has let go of the device, so one that is
 * busy is given a moment. */
static int open_device(struct session *s, struct device_error *error)
{
	unsigned access = s->options->fs.read_only ? DEVICE_READ : DEVICE_WRITE;
	struct timespec pause = {.tv_nsec = 50000000};
	int err;

	for (int tries = 0; tries < BUSY_TRIES; tries++) {
		memset(error, 0, sizeof(*error));
		err = device_open(s->options->device, access, &s->device, error);
		if (err != -EBUSY)
			break;
		nanosleep(&pause, NULL);
	}
	return err;
}

static int open_pool(struct session *s)
{
	const struct options *o = s->options;
	struct device_error error = {0};
	struct pmem *pm;
	int err = open_device(s, &error);

	if (!err)
		err = device_map(s->device, &pm, &error);
	if (err) {
		say_error(o->device, error.what[0] ? error.what : strerror(-err), error.advice);
		return err;
	}
	err = fs_mount(pm, &o->fs, &s->fs, &s->report);
	if (err)
		say_error(o->device, s->report.what, s->report.advice);
	else if (s->report.spare_super)
		say("daxfuse: %s: the first superblock is damaged, its spare is used; "
		    "fsck.daxfuse -y repairs it\n", o->device);
	return err;
}

static void close_pool(struct session *s)
{
	fs_unmount(s->fs);
	device_close(s->device);
}

/* ---- life ----------------------------------------------------------------- */

static int serve(struct session *s)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int err;

	fuse_loop_cfg_set_clone_fd(config, s->clone_fd);
	fuse_loop_cfg_set_max_threads(config, s->options->max_threads);
	fuse_loop_cfg_set_idle_threads(config, s->options->max_threads);
	err = fuse_session_loop_mt(s->fuse, config);
	fuse_loop_cfg_destroy(config);
	return err;
}

/* Tell the parent, and leave its terminal. */
static int go_background(int ready_fd)
{
	char status = 0;
	int null = open("/dev/null", O_RDWR);

	if (null < 0)
		return -errno;
	if (chdir("/") || dup2(null, 0) < 0 || dup2(null, 1) < 0)
		return -errno;
	openlog("daxfuse", LOG_PID, LOG_DAEMON);
	to_syslog = true;
	dup2(null, 2);
	if (null > 2)
		close(null);
	if (write(ready_fd, &status, 1) != 1)
		return -EPIPE;
	close(ready_fd);
	return 0;
}

/* ready_fd: -1 in the foreground. The exit status. */
static int run(const struct options *options, int ready_fd)
{
	struct session s = {.options = options};
	int status = EXIT_MOUNT;

	fuse_set_log_func(fuse_log_handler);
	if (open_pool(&s) == 0 && (options->fake || new_session(&s) == 0)) {
		if (options->fake) {
			status = 0;
		} else if (fuse_set_signal_handlers(s.fuse) == 0) {
			if (fuse_session_mount(s.fuse, options->mountpoint) == 0) {
				status = orphans_start(&s) || (ready_fd >= 0 && go_background(ready_fd)) ?
					 EXIT_MOUNT : 0;
				if (!status && serve(&s) < 0)
					status = EXIT_MOUNT;
				orphans_stop(&s);
				fuse_session_unmount(s.fuse);
			}
			fuse_remove_signal_handlers(s.fuse);
		}
	}
	if (s.fuse)
		fuse_session_destroy(s.fuse);
	close_pool(&s);
	return status;
}

/* The child's word, or how it died. */
static int wait_for(pid_t child, int fd)
{
	char status;
	int how;

	if (read(fd, &status, 1) == 1)
		return status;
	if (waitpid(child, &how, 0) == child && WIFEXITED(how))
		return WEXITSTATUS(how);
	say("daxfuse: the daemon died before it had mounted\n");
	return EXIT_MOUNT;
}

static int run_in_background(const struct options *options)
{
	int fds[2];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC)) {
		say("daxfuse: pipe: %s\n", strerror(errno));
		return EXIT_MOUNT;
	}
	child = fork();
	if (child < 0) {
		say("daxfuse: fork: %s\n", strerror(errno));
		return EXIT_MOUNT;
	}
	if (child == 0) {
		close(fds[0]);
		setsid();
		_exit(run(options, fds[1]));
	}
	close(fds[1]);
	return wait_for(child, fds[0]);
}

int daemon_main(int argc, char **argv)
{
	struct options options;
	char error[256];

	if (options_parse(argc, argv, &options, error, sizeof(error))) {
		say("daxfuse: %s\ntry daxfuse --help\n", error);
		return EXIT_USAGE;
	}
	if (options.help || options.version) {
		if (options.help)
			options_print_help();
		else
			printf("daxfuse %s\n", DAXFUSE_VERSION);
		return 0;
	}
	return options.foreground ? run(&options, -1) : run_in_background(&options);
}
