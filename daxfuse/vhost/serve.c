/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread of an export: it waits for front ends, and serves one at a time. When one goes, all
 * that its guest held is let go of; what its VMM has mapped still, is waited for.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/confine.h"
#include "daxfuse/base/lockrank.h"
#include "daxfuse/pmem/device.h"
#include "export.h"
#include "window.h"

enum { PAUSE_NS = 100000000, ANSWER_SECONDS = 5 };

/* Whether one is there now; the lock makes sure that it is shut down if the export is removed. */
static bool take_connection(struct export *x, int fd)
{
	bool taken;

	lock_mutex(LOCK_EXPORTS, &x->all->lock);
	taken = !x->record->removed;
	x->connection = taken ? fd : -1;
	unlock_mutex(LOCK_EXPORTS, &x->all->lock);
	return taken;
}

static void keep_connection(void *arg, const struct backend_fds *fds)
{
	struct export *x = arg;

	export_keep(x, fds);
	lock_mutex(LOCK_EXPORTS, &x->all->lock);
	x->began = true;
	pthread_cond_broadcast(&x->all->ended);
	unlock_mutex(LOCK_EXPORTS, &x->all->lock);
}

/* Not while we are about to be replaced: it would be cut short. */
static void note_message(void *arg, bool begins)
{
	struct export *x = arg;
	struct exports *e = x->all;

	lock_mutex(LOCK_EXPORTS, &e->lock);
	while (begins && e->paused)
		pthread_cond_wait(&e->ended, &e->lock);
	atomic_store_explicit(&x->record->backend.reading, begins, memory_order_release);
	pthread_cond_broadcast(&e->ended);
	unlock_mutex(LOCK_EXPORTS, &e->lock);
}

/*
 * A VMM that has lost its connection goes on with what it has mapped, and so does its guest: what
 * could not be taken from it stays the files' until it ends, or connects again; as long as the
 * mount if it has no number here, as it is in another container. (When the mount ends, it keeps the
 * device locked.)
 */
static void leave_window(struct export *x)
{
	pid_t pid = x->record->vmm_pid;

	if (!x->window)
		return;
	window_disconnect(x->window);
	if (x->process >= 0)
		close(x->process);
	x->process = -1;
	if (!window_is_in_use(x->window) || pid <= 0)
		return;
	x->process = (int)syscall(SYS_pidfd_open, pid, 0);
	if (x->process < 0 && errno == ESRCH)
		window_abandon(x->window);
}

static void forget_vmm(struct export *x)
{
	if (x->process >= 0)
		close(x->process);
	x->process = -1;
	if (x->window)
		window_abandon(x->window);
}

/* Whether a VMM that has gone has the window still, or another one than this. */
static bool is_held(const struct export *x, pid_t pid)
{
	return x->window && window_is_in_use(x->window) && (pid <= 0 || pid != x->record->vmm_pid);
}

/* Of an export that was removed. */
static void await_vmm(struct export *x)
{
	struct pollfd fds[] = {
		{ .fd = x->process, .events = POLLIN },
		{ .fd = x->all->ending, .events = POLLIN },
	};

	while (x->window && window_is_in_use(x->window) && !fds[0].revents && !fds[1].revents)
		poll(fds, ARRAY_SIZE(fds), -1);
	forget_vmm(x);
}

/* A front end that does not read is given up after a while: an answer must not wait for ever. */
static void limit_answers(int fd)
{
	const struct timeval limit = { .tv_sec = ANSWER_SECONDS };

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

static pid_t peer_of(int fd)
{
	struct ucred peer = { 0 };
	socklen_t size = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) ? 0 : peer.pid;
}

/* Order: the next process doesn't find it before we end it. */
static void end_connection(struct export *x, int fd)
{
	export_keep(x, NULL);
	lock_mutex(LOCK_EXPORTS, &x->all->lock);
	x->connection = -1;
	x->began = true;
	pthread_cond_broadcast(&x->all->ended);
	unlock_mutex(LOCK_EXPORTS, &x->all->lock);
	shutdown(fd, SHUT_RDWR); /* it may lie on the shelf still */
	close(fd);
}

static void report_refused(void *arg, long call)
{
	const struct export *x = arg;
	const struct exports_host *host = &x->all->config.host;

	host->refused(host->arg, x->record->socket, call);
}

static void serve_connection(struct export *x, int fd, const struct backend_fds *adopted)
{
	const struct backend_config config = {
		.socket = fd,
		.tag = x->record->tag,
		.rings = {
			.guest = x->guest,
			.bad_chains = &x->record->bad_chains,
			.answers = x->all->config.answers,
			.number = x->number,
			.ioctls = x->all->config.ioctls,
			.refused = report_refused,
			.arg = x,
		},
		.window = x->window,
		.device = x->window ? device_fd(x->all->config.dev) : -1,
		.record = &x->record->backend,
		.adopted = adopted,
		.keep = keep_connection,
		.message = note_message,
		.arg = x,
	};

	long refused;

	limit_answers(fd);
	x->record->vmm_pid = peer_of(fd);
	backend_serve(&config);
	leave_window(x);
	refused = confine_take_refused();
	if (refused >= 0)
		report_refused(x, refused);
	end_connection(x, fd);
}

static bool is_removed(struct export *x)
{
	bool removed;

	lock_mutex(LOCK_EXPORTS, &x->all->lock);
	removed = x->record->removed;
	unlock_mutex(LOCK_EXPORTS, &x->all->lock);
	return removed;
}

static void accept_connections(struct export *x)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	struct pollfd fds[] = {
		{ .fd = x->listener, .events = POLLIN },
		{ .fd = x->stop, .events = POLLIN },
		{ .events = POLLIN },
	};

	while (!is_removed(x)) {
		int fd;

		fds[2].fd = x->process;
		fds[2].revents = 0;
		poll(fds, ARRAY_SIZE(fds), -1);
		if (fds[2].revents)
			forget_vmm(x);
		if (fds[1].revents || !fds[0].revents)
			continue;
		fd = accept4(x->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) {
			nanosleep(&pause, NULL); /* no descriptor is left */
		} else if (is_held(x, peer_of(fd))) {
			close(fd);
		} else if (take_connection(x, fd)) {
			x->record->connections++;
			serve_connection(x, fd, NULL);
		} else {
			close(fd);
		}
	}
}

/* Of a connection that was not gone on with. */
static void forget_guest(struct export *x)
{
	if (x->window) {
		window_connect(x->window, x->fds.channel);
		leave_window(x);
	}
	guest_reset(x->guest);
}

void *export_run(void *arg)
{
	struct export *x = arg;
	struct exports *e = x->all;
	unsigned number = x->number;

	pthread_setname_np(pthread_self(), "daxfuse-guest");
	atomic_store(&x->confined, confine_thread(CONFINE_CONNECTION, e->config.ioctls));
	if (x->adopted)
		serve_connection(x, x->connection, &x->fds);
	else
		forget_guest(x);
	accept_connections(x);
	await_vmm(x);
	export_free(x);
	lock_mutex(LOCK_EXPORTS, &e->lock);
	e->number[number] = false;
	e->threads--;
	pthread_cond_broadcast(&e->ended);
	unlock_mutex(LOCK_EXPORTS, &e->lock);
	return NULL;
}
