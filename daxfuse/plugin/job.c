/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two threads have a job: the one that waits for it, and the one that does it. The last one that
 * lets go frees it.
 */
#include "job.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daxfuse/base/lockrank.h"

enum { WAITING_MAX = 256 };

struct job {
	const struct plugin *plugin;
	char *path, *body;
	size_t size;
	pthread_mutex_t lock;
	pthread_cond_t is_done;
	bool done, left; /* by who does it; by who waits */
	struct plugin_answer answer;
};

static pthread_mutex_t count_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned running;

static bool count_job(int change)
{
	bool fits;

	pthread_mutex_lock(&count_lock);
	fits = change < 0 || running < WAITING_MAX;
	if (fits)
		running += (unsigned)change;
	pthread_mutex_unlock(&count_lock);
	return fits;
}

static void free_job(struct job *job)
{
	pthread_mutex_destroy(&job->lock);
	pthread_cond_destroy(&job->is_done);
	free(job->path);
	free(job->body);
	free(job->answer.body);
	free(job);
}

static void *do_job(void *arg)
{
	struct job *job = arg;
	const struct plugin_request request = { job->path, job->body, job->size };
	struct plugin_answer answer = plugin_ask(job->plugin, &request);
	bool left;

	pthread_mutex_lock(&job->lock);
	job->answer = answer;
	job->done = true;
	left = job->left;
	pthread_cond_signal(&job->is_done);
	pthread_mutex_unlock(&job->lock);
	if (left)
		free_job(job);
	count_job(-1);
	return NULL;
}

static struct job *new_job(const struct plugin *plugin, const struct plugin_request *request)
{
	struct job *job = calloc(1, sizeof(*job));
	pthread_condattr_t attr;

	if (!job)
		return NULL;
	job->plugin = plugin;
	job->path = strdup(request->path);
	job->body = malloc(request->size + 1);
	job->size = request->size;
	pthread_mutex_init(&job->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&job->is_done, &attr);
	pthread_condattr_destroy(&attr);
	if (!job->path || !job->body) {
		free_job(job);
		return NULL;
	}
	memcpy(job->body, request->body, request->size);
	return job;
}

static bool start_job(struct job *job)
{
	pthread_t thread;

	if (!count_job(1))
		return false;
	if (pthread_create(&thread, NULL, do_job, job)) {
		count_job(-1);
		return false;
	}
	pthread_detach(thread);
	return true;
}

static struct timespec time_in(unsigned ms)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	time.tv_sec += ms / 1000;
	time.tv_nsec += (long)(ms % 1000) * 1000000;
	if (time.tv_nsec >= 1000000000) {
		time.tv_sec++;
		time.tv_nsec -= 1000000000;
	}
	return time;
}

/* Whether it was done in time, and its answer then. */
static bool wait_for_job(struct job *job, unsigned limit_ms, struct plugin_answer *ret_answer)
{
	struct timespec end = time_in(limit_ms);
	bool done;

	pthread_mutex_lock(&job->lock);
	while (!job->done && !pthread_cond_timedwait(&job->is_done, &job->lock, &end))
		;
	done = job->done;
	job->left = !done;
	pthread_mutex_unlock(&job->lock);
	if (!done)
		return false;
	*ret_answer = job->answer;
	job->answer.body = NULL;
	free_job(job);
	return true;
}

struct plugin_answer job_run(const struct plugin *plugin, const struct plugin_request *request,
			     unsigned limit_ms)
{
	struct job *job = new_job(plugin, request);
	struct plugin_answer answer;

	if (!job)
		return plugin_ask_without_pool(plugin, request, "out of memory");
	if (!start_job(job)) {
		free_job(job);
		return plugin_ask_without_pool(plugin, request,
					       "too many requests wait for the pool");
	}
	if (wait_for_job(job, limit_ms, &answer))
		return answer;
	return plugin_ask_without_pool(
		plugin, request, "the pool does not answer; look at its daemon: daxfuse status");
}
