/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Exports: the list of all, adding and removing them. Each has a socket, and a thread (serve.c).
 *
 * An export is removed by its own thread, as a thread that serves the kernel must not wait for one:
 * that may have to wait for the kernel (exports_host.changed()).
 */
#include "exports.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/confine.h"
#include "daxfuse/base/lockrank.h"
#include "daxfuse/pmem/device.h"
#include "daxfuse/vfs/mapped.h"
#include "dialect.h"
#include "export.h"
#include "window.h"

enum { PAUSE_SECONDS = 2 };

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
	err = -pthread_create(&thread, &detached, export_run, x);
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
	x->record->removed = true;
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
	confine_begin();
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
