/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The queues of deferred work.
 *
 * Why an orphan is never freed under somebody's feet: its job carries the
 * generation that it had when the kernel let go. The kernel is asked after that,
 * and when it says ENOENT it can't learn of this object again: there is no name
 * to look up, and handles of orphans are stale. If the number has been given to
 * another object meanwhile, the generation tells; an O_TMPFILE that the kernel
 * has not heard of yet is open before anything is freed.
 */
#include "deferred.h"
#include "daxfuse/base/errint.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

#include "daxfuse/base/lockrank.h"
#include "daxfuse/keeper/kernel.h"
#include "notifier.h"
#include "daxfuse/keeper/outside.h"
#include "requests.h"

enum { SWEEP_SECONDS = 1 };

/* A change whose thread waits until the kernel has heard of it. */
struct awaited_change {
	const struct transport_change *what;
	bool done; /* under the queue's lock */
};

struct job {
	STAILQ_ENTRY(job) link;
	enum {
		JOB_ORPHAN,
		JOB_RANGE,
		JOB_SETTLE,
		JOB_SWEEP,
		JOB_PAGES,
		JOB_ATTRIBUTES,
		JOB_WRITTEN,
		JOB_CHANGED
	} kind;
	struct deferred_range range;
	struct deferred_write write;
	struct awaited_change *change;
	uint64_t ino;
	uint32_t generation;
};

/* A thread with a queue, and somebody of its own to tell the kernel. */
struct lane {
	struct deferred *deferred;
	struct notifier *notifier;
	pthread_t thread;
	pthread_cond_t wake;
	STAILQ_HEAD(, job) jobs;
	bool busy;
};

/* Answers of writes wait for nothing but the kernel, and have a lane to themselves. */
enum { LANE_WORK, LANE_WRITES, LANES };

struct deferred {
	struct transport *transport;
	void (*end)(struct transport *t);
	pthread_mutex_t lock;       /* of all below, and in the lanes */
	pthread_cond_t told_kernel; /* an awaited_change is done */
	struct lane lane[LANES];
	struct job *later; /* work that begins at later_at (CLOCK_MONOTONIC); or NULL */
	struct timespec later_at;
	uint64_t rounds;       /* jobs done that may have freed space, ever */
	bool ending;           /* no job is begun any more; and then the loop is told to stop */
	bool told;             /* it was */
	bool replaced;         /* the mount goes on without us */
	bool stopping;         /* the loop has ended */
	bool no_kernel;        /* there never was a mount */
	atomic_bool unmounted; /* it has ended, too */
};

static bool is_unmounted(const struct deferred *d)
{
	return d->no_kernel || atomic_load_explicit(&d->unmounted, memory_order_relaxed);
}

static struct notifier *work_notifier(const struct deferred *d)
{
	return d->lane[LANE_WORK].notifier;
}

/* Once unmounted the kernel knows nothing, and is mute. */
static bool is_unknown(struct deferred *d, uint64_t ino)
{
	return is_unmounted(d) ||
	       notifier_invalidate(work_notifier(d), ino_to_node(ino), -1, 0) == -ENOENT;
}

static void free_orphan(struct deferred *d, uint64_t ino, uint32_t generation)
{
	const struct transport *t = d->transport;

	if (t->passthrough && !is_unmounted(d) && views_hold(t->views, ino))
		return;         /* when the view has ended it comes again */
	if (is_unknown(d, ino)) /* else it will send another forget */
		vfs_reap(d->transport->vfs, ino, generation);
}

/*
 * The kernel appends at the end that it believes in, without asking, and goes on believing a size
 * that it was told to forget, until it asks: so it is made to ask.
 */
static void renew_size(struct transport *t, uint64_t ino, int pid)
{
	struct fs_attr attr;

	if (vfs_getattr(t->vfs, ino, &attr) == 0 && S_ISREG(attr.mode))
		outside_ask(&t->place, ino_to_node(ino), attr.generation, pid);
}

