/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The queue of deferred work.
 *
 * Why an orphan is never freed under somebody's feet: its job carries the
 * generation that it had when the kernel let go. The kernel is asked after that,
 * and when it says ENOENT it can't learn of this object again: there is no name
 * to look up, and handles of orphans are stale. If the number has been given to
 * another object meanwhile, the generation tells; an O_TMPFILE that the kernel
 * has not heard of yet is open before anything is freed (the orphans lock).
 */
#include "daxfuse/fuse/deferred.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

struct job {
	STAILQ_ENTRY(job) link;
	bool is_range; /* else: an orphan */
	struct deferred_range range;
	uint64_t ino;
	uint32_t generation;
};

struct deferred {
	struct state *s;
	pthread_t thread;
	pthread_mutex_t lock; /* of all below but `orphans` */
	pthread_cond_t wake;
	STAILQ_HEAD(, job) jobs;
	uint64_t rounds; /* jobs done, ever */
	bool busy, stopping;
	pthread_rwlock_t orphans; /* read: one may be made; write: one is freed */
};

/* ask: false when the session has ended: the kernel knows nothing, and is mute */
static void free_orphan(struct deferred *d, const struct job *job, bool ask)
{
	struct state *s = d->s;
	struct fs_attr attr;

	if (ask &&
	    fuse_lowlevel_notify_inval_inode(s->se, ino_to_node(job->ino), -1, 0) != -ENOENT)
		return; /* it will send another forget */
	pthread_rwlock_wrlock(&d->orphans);
	if (fs_getattr(s->fs, job->ino, &attr) == 0 && attr.generation == job->generation)
		fs_forget(s->fs, job->ino);
	pthread_rwlock_unlock(&d->orphans);
}

static void change_range(struct deferred *d, const struct deferred_range *range)
{
	struct state *s = d->s;
	int err;

	fuse_lowlevel_notify_inval_inode(s->se, range->node, 0, 0);
	err = fs_fallocate(s->fs, node_to_ino(range->node), range->mode, range->offset,
			   range->length);
	fuse_lowlevel_notify_inval_inode(s->se, range->node, 0, 0);
	if (err)
		fuse_reply_err(range->req, -err);
	else
		fuse_reply_ioctl(range->req, 0, NULL, 0);
}

static void *run(void *arg)
{
	struct deferred *d = arg;
	struct job *job;
	bool stopping;

	pthread_mutex_lock(&d->lock);
	for (;;) {
		while (!(job = STAILQ_FIRST(&d->jobs)) && !d->stopping)
			pthread_cond_wait(&d->wake, &d->lock);
		if (!job)
			break;
		STAILQ_REMOVE_HEAD(&d->jobs, link);
		stopping = d->stopping;
		d->busy = true;
		pthread_mutex_unlock(&d->lock);
		if (job->is_range)
			change_range(d, &job->range);
		else
			free_orphan(d, job, !stopping);
		free(job);
		pthread_mutex_lock(&d->lock);
		d->busy = false;
		d->rounds++;
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

static void push(struct deferred *d, struct job *job)
{
	pthread_mutex_lock(&d->lock);
	STAILQ_INSERT_TAIL(&d->jobs, job, link);
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->lock);
}

void deferred_forget(struct deferred *d, uint64_t ino)
{
	struct fs_attr attr;
	struct job *job;

	if (!fs_is_orphan(d->s->fs, ino) || fs_getattr(d->s->fs, ino, &attr))
		return;
	/* without memory it stays an orphan; the next mount frees it */
	job = calloc(1, sizeof(*job));
	if (!job)
		return;
	job->ino = ino;
	job->generation = attr.generation;
	push(d, job);
}

void deferred_fallocate(struct deferred *d, const struct deferred_range *range)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job) {
		fuse_reply_err(range->req, ENOMEM);
		return;
	}
	job->is_range = true;
	job->range = *range;
	push(d, job);
}

/*
 * A forget may be on its way still: some milliseconds are waited even when there
 * is no job. And a job may wait for requests that our caller's thread should
 * answer: so never longer than a second.
 */
bool deferred_drain(struct deferred *d)
{
	const struct timespec pause = { .tv_nsec = 500000 };
	uint64_t rounds;
	bool pending;

	pthread_mutex_lock(&d->lock);
	rounds = d->rounds;
	pthread_mutex_unlock(&d->lock);
	for (int i = 0; i < 2000; i++) {
		bool done;

		pthread_mutex_lock(&d->lock);
		pending = d->busy || !STAILQ_EMPTY(&d->jobs);
		done = d->rounds != rounds;
		pthread_mutex_unlock(&d->lock);
		if (!pending && (done || i >= 10))
			return done;
		nanosleep(&pause, NULL);
	}
	return false;
}

void deferred_hold_orphans(struct deferred *d)
{
	pthread_rwlock_rdlock(&d->orphans);
}

void deferred_release_orphans(struct deferred *d)
{
	pthread_rwlock_unlock(&d->orphans);
}

int deferred_start(struct state *s, struct deferred **ret_deferred)
{
	struct deferred *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return -ENOMEM;
	d->s = s;
	STAILQ_INIT(&d->jobs);
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->wake, NULL);
	pthread_rwlock_init(&d->orphans, NULL);
	err = pthread_create(&d->thread, NULL, run, d);
	if (err) {
		free(d);
		return -err;
	}
	*ret_deferred = d;
	return 0;
}

void deferred_stop(struct deferred *d)
{
	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	d->stopping = true;
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->lock);
	pthread_join(d->thread, NULL);
	pthread_rwlock_destroy(&d->orphans);
	pthread_cond_destroy(&d->wake);
	pthread_mutex_destroy(&d->lock);
	free(d);
}
