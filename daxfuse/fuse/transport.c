/* SPDX-License-Identifier: BSD-3-Clause */
/* The transport's life, and the functions that the vfs calls. */
#include "transport.h"
#include "daxfuse/base/errint.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "daxfuse/keeper/log.h"
#include "deferred.h"
#include "internal.h"
#include "loop.h"
#include "session.h"

static void log_libfuse(enum fuse_log_level level, const char *format, va_list args)
{
	log_library((int)level, format, args); /* the levels are syslog's */
}

void transport_log(void)
{
	fuse_set_log_func(log_libfuse);
}

const char *transport_library(void)
{
	return fuse_pkgversion();
}

bool transport_has_io_uring(void)
{
	return LIBFUSE_IO_URING;
}

errint_t transport_new(const struct transport_config *config, struct transport **ret_transport)
{
	struct transport *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->config = *config;
	t->place.path = config->attach.mountpoint;
	sem_init(&t->stop, 0, 0);
	*ret_transport = t;
	return 0;
}

void transport_free(struct transport *t)
{
	if (!t)
		return;
	deferred_free(t->deferred);
	session_free(t);
	sem_destroy(&t->stop);
	free(t);
}

/* ---- for the vfs ------------------------------------------------------------------------ */

/* Attributes may be told of in a request; dropping pages may wait for write-back. */
static void forget_cached(void *transport, uint64_t ino, bool data)
{
	struct transport *t = transport;

	if (t->config.no_mount || !deferred_runs(t->deferred))
		return;
	if (data)
		deferred_forget_pages(t->deferred, ino);
	else
		fuse_lowlevel_notify_inval_inode(t->se, ino_to_node(ino), -1, 0);
}

static bool reclaim_space(void *transport)
{
	struct transport *t = transport;

	return deferred_drain(t->deferred);
}

static bool wait_for_program(void *transport, bool begins)
{
	(void)transport;
	return loop_waiting(begins);
}

/* By a thread that serves, of an inode that the kernel may be letting go of: not to wait here. */
void transport_trimmed(void *transport, uint64_t ino)
{
	struct transport *t = transport;

	if (t->deferred && !t->config.no_mount)
		deferred_forget_attributes(t->deferred, ino);
}

void transport_vfs(struct transport *t, struct vfs_config *ret_config)
{
	ret_config->transport = t;
	ret_config->forget = forget_cached;
	ret_config->reclaim = reclaim_space;
	/* else libfuse sees to it, or another transport has threads enough */
	if (t->config.kept && !t->config.no_mount)
		ret_config->waiting = wait_for_program;
}

/* The kernel may have forgotten it with the mount. An answer that is on its way may have said times
 * from before the last store: it came too early to be believed then. */
void transport_view_ended(void *transport, uint64_t ino, int backing, bool stored)
{
	const struct transport *t = transport;
	uint32_t number = (uint32_t)backing;

	if (t->se && backing)
		ioctl(fuse_session_fd(t->se), LIBFUSE_BACKING_CLOSE, &number);
	if (!deferred_runs(t->deferred))
		return;
	if (stored)
		deferred_forget_attributes(t->deferred, ino);
	deferred_forget(t->deferred, ino);
}

/* ---- for other transports ---------------------------------------------------------------- */

void transport_changed(struct transport *t, const struct transport_change *change)
{
	if (!t->config.no_mount)
		deferred_changed(t->deferred, change);
}

void transport_let_go(struct transport *t, uint64_t ino)
{
	if (t->deferred) /* before it is mounted the kernel knows of nothing */
		deferred_forget(t->deferred, ino);
}

/* ---- serving ---------------------------------------------------------------------------- */

static void stop_waiting(struct transport *t)
{
	sem_post(&t->stop);
}

int transport_mount(struct transport *t, struct vfs *vfs, struct clients *clients,
		    struct views *views)
{
	int err;

	t->vfs = vfs;
	t->clients = clients;
	t->views = views;
	if (t->config.no_mount) {
		vfs_allow_auto(vfs); /* before any other thread asks */
		return deferred_start(t, -1, stop_waiting, &t->deferred);
	}
	err = session_open(t);
	if (!err)
		err = deferred_start(t, fuse_session_fd(t->se), session_stop, &t->deferred);
	return err;
}

/* Of the last process nobody sends anything again: guests' queues are gone on with. */
static void wait_for_stop(struct transport *t)
{
	t->config.host.greeted(t->config.host.arg);
	if (t->config.adopts)
		deferred_settle(t->deferred);
	while (sem_wait(&t->stop))
		;
}

int transport_serve(struct transport *t)
{
	if (!t->config.no_mount)
		return session_serve(t);
	wait_for_stop(t);
	return 0;
}

void transport_stop(struct transport *t, bool replaced)
{
	deferred_end(t->deferred, replaced);
}

void transport_close(struct transport *t, bool unmounted)
{
	if (!t)
		return;
	deferred_stop(t->deferred, unmounted);
	session_close(t);
}

const struct place *transport_place(const struct transport *t)
{
	return &t->place;
}

bool transport_uses_views(const struct transport *t)
{
	return t->passthrough;
}

bool transport_uses_io_uring(const struct transport *t)
{
	return t->io_uring;
}