static void change_range(struct deferred *d, const struct deferred_range *range)
{
	struct transport *t = d->transport;
	struct request request;
	int err;

	requests_attach(range->answer);
	request = request_of(range->req);
	notifier_invalidate(work_notifier(d), range->node, 0, 0);
	err = vfs_fallocate(t->vfs, &request.vfs, node_to_ino(range->node), range->mode,
			    range->offset, range->length);
	notifier_invalidate(work_notifier(d), range->node, 0, 0);
	renew_size(t, node_to_ino(range->node), fuse_req_ctx(range->req)->pid);
	if (err)
		fuse_reply_err(range->req, -err);
	else
		fuse_reply_ioctl(range->req, 0, NULL, 0);
	if (t->config.answers)
		requests_end(t->config.answers);
}

static void answer_write(struct deferred *d, const struct deferred_write *write)
{
	struct transport *t = d->transport;

	requests_attach(write->answer);
	notifier_invalidate(d->lane[LANE_WRITES].notifier, write->node, write->offset,
			    (int64_t)write->length);
	fuse_reply_write(write->req, write->length);
	if (t->config.answers)
		requests_end(t->config.answers);
}

/* A kernel that does not know the inode has nothing to forget; one that does not know a directory
 * knows no name in it. */
static void tell_of_change(struct deferred *d, const struct transport_change *change)
{
	struct notifier *notifier = work_notifier(d);
	fuse_ino_t node = ino_to_node(change->ino);

	if (notifier_invalidate(notifier, node, change->data ? 0 : -1, 0) == -ENOENT)
		return;
	if (change->name)
		notifier_forget_name(notifier, node, change->name);
	if (change->size)
		renew_size(d->transport, change->ino, 0);
}

/* ---- after taking over ------------------------------------------------------- */

/* Whether it changes files, and no names. */
static bool changes_file(const struct vfs_answer *request)
{
	switch (request->opcode) {
	case FUSE_OPEN: /* O_TRUNC */
	case FUSE_SETATTR:
	case FUSE_WRITE:
	case FUSE_FALLOCATE:
	case FUSE_COPY_FILE_RANGE:
	case KERNEL_COPY_FILE_RANGE_64:
	case FUSE_IOCTL:
		return true;
	}
	return false;
}

static bool opens_file(const struct vfs_answer *request)
{
	return request->opcode == FUSE_OPEN || request->opcode == FUSE_CREATE ||
	       request->opcode == FUSE_TMPFILE;
}

/* Of the kernel's own request it is a node, of another transport's an inode. */
static void forget_lost(struct deferred *d, uint64_t node)
{
	if (node)
		notifier_invalidate(work_notifier(d), ino_to_node(node_to_ino(node)), 0, 0);
}

/* The kernel was not told, so it may believe in names that are gone, or not know new
 * ones; of directories and files it has the old lists, data and times. */
static void forget_effect(void *arg, const struct vfs_answer *lost)
{
	struct deferred *d = arg;

	if (opens_file(lost))
		vfs_opening_lost(d->transport->vfs, lost);
	if (is_unmounted(d) || (!lost->executed && !changes_file(lost)))
		return;
	if (!changes_file(lost))
		notifier_forget_names(work_notifier(d));
	forget_lost(d, lost->node);
	forget_lost(d, lost->other_node);
	forget_lost(d, lost->unnamed);
	if (changes_file(lost))
		renew_size(d->transport,
			   node_to_ino(lost->other_node ? lost->other_node : lost->node), 0);
}

static void free_if_unknown(void *arg, uint64_t ino, uint32_t generation)
{
	free_orphan(arg, ino, generation);
}

/*
 * The orphans are for later: that the last process has answered an O_TMPFILE does not
 * mean that its program has run since, and only then the kernel knows the file.
 */
static void settle(struct deferred *d)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!is_unmounted(d) || d->no_kernel)
		answers_settle(d->transport->config.answers, forget_effect, d);
	if (!job)
		return; /* they wait for the next mount */
	job->kind = JOB_SWEEP;
	lock_mutex(LOCK_DEFERRED, &d->lock);
	d->later = job;
	clock_gettime(CLOCK_MONOTONIC, &d->later_at);
	d->later_at.tv_sec += SWEEP_SECONDS;
	unlock_mutex(LOCK_DEFERRED, &d->lock);
}

