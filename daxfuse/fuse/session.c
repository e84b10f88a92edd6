/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The FUSE session: which capabilities are agreed on with the kernel, and why; how it is mounted or
 * taken over; and which loop serves it.
 *
 * With a keeper the descriptor of /dev/fuse is mounted here, on its behalf (keeper/attach.h), the
 * agreement is written down for the next process, which is held to it by the kernel, and loop.c
 * serves. Without one libfuse mounts and serves by itself.
 */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/keeper/attach.h"
#include "daxfuse/keeper/log.h"
#include "loop.h"
#include "daxfuse/keeper/places.h"

/* ---- what is agreed with the kernel ---------------------------------------- */

/*
 * No writeback cache: write() is durable when it returns. No AUTO_INVAL_DATA: it drops a file's
 * pages whenever its time moved, but nobody else writes here; changes behind the kernel's back are
 * invalidated explicitly. Splicing and interrupts cost more than they bring.
 */
static const uint64_t wanted[] = {
	FUSE_CAP_ASYNC_READ,         FUSE_CAP_ATOMIC_O_TRUNC,
	FUSE_CAP_EXPORT_SUPPORT,     FUSE_CAP_DONT_MASK,
	FUSE_CAP_IOCTL_DIR,          FUSE_CAP_EXPLICIT_INVAL_DATA,
	FUSE_CAP_READDIRPLUS,        FUSE_CAP_READDIRPLUS_AUTO,
	FUSE_CAP_ASYNC_DIO,          FUSE_CAP_PARALLEL_DIROPS,
	FUSE_CAP_POSIX_ACL,          FUSE_CAP_CACHE_SYMLINKS,
	FUSE_CAP_NO_OPENDIR_SUPPORT, FUSE_CAP_DIRECT_IO_ALLOW_MMAP,
};

static const uint64_t unwanted[] = {
	FUSE_CAP_WRITEBACK_CACHE, FUSE_CAP_AUTO_INVAL_DATA, FUSE_CAP_SPLICE_READ,
	FUSE_CAP_SPLICE_WRITE,    FUSE_CAP_SPLICE_MOVE,     FUSE_CAP_POSIX_LOCKS,
	FUSE_CAP_FLOCK_LOCKS,
};

uint64_t transport_capabilities(void)
{
	uint64_t known = LIBFUSE_KILL_SUIDGID ? FUSE_CAP_HANDLE_KILLPRIV_V2 : 0;

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		known |= wanted[i];
	return known;
}

/* A capability is on if we want it and the kernel has it; or if an earlier process has agreed on
 * it, to which the kernel holds us. */
static void agree_on_capabilities(const struct transport *t, struct fuse_conn_info *conn)
{
	uint64_t on = transport_capabilities();

	if (t->config.kept && t->config.kept->session.capabilities)
		on = t->config.kept->session.capabilities;
	for (unsigned i = 0; i < 64; i++) {
		if (on >> i & 1)
			fuse_set_feature_flag(conn, UINT64_C(1) << i);
	}
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		if (!(on & wanted[i]))
			fuse_unset_feature_flag(conn, wanted[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(unwanted); i++)
		fuse_unset_feature_flag(conn, unwanted[i]);
	if (t->config.kept && !t->config.kept->session.capabilities)
		t->config.kept->session.capabilities = conn->want_ext & transport_capabilities();
}

/* Views are what files are passed through to, and none of them lies on a stacked filesystem. */
static void agree_on_views(struct transport *t, struct fuse_conn_info *conn)
{
	if (t->views)
		t->passthrough = fuse_set_feature_flag(conn, FUSE_CAP_PASSTHROUGH);
	else
		fuse_unset_feature_flag(conn, FUSE_CAP_PASSTHROUGH);
	conn->max_backing_stack_depth = 0;
}

/* 7.34 came with Linux 5.14; the check is in all that have it. */
enum { FLAGS_CHECKED_SINCE = 34 };

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct transport *t = userdata;

	agree_on_capabilities(t, conn);
	agree_on_views(t, conn);
#ifdef HAVE_FUSE_IO_URING
	t->io_uring = t->config.io_uring && fuse_get_feature_flag(conn, FUSE_CAP_OVER_IO_URING);
	if (t->config.io_uring && !t->io_uring)
		log_error("daxfuse: %s: this kernel does not offer io_uring to FUSE\n"
			  "set it: echo Y >/sys/module/fuse/parameters/enable_uring\n",
			  t->config.attach.device);
#endif
	conn->max_write = TRANSPORT_IO_MAX;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	conn->time_gran = 1;
	conn->no_interrupt = 1;
	if (conn->want_ext & FUSE_CAP_DIRECT_IO_ALLOW_MMAP) /* since Linux 6.6 */
		vfs_allow_auto(t->vfs);
	t->kernel_checks_flags = conn->proto_minor >= FLAGS_CHECKED_SINCE;
	t->config.host.greeted(t->config.host.arg);
	views_begin(t->views);
}

