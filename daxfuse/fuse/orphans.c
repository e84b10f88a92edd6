/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Freeing what has no name any more. The core keeps an inode without a name
 * until it is told that nobody can reach it. Only the kernel knows, and lookup
 * counts are not kept (they would not survive the daemon): so when the kernel has
 * forgotten or closed something that is an orphan, it is asked. An inode that it
 * does not know any more is answered ENOENT to an invalidation.
 *
 * Asking happens in a thread of its own: an invalidation may have to wait for
 * requests that the threads of the session are to answer.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "daxfuse/fuse/session.h"

struct orphans {
	struct session *session;
	pthread_t thread;
	pthread_mutex_t lock;   /* over the queue */
	pthread_cond_t wake, idle;
	uint64_t *queue;
	size_t count, size;
	uint64_t freed, rounds;
	bool busy, stop;
};

/* The kernel does not know it any more: it is freed. */
static bool try_free(struct session *s, uint64_t ino)
{
	if (!fs_is_orphan(s->fs, ino) ||
	    fuse_lowlevel_notify_inval_inode(s->fuse, ino_node(ino), -1, 0) != -ENOENT)
		return false;
	fs_forget(s->fs, ino);
	return !fs_is_orphan(s->fs, ino);
}

static void *run(void *arg)
{
	struct orphans *o = arg;

	pthread_mutex_lock(&o->lock);
	for (;;) {
		uint64_t *queue, freed = 0;
		size_t count;

		while (!o->count && !o->stop)
			pthread_cond_wait(&o->wake, &o->lock);
		if (!o->count)
			break;
		queue = o->queue;
		count = o->count;
		o->queue = NULL;
		o->count = o->size = 0;
		o->busy = true;
		pthread_mutex_unlock(&o->lock);
		for (size_t i = 0; i < count; i++)
			freed += try_free(o->session, queue[i]);
		free(queue);
		pthread_mutex_lock(&o->lock);
		o->busy = false;
		o->freed += freed;
		o->rounds++;
		pthread_cond_broadcast(&o->idle);
	}
	pthread_mutex_unlock(&o->lock);
	return NULL;
}

int orphans_start(struct session *session)
{
	struct orphans *o = calloc(1, sizeof(*o));
	int err;

	if (!o)
		return -ENOMEM;
	o->session = session;
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->wake, NULL);
	pthread_cond_init(&o->idle, NULL);
	err = pthread_create(&o->thread, NULL, run, o);
	if (err) {
		free(o);
		return -err;
	}
	session->orphans = o;
	return 0;
}

void orphans_stop(struct session *session)
{
	struct orphans *o = session->orphans;

	if (!o)
		return;
	pthread_mutex_lock(&o->lock);
	o->stop = true;
	pthread_cond_signal(&o->wake);
	pthread_mutex_unlock(&o->lock);
	pthread_join(o->thread, NULL);
	pthread_mutex_destroy(&o->lock);
	pthread_cond_destroy(&o->wake);
	pthread_cond_destroy(&o->idle);
	free(o->queue);
	free(o);
	session->orphans = NULL;
}

void orphans_check(struct session *session, uint64_t ino)
{
	struct orphans *o = session->orphans;

	if (!o || !fs_is_orphan(session->fs, ino))
		return;
	pthread_mutex_lock(&o->lock);
	if (o->count == o->size) {
		size_t size = o->size ? o->size * 2 : 64;
		uint64_t *queue = realloc(o->queue, size * sizeof(*queue));

		if (!queue) {
			/* it waits for the next mount */
			pthread_mutex_unlock(&o->lock);
			return;
		}
		o->queue = queue;
		o->size = size;
	}
	o->queue[o->count++] = ino;
	pthread_cond_signal(&o->wake);
	pthread_mutex_unlock(&o->lock);
}

bool orphans_drain(struct session *session)
{
	struct orphans *o = session->orphans;
	uint64_t freed;

	if (!o)
		return false;
	pthread_mutex_lock(&o->lock);
	freed = o->freed;
	while (o->count || o->busy)
		pthread_cond_wait(&o->idle, &o->lock);
	freed = o->freed - freed;
	pthread_mutex_unlock(&o->lock);
	return freed > 0;
}