static void do_job(struct deferred *d, const struct job *job)
{
	switch (job->kind) {
	case JOB_ORPHAN:
		free_orphan(d, job->ino, job->generation);
		break;
	case JOB_RANGE:
		change_range(d, &job->range);
		break;
	case JOB_WRITTEN:
		answer_write(d, &job->write);
		break;
	case JOB_SETTLE:
		settle(d);
		break;
	case JOB_PAGES:
		if (!is_unmounted(d))
			notifier_invalidate(work_notifier(d), ino_to_node(job->ino), 0, 0);
		break;
	case JOB_ATTRIBUTES:
		if (!is_unmounted(d))
			notifier_invalidate(work_notifier(d), ino_to_node(job->ino), -1, 0);
		break;
	case JOB_CHANGED:
		if (!is_unmounted(d))
			tell_of_change(d, job->change->what);
		break;
	case JOB_SWEEP:
		vfs_orphans_for_each(d->transport->vfs, free_if_unknown, d);
		break;
	}
}

/*
 * At the end: a process that only makes room for the next one leaves everything to it. Ranges and
 * pages are left in any case: the callers are gone, or ask the next process again, and to answer
 * them might need requests of the kernel that nobody answers any more.
 */
static bool is_left(const struct deferred *d, const struct job *job)
{
	return d->stopping &&
	       (!atomic_load_explicit(&d->unmounted, memory_order_relaxed) ||
		job->kind == JOB_RANGE || job->kind == JOB_WRITTEN || job->kind == JOB_PAGES ||
		job->kind == JOB_ATTRIBUTES || job->kind == JOB_CHANGED);
}

static bool is_time(const struct timespec *at)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec != at->tv_sec ? now.tv_sec > at->tv_sec : now.tv_nsec >= at->tv_nsec;
}

/* What was put off until now joins the queue. */
static void take_later_locked(struct deferred *d, struct lane *lane)
{
	if (lane != &d->lane[LANE_WORK] || !d->later || !(d->stopping || is_time(&d->later_at)))
		return;
	STAILQ_INSERT_HEAD(&lane->jobs, d->later, link);
	d->later = NULL;
}

/* The jobs that were under way are done: the loop need not answer for them any more. */
static void tell_end_locked(struct deferred *d)
{
	if (!d->ending || d->told || d->lane[LANE_WORK].busy || d->lane[LANE_WRITES].busy)
		return;
	d->told = true;
	d->end(d->transport);
}

/* Wait for the next job; NULL: there is none any more. */
static struct job *next_job_locked(struct lane *lane)
{
	struct deferred *d = lane->deferred;

	lock_assert(LOCK_DEFERRED);
	for (;;) {
		struct job *job;

		take_later_locked(d, lane);
		job = STAILQ_FIRST(&lane->jobs);
		if (job && (!d->ending || d->stopping)) {
			STAILQ_REMOVE_HEAD(&lane->jobs, link);
			return job;
		}
		if (d->stopping)
			return NULL;
		tell_end_locked(d);
		if (d->later && !d->ending && lane == &d->lane[LANE_WORK])
			pthread_cond_timedwait(&lane->wake, &d->lock, &d->later_at);
		else
			pthread_cond_wait(&lane->wake, &d->lock);
	}
}

static void end_change_locked(struct deferred *d, const struct job *job)
{
	lock_assert(LOCK_DEFERRED);
	if (job->kind != JOB_CHANGED)
		return;
	job->change->done = true;
	pthread_cond_broadcast(&d->told_kernel);
}

static void *run(void *arg)
{
	struct lane *lane = arg;
	struct deferred *d = lane->deferred;
	struct job *job;

	lock_mutex(LOCK_DEFERRED, &d->lock);
	while ((job = next_job_locked(lane))) {
		bool left = is_left(d, job);
		bool frees = job->kind == JOB_ORPHAN || job->kind == JOB_SWEEP;

		lane->busy = true;
		unlock_mutex(LOCK_DEFERRED, &d->lock);
		if (!left)
			do_job(d, job);
		lock_mutex(LOCK_DEFERRED, &d->lock);
		end_change_locked(d, job);
		free(job);
		lane->busy = false;
		d->rounds += frees;
	}
	unlock_mutex(LOCK_DEFERRED, &d->lock);
	return NULL;
}