static void fill_ops(struct fuse_lowlevel_ops *ops)
{
	memset(ops, 0, sizeof(*ops));
	ops->init = op_init;
	namespace_ops(ops);
	directory_ops(ops);
	file_ops(ops);
	data_ops(ops);
	attr_ops(ops);
	xattr_ops(ops);
	ioctl_ops(ops);
}

/* ---- mounting --------------------------------------------------------------- */

/* libfuse mounts for us only if there is no keeper. */
static errint_t add_arguments(const struct transport *t, struct fuse_args *args)
{
	char *words = t->config.kept ? NULL : attach_words(&t->config.attach);
	int err = !t->config.kept && !words;

	if (!err && t->config.io_uring)
		err = fuse_opt_add_opt(&words, "io_uring");
	if (!err && t->config.debug)
		err = fuse_opt_add_opt(&words, "debug");
	if (!err)
		err = fuse_opt_add_arg(args, "daxfuse");
	if (!err && words)
		err = fuse_opt_add_arg(args, "-o") || fuse_opt_add_arg(args, words);
	free(words);
	return err ? -ENOMEM : 0;
}

static int mount_kept(struct transport *t)
{
	char name[32];
	int fd = t->config.adopts ? attach_mounted(&t->config.fds)
				  : attach_mount(&t->config.attach, &t->config.fds);

	/* libfuse closes what it is given */
	if (fd >= 0 && fd == t->config.fds.fuse) {
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			return -errno;
	}
	if (fd < 0)
		return fd;
	snprintf(name, sizeof(name), "/dev/fd/%d", fd);
	return fuse_session_mount(t->se, name) ? -EIO : 0;
}

/* Of a mount that is taken over somebody else may lie there. */
static void find_number(struct transport *t)
{
	if (t->config.kept && t->config.kept->number) {
		t->place.number = t->config.kept->number;
		return;
	}
	t->place.number = places_number(t->config.attach.mountpoint);
	if (t->config.kept)
		t->config.kept->number = t->place.number;
}

int session_open(struct transport *t)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_lowlevel_ops ops;
	int err = add_arguments(t, &args);

	fill_ops(&ops);
	log_hold_back(!t->config.debug);
	if (!err) {
		t->se = fuse_session_new(&args, &ops, sizeof(ops), t);
		if (!t->se)
			err = -EINVAL;
	}
	if (!err && t->config.kept)
		err = mount_kept(t);
	else if (!err && fuse_session_mount(t->se, t->config.attach.mountpoint))
		err = -EIO;
	if (!err)
		find_number(t);
	log_hold_back(false);
	fuse_opt_free_args(&args);
	return err;
}

/* ---- serving ----------------------------------------------------------------- */

/* By libfuse's own loop, which knows io_uring and clones of the descriptor. */
static int serve_unkept(struct transport *t)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int err;

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(config, t->config.clone_fd);
	/* it starts more by itself when all are busy, as programs are waited for */
	fuse_loop_cfg_set_max_threads(config, t->config.max_threads + LOOP_SPARE);
	fuse_loop_cfg_set_idle_threads(config, t->config.max_threads);
	err = fuse_session_loop_mt(t->se, config);
	fuse_loop_cfg_destroy(config);
	return err > 0 ? -EIO : err;
}

int session_serve(struct transport *t)
{
	return t->config.kept ? loop_serve(t) : serve_unkept(t);
}

void session_stop(struct transport *t)
{
	fuse_session_exit(t->se);
	if (t->config.kept)
		loop_stop(t);
}

/* libfuse unmounts by path: if the mount was detached something else may lie there by now. */
void session_close(struct transport *t)
{
	if (t->se && !t->config.kept &&
	    places_number(t->config.attach.mountpoint) == t->place.number)
		fuse_session_unmount(t->se);
}

void session_free(struct transport *t)
{
	if (t->se)
		fuse_session_destroy(t->se);
	t->se = NULL;
}
