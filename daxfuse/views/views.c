/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of all views of a mount: from the session with the module to its end. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"

/* ---- life --------------------------------------------------------------------------------- */

errint_t views_open(const struct device *dev, struct view_table *table, int holder,
		    int *ret_session, char *ret_reason, size_t size)
{
	if (device_info(dev)->kind == DEVICE_DAX)
		return session_begin(dev, table, holder, ret_session, ret_reason, size);
	snprintf(ret_reason, size, "the pool is an image, no device-dax");
	return -ENODEV;
}

static errint_t start_parts(struct views *v, struct view_table *table)
{
	int err = v->stop < 0 || v->kick < 0 ? -EMFILE : table_open(v, table);

	return err ? err : adopt_views(v);
}

errint_t views_start(const struct views_config *config, struct view_table *table, int session,
		     struct views **ret_views)
{
	struct views *v = calloc(1, sizeof(*v));
	int err;

	if (!v) {
		close(session);
		return -ENOMEM;
	}
	v->config = *config;
	v->session = session;
	v->settle_ms = SETTLE_MS;
	for (unsigned i = 0; i < VIEWED_BUCKETS; i++) {
		pthread_mutex_init(&v->lock[i], NULL);
		pthread_mutex_init(&v->sizes_lock[i], NULL);
		pthread_mutex_init(&v->pending_lock[i], NULL);
	}
	sizes_begin(v);
	pthread_mutex_init(&v->busy_lock, NULL);
	sem_init(&v->begin, 0, 0);
	LIST_INIT(&v->busy);
	v->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	v->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = start_parts(v, table);
	if (err)
		views_stop(v, false);
	else
		*ret_views = v;
	return err;
}

errint_t views_serve(struct views *v)
{
	return v ? answer_start(v) : 0;
}

void views_begin(struct views *v)
{
	if (!v)
		return;
	viewed_begin(v);
	for (unsigned i = 0; i < VIEWS_THREADS; i++)
		sem_post(&v->begin);
}

void views_stop(struct views *v, bool unmounted)
{
	if (!v)
		return;
	answer_stop(v);
	viewed_end_all(v, unmounted);
	sizes_end(v);
	busy_drop(v);
	table_close(v);
	close(v->session);
	if (v->stop >= 0)
		close(v->stop);
	if (v->kick >= 0)
		close(v->kick);
	sem_destroy(&v->begin);
	for (unsigned i = 0; i < VIEWED_BUCKETS; i++) {
		pthread_mutex_destroy(&v->lock[i]);
		pthread_mutex_destroy(&v->sizes_lock[i]);
		pthread_mutex_destroy(&v->pending_lock[i]);
	}
	pthread_mutex_destroy(&v->busy_lock);
	free(v);
}

static void add_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

struct json_object *views_report(struct views *v)
{
	struct json_object *o = json_object_new_object();

	add_number(o, "now", atomic_load(&v->count));
	add_number(o, "made", atomic_load(&v->made));
	add_number(o, "refused", atomic_load(&v->refused));
	add_number(o, "questions", atomic_load(&v->asked));
	add_number(o, "failed", atomic_load(&v->failed));
	return o;
}