/* Clients that are closed after the loop has ended still find something to tell the kernel. */
static void push(struct deferred *d, struct job *job)
{
	struct lane *lane = &d->lane[job->kind == JOB_WRITTEN ? LANE_WRITES : LANE_WORK];
	bool late;

	lock_mutex(LOCK_DEFERRED, &d->lock);
	late = d->stopping;
	if (!late)
		STAILQ_INSERT_TAIL(&lane->jobs, job, link);
	pthread_cond_signal(&lane->wake);
	unlock_mutex(LOCK_DEFERRED, &d->lock);
	if (late)
		free(job);
}

void deferred_forget(struct deferred *d, uint64_t ino)
{
	uint32_t generation;
	struct job *job;

	if (!vfs_is_orphan(d->transport->vfs, ino, &generation))
		return;
	/* without memory it stays an orphan; the next mount frees it */
	job = calloc(1, sizeof(*job));
	if (!job)
		return;
	job->ino = ino;
	job->generation = generation;
	push(d, job);
}

void deferred_fallocate(struct deferred *d, const struct deferred_range *range)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job) {
		fuse_reply_err(range->req, ENOMEM);
		requests_attach(range->answer); /* ends with our caller */
		return;
	}
	job->kind = JOB_RANGE;
	job->range = *range;
	push(d, job);
}

void deferred_written(struct deferred *d, const struct deferred_write *write)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job) {
		fuse_reply_err(write->req, ENOMEM);
		requests_attach(write->answer); /* ends with our caller */
		return;
	}
	job->kind = JOB_WRITTEN;
	job->write = *write;
	push(d, job);
}

void deferred_forget_pages(struct deferred *d, uint64_t ino)
{
	struct job *job = calloc(1, sizeof(*job));

	/* without memory, a program that maps the file through the kernel sees old pages longer */
	if (!job)
		return;
	job->kind = JOB_PAGES;
	job->ino = ino;
	push(d, job);
}

void deferred_forget_attributes(struct deferred *d, uint64_t ino)
{
	struct job *job = calloc(1, sizeof(*job));

	/* without memory the old ones are seen longer */
	if (!job)
		return;
	job->kind = JOB_ATTRIBUTES;
	job->ino = ino;
	push(d, job);
}

/* At the end of the mount nobody waits: what the kernel has of it goes with it. */
void deferred_changed(struct deferred *d, const struct transport_change *what)
{
	struct awaited_change change = { .what = what };
	struct job *job = calloc(1, sizeof(*job));

	lock_mutex(LOCK_DEFERRED, &d->lock);
	if (job && (d->replaced || (!d->ending && !d->stopping))) {
		job->kind = JOB_CHANGED;
		job->change = &change;
		STAILQ_INSERT_TAIL(&d->lane[LANE_WORK].jobs, job, link);
		pthread_cond_signal(&d->lane[LANE_WORK].wake);
		while (!change.done)
			pthread_cond_wait(&d->told_kernel, &d->lock);
		job = NULL;
	}
	unlock_mutex(LOCK_DEFERRED, &d->lock);
	free(job);
}

void deferred_settle(struct deferred *d)
{
	struct job *job = calloc(1, sizeof(*job));

	/* without memory the orphans wait for the next mount */
	if (!job)
		return;
	job->kind = JOB_SETTLE;
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

	lock_mutex(LOCK_DEFERRED, &d->lock);
	rounds = d->rounds;
	unlock_mutex(LOCK_DEFERRED, &d->lock);
	for (int i = 0; i < 2000; i++) {
		bool done;

		lock_mutex(LOCK_DEFERRED, &d->lock);
		pending = d->lane[LANE_WORK].busy || d->later ||
			  !STAILQ_EMPTY(&d->lane[LANE_WORK].jobs);
		done = d->rounds != rounds;
		unlock_mutex(LOCK_DEFERRED, &d->lock);
		if (!pending && (done || i >= 10))
			return done;
		nanosleep(&pause, NULL);
	}
	return false;
}

