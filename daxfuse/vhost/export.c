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
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "backend.h"
#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/lockrank.h"

enum { PAUSE_NS = 100000000 };

struct export
{
	LIST_ENTRY(export) link;
	struct exports *all;
	struct guest *guest;
	char socket[EXPORTS_SOCKET_MAX + 1];
	char tag[EXPORTS_TAG_MAX + 1];
	struct export_options options;
	int listener, stop;
	/* under the list's lock */
	bool ready; /* its thread runs */
	bool removed;
	int connection; /* -1: nobody is there */
	uint64_t connections;
	_Atomic uint64_t bad_chains;
};

struct exports {
	struct exports_config config;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	LIST_HEAD(, export) list;
	unsigned count;   /* in the list */
	unsigned threads; /* also of those that are removed */
};

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
	x->connections += taken;
	unlock_mutex(LOCK_EXPORTS, &x->all->lock);
	return taken;
}

static void serve_connection(struct export *x, int fd)
{
	const struct backend_config config = {
		.socket = fd,
		.tag = x->tag,
		.guest = x->guest,
		.bad_chains = &x->bad_chains,
	};

	if (take_connection(x, fd)) {
		backend_serve(&config);
		lock_mutex(LOCK_EXPORTS, &x->all->lock);
		x->connection = -1;
		unlock_mutex(LOCK_EXPORTS, &x->all->lock);
	}
	close(fd);
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
	};

	while (!is_removed(x)) {
		int fd;

		poll(fds, ARRAY_SIZE(fds), -1);
		if (fds[1].revents)
			continue;
		fd = accept4(x->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			serve_connection(x, fd);
		else
			nanosleep(&pause, NULL); /* no descriptor is left */
	}
}

static void free_export(struct export *x)
{
	if (x->listener >= 0)
		close(x->listener);
	if (x->stop >= 0)
		close(x->stop);
	guest_free(x->guest);
	free(x);
}

static void leave_list_locked(struct export *x)
{
	lock_assert(LOCK_EXPORTS);
	LIST_REMOVE(x, link);
	x->all->count--;
}

static void *run_export(void *arg)
{
	struct export *x = arg;
	struct exports *e = x->all;

	accept_connections(x);
	free_export(x);
	lock_mutex(LOCK_EXPORTS, &e->lock);
	e->threads--;
	pthread_cond_broadcast(&e->ended);
	unlock_mutex(LOCK_EXPORTS, &e->lock);
	return NULL;
}

/* ---- adding and removing -----------------------------------------------------------------------
 */

static errint_t check_options(const struct export_options *options)
{
	return is_text(options->socket, EXPORTS_SOCKET_MAX) && options->socket[0] == '/' &&
			       is_text(options->tag, EXPORTS_TAG_MAX) &&
			       options->cache <= EXPORTS_CACHE_ALWAYS
		       ? 0
		       : -EINVAL;
}

static errint_t enter_list(struct exports *e, struct export *x)
{
	struct export *other;
	int err = 0;

	lock_mutex(LOCK_EXPORTS, &e->lock);
	LIST_FOREACH(other, &e->list, link) {
		if (!strcmp(other->socket, x->socket) || !strcmp(other->tag, x->tag))
			err = -EEXIST;
	}
	if (!err && e->count >= EXPORTS_MAX)
		err = -EMFILE;
	if (!err) {
		LIST_INSERT_HEAD(&e->list, x, link);
		e->count++;
	}
	unlock_mutex(LOCK_EXPORTS, &e->lock);
	return err;
}

static errint_t open_guest(struct export *x)
{
	const struct guest_config config = {
		.vfs = x->all->config.vfs,
		.root = x->options.root,
		.read_only = x->options.read_only,
		.cache = x->options.cache,
		.host = &x->all->config.host,
	};
	struct fs_attr attr;
	int err = vfs_getattr(config.vfs, config.root, &attr);

	if (!err && !S_ISDIR(attr.mode))
		err = -ENOTDIR;
	return err ? err : guest_new(&config, &x->guest);
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

static errint_t open_export(struct export *x)
{
	int err = open_guest(x);

	if (!err && x->stop < 0)
		err = -EMFILE;
	if (!err)
		err = listen_at(x->socket, &x->listener);
	if (err)
		return err;
	err = start_export(x);
	if (err)
		unlink(x->socket);
	return err;
}

errint_t exports_add(struct exports *e, const struct export_options *options)
{
	struct export *x;
	int err = check_options(options);

	if (err)
		return err;
	x = calloc(1, sizeof(*x));
	if (!x)
		return -ENOMEM;
	x->all = e;
	x->options = *options;
	strcpy(x->socket, options->socket);
	strcpy(x->tag, options->tag);
	x->listener = x->connection = -1;
	x->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = enter_list(e, x);
	if (err) {
		free_export(x);
		return err;
	}
	err = open_export(x);
	if (err) {
		lock_mutex(LOCK_EXPORTS, &e->lock);
		leave_list_locked(x);
		unlock_mutex(LOCK_EXPORTS, &e->lock);
		free_export(x);
	}
	return err;
}

static void remove_export_locked(struct export *x)
{
	leave_list_locked(x);
	x->removed = true;
	if (x->connection >= 0)
		shutdown(x->connection, SHUT_RDWR);
	unlink(x->socket);
	eventfd_write(x->stop, 1);
}

errint_t exports_remove(struct exports *e, const char *socket)
{
	struct export *x;
	int err = -ENOENT;

	lock_mutex(LOCK_EXPORTS, &e->lock);
	LIST_FOREACH(x, &e->list, link) {
		if (x->ready && !strcmp(x->socket, socket))
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

errint_t exports_open(const struct exports_config *config, struct exports **ret_exports)
{
	struct exports *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->config = *config;
	LIST_INIT(&e->list);
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->ended, NULL);
	*ret_exports = e;
	return 0;
}

void exports_close(struct exports *e)
{
	if (!e)
		return;
	lock_mutex(LOCK_EXPORTS, &e->lock);
	while (!LIST_EMPTY(&e->list))
		remove_export_locked(LIST_FIRST(&e->list));
	while (e->threads)
		pthread_cond_wait(&e->ended, &e->lock);
	unlock_mutex(LOCK_EXPORTS, &e->lock);
	pthread_cond_destroy(&e->ended);
	pthread_mutex_destroy(&e->lock);
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
	json_object_object_add(o, "socket", json_object_new_string(x->socket));
	json_object_object_add(o, "tag", json_object_new_string(x->tag));
	add_number(o, "root", x->options.root);
	json_object_object_add(o, "read_only", json_object_new_boolean(x->options.read_only));
	json_object_object_add(o, "cache", json_object_new_string(caches[x->options.cache]));
	json_object_object_add(o, "connected", json_object_new_boolean(x->connection >= 0));
	add_number(o, "connections", x->connections);
	add_number(o, "requests", counts.requests);
	add_number(o, "refused", counts.refused);
	add_number(o, "bad_chains", atomic_load_explicit(&x->bad_chains, memory_order_relaxed));
	add_number(o, "nodes", counts.nodes);
	add_number(o, "files", counts.files);
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
