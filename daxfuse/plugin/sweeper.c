/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * It looks when it is told of a removal, and once a minute: the pool may have been mounted since,
 * and a tree that could not be deleted may be by now.
 */
#include "sweeper.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include "daxfuse/volumes/volumes.h"

enum { SECONDS = 60 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t kicked = PTHREAD_COND_INITIALIZER;
static bool wanted = true;

static void wait_for_kick(void)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += SECONDS;
	pthread_mutex_lock(&lock);
	while (!wanted && pthread_cond_timedwait(&kicked, &lock, &end) != ETIMEDOUT)
		;
	wanted = false;
	pthread_mutex_unlock(&lock);
}

static void *run_sweeper(void *arg)
{
	const char *path = arg;

	for (;;) {
		struct volume_pool *pool = NULL;
		struct volume_error error;

		wait_for_kick();
		if (!volumes_pool_open(path, &pool, &error))
			(void)volumes_sweep(pool, false, NULL);
		volumes_pool_close(pool);
	}
	return NULL;
}

errint_t sweeper_start(const char *pool)
{
	pthread_t thread;
	int err = pthread_create(&thread, NULL, run_sweeper, (void *)pool);

	if (!err)
		pthread_detach(thread);
	return -err;
}

void sweeper_kick(void)
{
	pthread_mutex_lock(&lock);
	wanted = true;
	pthread_cond_signal(&kicked);
	pthread_mutex_unlock(&lock);
}