static errint_t open_lane(struct deferred *d, struct lane *lane, int fuse_fd)
{
	pthread_condattr_t monotonic;

	lane->deferred = d;
	STAILQ_INIT(&lane->jobs);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&lane->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return fuse_fd < 0 ? 0 : notifier_start(fuse_fd, &lane->notifier);
}

static void close_lane(struct lane *lane)
{
	notifier_stop(lane->notifier);
	lane->notifier = NULL;
}

static void wake_lanes_locked(struct deferred *d)
{
	for (unsigned i = 0; i < LANES; i++)
		pthread_cond_signal(&d->lane[i].wake);
}

/* Of the first ones, which have a thread. */
static void join_lanes(struct deferred *d, unsigned count)
{
	lock_mutex(LOCK_DEFERRED, &d->lock);
	d->stopping = true;
	wake_lanes_locked(d);
	unlock_mutex(LOCK_DEFERRED, &d->lock);
	for (unsigned i = 0; i < count; i++)
		pthread_join(d->lane[i].thread, NULL);
}

/* All or none. */
static errint_t start_lanes(struct deferred *d)
{
	unsigned count = 0;
	int err = 0;

	while (!err && count < LANES) {
		err = -pthread_create(&d->lane[count].thread, NULL, run, &d->lane[count]);
		count += !err;
	}
	if (err)
		join_lanes(d, count);
	return err;
}

/* Processes first, then threads. */
errint_t deferred_start(struct transport *t, int fuse_fd, void (*end)(struct transport *t),
			struct deferred **ret_deferred)
{
	struct deferred *d = calloc(1, sizeof(*d));
	int err = 0;

	if (!d)
		return -ENOMEM;
	d->transport = t;
	d->end = end;
	d->no_kernel = fuse_fd < 0;
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->told_kernel, NULL);
	for (unsigned i = 0; i < LANES; i++) {
		int failed = open_lane(d, &d->lane[i], fuse_fd);

		err = err ? err : failed;
	}
	if (!err)
		err = start_lanes(d);
	if (err) {
		for (unsigned i = 0; i < LANES; i++)
			close_lane(&d->lane[i]);
		deferred_free(d);
		return err;
	}
	*ret_deferred = d;
	return 0;
}

bool deferred_runs(struct deferred *d)
{
	bool runs;

	if (!d)
		return false;
	lock_mutex(LOCK_DEFERRED, &d->lock);
	runs = !d->stopping;
	unlock_mutex(LOCK_DEFERRED, &d->lock);
	return runs;
}

/* Those who wait for the kernel to hear of a change go on. */
static void drop_changes_locked(struct deferred *d)
{
	struct lane *lane = &d->lane[LANE_WORK];
	struct job *job = STAILQ_FIRST(&lane->jobs), *next;

	for (; job; job = next) {
		next = STAILQ_NEXT(job, link);
		if (job->kind != JOB_CHANGED)
			continue;
		STAILQ_REMOVE(&lane->jobs, job, job, link);
		end_change_locked(d, job);
		free(job);
	}
}

void deferred_end(struct deferred *d, bool replaced)
{
	lock_mutex(LOCK_DEFERRED, &d->lock);
	d->ending = true;
	d->replaced = replaced;
	if (!replaced)
		drop_changes_locked(d);
	wake_lanes_locked(d);
	unlock_mutex(LOCK_DEFERRED, &d->lock);
}

void deferred_stop(struct deferred *d, bool unmounted)
{
	if (!d)
		return;
	atomic_store_explicit(&d->unmounted, unmounted, memory_order_relaxed);
	join_lanes(d, LANES);
	for (unsigned i = 0; i < LANES; i++)
		close_lane(&d->lane[i]);
}

void deferred_free(struct deferred *d)
{
	if (!d)
		return;
	for (unsigned i = 0; i < LANES; i++)
		pthread_cond_destroy(&d->lane[i].wake);
	pthread_cond_destroy(&d->told_kernel);
	pthread_mutex_destroy(&d->lock);
	free(d);
}
