/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Exports: each has a socket, one front end at a time, and a thread that waits for it and serves
 * its connection. When a front end goes all that its guest held is let go of, and the next one may
 * come.
 *
 * An export is removed by its own thread, as a thread that serves the kernel must not wait for one:
 * that may have to wait for the kernel (exports_host.changed()).
 */
#include "exports.h"

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/lockrank.h"
#include "daxfuse/pmem/device.h"
#include "daxfuse/vfs/mapped.h"
#include "dialect.h"
#include "export.h"
#include "window.h"

enum { PAUSE_NS = 100000000, PAUSE_SECONDS = 2, ANSWER_SECONDS = 5 };

/* ---- the socket ----------------------------------------------------------------------------- */

static bool is_text(const char *text, size_t most)
{
	size_t length = strlen(text);

	for (size_t i = 0; i < length; i++) {
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return false;
	}
	return length && length <= most;
}

/* Whether a socket lies there that nobody listens at any more. */
static bool is_left_over(const struct sockaddr_un *address)
{
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st;

	return fd >= 0 && !lstat(address->sun_path, &st) && S_ISSOCK(st.st_mode) &&
	       connect(fd, (const struct sockaddr *)address, sizeof(*address)) &&
	       errno == ECONNREFUSED;
}

/* Its owner's alone, from the beginning. */
static errint_t listen_at(const char *path, int *ret_fd)
{
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int err;

	strcpy(address.sun_path, path);
	if (fd < 0 || fchmod(fd, 0600))
		return -errno;
	err = bind(fd, (const struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
	if (err == -EADDRINUSE && is_left_over(&address) && !unlink(path))
		err = bind(fd, (const struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
	if (err)
		return err;
	if (listen(fd, SOMAXCONN)) {
		err = -errno;
		unlink(path);
		return err;
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* ---- a thread -------------------------------------------------------------------------------- */

/* Whether one is there now; the lock makes sure that it is shut down if the export is removed. */
static bool take_connection(struct export *x, int fd)
{
	bool taken;

	lock_mutex(LOCK_EXPORTS, &x->all->lock);
	taken = !x->removed;
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
		},
		.window = x->window,
		.device = x->window ? device_fd(x->all->config.dev) : -1,
		.record = &x->record->backend,
		.adopted = adopted,
		.keep = keep_connection,
		.message = note_message,
		.arg = x,
	};

	limit_answers(fd);
	x->record->vmm_pid = peer_of(fd);
	backend_serve(&config);
	leave_window(x);
	end_connection(x, fd);
}

static bool is_removed(struct export *x)
{
	bool removed;

	lock_mutex(LOCK_EXPORTS, &x->all->lock);
	removed = x->removed;
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

void export_free(struct export *x)
{
	if (x->listener >= 0)
		close(x->listener);
	if (x->stop >= 0)
		close(x->stop);
	guest_free(x->guest);
	window_free(x->window);
	record_free(x->memory, x->record);
	free(x);
}

void exports_insert_locked(struct export *x)
{
	lock_assert(LOCK_EXPORTS);
	LIST_INSERT_HEAD(&x->all->list, x, link);
	x->all->number[x->number] = true;
	x->all->count++;
}

/* Its number is its own as long as its thread runs. */
static void leave_list_locked(struct export *x)
{
	lock_assert(LOCK_EXPORTS);
	LIST_REMOVE(x, link);
	x->all->count--;
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

static void *run_export(void *arg)
{
	struct export *x = arg;
	struct exports *e = x->all;

	unsigned number = x->number;

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

/* ---- adding and removing -----------------------------------------------------------------------
 */

static errint_t check_options(const struct exports *e, const struct export_options *options)
{
	if (!is_text(options->socket, EXPORTS_SOCKET_MAX) || options->socket[0] != '/' ||
	    !is_text(options->tag, EXPORTS_TAG_MAX) || options->cache > EXPORTS_CACHE_ALWAYS ||
	    options->vmm > EXPORTS_ALIOTH)
		return -EINVAL;
	if (!options->window)
		return 0;
	if (vfs_is_read_only(e->config.vfs))
		return -EROFS;
	return dialect_check(dialect_of(options->vmm), options->window, options->read_only);
}

static bool is_same_directory(const struct export_record *a, const struct export_record *b)
{
	return a->root == b->root && a->cache == b->cache && a->read_only == b->read_only &&
	       a->window == b->window && a->vmm == b->vmm;
}

/* Where nobody else is; it has a number then. */
static errint_t enter_list(struct exports *e, struct export *x)
{
	const struct export *other;
	int err = 0;

	lock_mutex(LOCK_EXPORTS, &e->lock);
	LIST_FOREACH(other, &e->list, link) {
		bool socket = !strcmp(other->record->socket, x->record->socket);
		bool tag = !strcmp(other->record->tag, x->record->tag);

		if (socket && tag && is_same_directory(other->record, x->record))
			err = -EALREADY;
		else if (socket || tag)
			err = -EEXIST;
	}
	while (x->number < EXPORTS_MAX && e->number[x->number])
		x->number++;
	if (!err && x->number == EXPORTS_MAX)
		err = -EMFILE;
	if (!err)
		exports_insert_locked(x);
	unlock_mutex(LOCK_EXPORTS, &e->lock);
	return err;
}

static errint_t open_window(struct export *x)
{
	const struct window_config config = {
		.vfs = x->all->config.vfs,
		.device = device_fd(x->all->config.dev),
		.dialect = dialect_of(x->record->vmm),
		.size = x->record->window,
		.read_only = x->record->read_only,
		.host = &x->all->config.host,
		.record = record_window(x->record),
	};

	return config.size ? window_new(&config, &x->window) : 0;
}

static errint_t open_guest(struct export *x)
{
	const struct guest_config config = {
		.vfs = x->all->config.vfs,
		.root = x->record->root,
		.read_only = x->record->read_only,
		.cache = x->record->cache,
		.window = x->window,
		.host = &x->all->config.host,
		.record = record_guest(x->record),
	};
	struct fs_attr attr;
	int err = vfs_getattr(config.vfs, config.root, &attr);

	if (!err && !S_ISDIR(attr.mode))
		err = -ENOTDIR;
	if (!err && x->record->generation && x->record->generation != attr.generation)
		err = -ESTALE;
	x->record->generation = attr.generation;
	return err ? err : guest_new(&config, &x->guest);
}

errint_t export_new(struct exports *e, int memory, struct export_record *record,
		    struct export **ret_export)
{
	CLEANUP_FREE struct export *x = calloc(1, sizeof(*x));
	CLEANUP_FD int stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int err;

	if (!x)
		return -ENOMEM;
	if (stop < 0)
		return -errno;
	x->all = e;
	x->record = record;
	x->listener = x->connection = x->fds.channel = x->process = -1;
	err = open_window(x);
	if (!err)
		err = open_guest(x);
	if (err) {
		window_free(x->window);
		return err;
	}
	x->memory = memory;
	x->stop = TAKE_FD(stop);
	*ret_export = TAKE_POINTER(x);
	return 0;
}

static errint_t start_export(struct export *x)
{
	struct exports *e = x->all;
	pthread_attr_t detached;
	pthread_t thread;
	int err;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	lock_mutex(LOCK_EXPORTS, &e->lock);
	err = -pthread_create(&thread, &detached, run_export, x);
	x->ready = !err;
	e->threads += !err;
	unlock_mutex(LOCK_EXPORTS, &e->lock);
	pthread_attr_destroy(&detached);
	return err;
}

static errint_t make_export(struct exports *e, const struct export_options *options,
			    struct export **ret_export)
{
	struct export_record *record;
	int memory, err = record_make(options->window, &memory, &record);

	if (err)
		return err;
	strcpy(record->socket, options->socket);
	strcpy(record->tag, options->tag);
	record->root = options->root;
	record->cache = options->cache;
	record->vmm = options->vmm;
	record->read_only = options->read_only;
	err = export_new(e, memory, record, ret_export);
	if (err)
		record_free(memory, record);
	return err;
}

/* Order: the next process finds it before a VMM can. */
static errint_t open_export(struct export *x)
{
	int err = listen_at(x->record->socket, &x->listener);

	if (err)
		return err;
	export_keep(x, NULL);
	if (x->all->started)
		err = start_export(x);
	if (err) {
		shelf_remove(&x->all->shelf, x->number);
		unlink(x->record->socket);
	}
	return err;
}

errint_t exports_add(struct exports *e, const struct export_options *options)
{
	struct export *x;
	int err = check_options(e, options);

	if (!err)
		err = make_export(e, options, &x);
	if (err)
		return err;
	err = enter_list(e, x);
	if (!err) {
		err = open_export(x);
		if (err) {
			lock_mutex(LOCK_EXPORTS, &e->lock);
			leave_list_locked(x);
			e->number[x->number] = false;
			unlock_mutex(LOCK_EXPORTS, &e->lock);
		}
	}
	if (err)
		export_free(x);
	return err;
}

static void remove_export_locked(struct export *x)
{
	leave_list_locked(x);
	x->removed = x->record->removed = true;
	shelf_remove(&x->all->shelf, x->number);
	/* nothing more is taken from the front end; its window is emptied before it is left */
	if (x->connection >= 0)
		shutdown(x->connection, SHUT_RD);
	unlink(x->record->socket);
	eventfd_write(x->stop, 1);
}

errint_t exports_remove(struct exports *e, const char *socket)
{
	struct export *x;
	int err = -ENOENT;

	lock_mutex(LOCK_EXPORTS, &e->lock);
	LIST_FOREACH(x, &e->list, link) {
		if (x->ready && !strcmp(x->record->socket, socket))
			break;
	}
	if (x) {
		remove_export_locked(x);
		err = 0;
	}
	unlock_mutex(LOCK_EXPORTS, &e->lock);
	return err;
}

/* ---- all ------------------------------------------------------------------------------------- */

errint_t exports_open(const struct exports_config *config, struct exports **ret_exports,
		      unsigned *ret_lost)
{
	struct exports *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->ending = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (e->ending < 0) {
		free(e);
		return -EMFILE;
	}
	e->config = *config;
	LIST_INIT(&e->list);
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->ended, NULL);
	shelf_open(&e->shelf, config->shelf_in, config->shelf_out);
	*ret_exports = e;
	*ret_lost = exports_adopt(e);
	return 0;
}

/* What is under way in their queues must have its slots (answers.h) before others are settled. */
errint_t exports_start(struct exports *e)
{
	struct export *x;
	int err = 0;

	e->started = true;
	LIST_FOREACH(x, &e->list, link) {
		int failed = start_export(x);

		err = err ? err : failed;
	}
	lock_mutex(LOCK_EXPORTS, &e->lock);
	LIST_FOREACH(x, &e->list, link) {
		while (x->ready && x->adopted && !x->began)
			pthread_cond_wait(&e->ended, &e->lock);
	}
	unlock_mutex(LOCK_EXPORTS, &e->lock);
	return err;
}

static bool is_message_under_way_locked(const struct exports *e)
{
	const struct export *x;

	LIST_FOREACH(x, &e->list, link) {
		if (x->record->backend.reading)
			return true;
	}
	return false;
}

void exports_pause(struct exports *e)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PAUSE_SECONDS;
	lock_mutex(LOCK_EXPORTS, &e->lock);
	e->paused = true;
	while (is_message_under_way_locked(e) &&
	       pthread_cond_timedwait(&e->ended, &e->lock, &until) != ETIMEDOUT)
		;
	unlock_mutex(LOCK_EXPORTS, &e->lock);
}

bool exports_are_kept(struct exports *e)
{
	const struct export *x;
	bool kept = true;

	lock_mutex(LOCK_EXPORTS, &e->lock);
	LIST_FOREACH(x, &e->list, link)
		kept = kept && x->kept;
	unlock_mutex(LOCK_EXPORTS, &e->lock);
	return kept;
}

void exports_close(struct exports *e)
{
	if (!e)
		return;
	eventfd_write(e->ending, 1);
	lock_mutex(LOCK_EXPORTS, &e->lock);
	while (!LIST_EMPTY(&e->list)) {
		struct export *x = LIST_FIRST(&e->list);
		bool ready = x->ready;

		remove_export_locked(x);
		if (!ready) /* else its thread does */
			export_free(x);
	}
	while (e->threads)
		pthread_cond_wait(&e->ended, &e->lock);
	unlock_mutex(LOCK_EXPORTS, &e->lock);
	shelf_close(&e->shelf);
	pthread_cond_destroy(&e->ended);
	pthread_mutex_destroy(&e->lock);
	close(e->ending);
	free(e);
}

unsigned exports_count(struct exports *e)
{
	unsigned count;

	lock_mutex(LOCK_EXPORTS, &e->lock);
	count = e->count;
	unlock_mutex(LOCK_EXPORTS, &e->lock);
	return count;
}

static void add_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

static struct json_object *report_window(const struct export *x)
{
	static const char *const vmms[] = {
		[EXPORTS_QEMU] = "qemu",
		[EXPORTS_CROSVM] = "crosvm",
		[EXPORTS_ALIOTH] = "alioth",
	};
	struct json_object *o = json_object_new_object();
	struct window_counts counts;

	window_counts(x->window, &counts);
	json_object_object_add(o, "vmm", json_object_new_string(vmms[x->record->vmm]));
	add_number(o, "bytes", window_size(x->window));
	json_object_object_add(o, "usable",
			       json_object_new_boolean(window_is_connected(x->window)));
	add_number(o, "units", counts.units);
	add_number(o, "files", counts.files);
	add_number(o, "mapped", counts.mapped);
	add_number(o, "removed", counts.removed);
	add_number(o, "upgraded", counts.upgraded);
	add_number(o, "refused", counts.refused);
	add_number(o, "lost", counts.lost);
	/* QEMU says no more than that */
	if (counts.refused && x->record->vmm == EXPORTS_QEMU)
		json_object_object_add(o, "advice",
				       json_object_new_string("QEMU does not map units: preload "
							      "contrib/qemu/align.c"));
	return o;
}

static struct json_object *report_export_locked(struct export *x)
{
	static const char *const caches[] = {
		[EXPORTS_CACHE_NONE] = "none",
		[EXPORTS_CACHE_AUTO] = "auto",
		[EXPORTS_CACHE_ALWAYS] = "always",
	};
	struct json_object *o = json_object_new_object();
	struct guest_counts counts;

	guest_counts(x->guest, &counts);
	json_object_object_add(o, "socket", json_object_new_string(x->record->socket));
	json_object_object_add(o, "tag", json_object_new_string(x->record->tag));
	add_number(o, "root", x->record->root);
	json_object_object_add(o, "read_only", json_object_new_boolean(x->record->read_only));
	json_object_object_add(o, "cache", json_object_new_string(caches[x->record->cache]));
	json_object_object_add(o, "connected", json_object_new_boolean(x->connection >= 0));
	json_object_object_add(o, "kept", json_object_new_boolean(x->kept));
	add_number(o, "connections", x->record->connections);
	add_number(o, "requests", counts.requests);
	add_number(o, "refused", counts.refused);
	add_number(o, "bad_chains", x->record->bad_chains);
	add_number(o, "nodes", counts.nodes);
	add_number(o, "files", counts.files);
	if (x->window)
		json_object_object_add(o, "window", report_window(x));
	return o;
}

struct json_object *exports_report(struct exports *e)
{
	struct json_object *array = json_object_new_array();
	struct export *x;

	lock_mutex(LOCK_EXPORTS, &e->lock);
	LIST_FOREACH(x, &e->list, link) {
		if (x->ready)
			json_object_array_add(array, report_export_locked(x));
	}
	unlock_mutex(LOCK_EXPORTS, &e->lock);
	return array;
}
