/* SPDX-License-Identifier: BSD-3-Clause */
#include "daxfuse/fuse/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/fuse/log.h"

/* ---- what is agreed with the kernel ---------------------------------------- */

/*
 * No writeback cache: write() is durable when it returns. No AUTO_INVAL_DATA: it
 * drops a file's pages whenever its time moved, but nobody else writes here;
 * what changes behind the kernel's back is invalidated explicitly. Splicing and
 * interrupts cost more than they bring.
 */
static const uint64_t wanted[] = {
	FUSE_CAP_ASYNC_READ,      FUSE_CAP_ATOMIC_O_TRUNC,     FUSE_CAP_EXPORT_SUPPORT,
	FUSE_CAP_DONT_MASK,       FUSE_CAP_IOCTL_DIR,          FUSE_CAP_EXPLICIT_INVAL_DATA,
	FUSE_CAP_READDIRPLUS,     FUSE_CAP_READDIRPLUS_AUTO,   FUSE_CAP_ASYNC_DIO,
	FUSE_CAP_PARALLEL_DIROPS, FUSE_CAP_POSIX_ACL,          FUSE_CAP_CACHE_SYMLINKS,
	FUSE_CAP_NO_OPENDIR_SUPPORT, FUSE_CAP_DIRECT_IO_ALLOW_MMAP,
};

static const uint64_t unwanted[] = {
	FUSE_CAP_WRITEBACK_CACHE, FUSE_CAP_AUTO_INVAL_DATA, FUSE_CAP_SPLICE_READ,
	FUSE_CAP_SPLICE_WRITE,    FUSE_CAP_SPLICE_MOVE,     FUSE_CAP_POSIX_LOCKS,
	FUSE_CAP_FLOCK_LOCKS,
};

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct state *s = userdata;

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		fuse_set_feature_flag(conn, wanted[i]);
	for (size_t i = 0; i < ARRAY_SIZE(unwanted); i++)
		fuse_unset_feature_flag(conn, unwanted[i]);
	if (LIBFUSE_KILL_SUIDGID)
		fuse_set_feature_flag(conn, FUSE_CAP_HANDLE_KILLPRIV_V2);
#ifdef HAVE_FUSE_IO_URING
	s->io_uring = s->options->io_uring &&
		      fuse_get_feature_flag(conn, FUSE_CAP_OVER_IO_URING);
	if (s->options->io_uring && !s->io_uring)
		log_error("daxfuse: %s: this kernel does not offer io_uring to FUSE\n"
			  "set it: echo Y >/sys/module/fuse/parameters/enable_uring\n",
			  s->device);
#endif
	conn->max_write = STATE_IO_MAX;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	conn->time_gran = 1;
	conn->no_interrupt = 1;
	s->ready();
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

static int add_arguments(const struct state *s, struct fuse_args *args)
{
	const struct options *o = s->options;
	char *words = NULL, *source = NULL;
	int err;

	if (asprintf(&source, "fsname=%s", s->device) < 0)
		return -ENOMEM;
	err = fuse_opt_add_opt_escaped(&words, source) ||
	      fuse_opt_add_opt(&words, "subtype=daxfuse") ||
	      fuse_opt_add_opt(&words, "default_permissions");
	/* libfuse mounts nosuid and nodev unless told otherwise; for others than
	 * root that is so in any case */
	if (!err && geteuid() == 0)
		err = fuse_opt_add_opt(&words, o->no_suid ? "nosuid" : "suid") ||
		      fuse_opt_add_opt(&words, o->no_dev ? "nodev" : "dev");
	if (!err && o->allow_other)
		err = fuse_opt_add_opt(&words, "allow_other");
	if (!err && o->fs.read_only)
		err = fuse_opt_add_opt(&words, "ro");
	if (!err && o->fs.atime == FS_ATIME_NEVER)
		err = fuse_opt_add_opt(&words, "noatime");
	if (!err && o->io_uring)
		err = fuse_opt_add_opt(&words, "io_uring");
	if (!err && o->debug)
		err = fuse_opt_add_opt(&words, "debug");
	for (unsigned i = 0; !err && i < o->kernel_count; i++)
		err = fuse_opt_add_opt(&words, o->kernel[i]);
	if (!err)
		err = fuse_opt_add_arg(args, "daxfuse") || fuse_opt_add_arg(args, "-o") ||
		      fuse_opt_add_arg(args, words);
	free(source);
	free(words);
	return err ? -ENOMEM : 0;
}

int session_mount(struct state *s)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_lowlevel_ops ops;
	int err = add_arguments(s, &args);

	fill_ops(&ops);
	log_hold_back(!s->options->debug);
	if (!err) {
		s->se = fuse_session_new(&args, &ops, sizeof(ops), s);
		if (!s->se)
			err = -EINVAL;
	}
	if (!err && fuse_session_mount(s->se, s->mountpoint))
		err = -EIO;
	log_hold_back(false);
	fuse_opt_free_args(&args);
	return err;
}

int session_serve(struct state *s)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int err;

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(config, s->options->clone_fd);
	fuse_loop_cfg_set_max_threads(config, s->options->max_threads);
	fuse_loop_cfg_set_idle_threads(config, s->options->max_threads);
	err = fuse_session_loop_mt(s->se, config);
	fuse_loop_cfg_destroy(config);
	return err > 0 ? -EIO : err;
}

void session_close(struct state *s)
{
	if (!s->se)
		return;
	fuse_session_unmount(s->se);
	fuse_session_destroy(s->se);
	s->se = NULL;
}
