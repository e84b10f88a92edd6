/* SPDX-License-Identifier: BSD-3-Clause */
#include "direct.h"

#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Programs on a device that can't be mapped in smaller pieces get whole units only. */
static unsigned smallest_order(const struct device *dev)
{
	return device_info(dev)->align >= MAP_UNIT_SIZE ? ORDER_PMD : ORDER_PTE;
}

static void init_locks(struct direct *d)
{
	pthread_rwlockattr_t fair;

	pthread_rwlockattr_init(&fair);
	/* a stream of operations must not keep out who wants to map */
	pthread_rwlockattr_setkind_np(&fair, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	for (unsigned i = 0; i < GATES; i++)
		pthread_rwlock_init(&d->gate[i], &fair);
	pthread_rwlockattr_destroy(&fair);
	pthread_mutex_init(&d->holders_lock, NULL);
	pthread_cond_init(&d->holders_idle, NULL);
	pthread_mutex_init(&d->sessions_lock, NULL);
	pthread_mutex_init(&d->watch_lock, NULL);
}

/* Grants of this life are higher than those of any earlier one. */
enum { LIFE_SHIFT = 40 };

int direct_open(const struct direct_config *config, struct direct **ret_direct)
{
	struct direct *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return -ENOMEM;
	d->config = *config;
	init_locks(d);
	client_ops_init(d, smallest_order(config->dev));
	err = map_engine_new(&direct_backend, d, &d->engine);
	if (!err) {
		d->hook = (struct map_hook){ watch_first_write, d, NULL };
		map_engine_add_hook(d->engine, &d->hook);
		map_engine_set_first_grant(d->engine, config->life << LIFE_SHIFT);
		err = pins_kept_open(&d->pins, config->kept);
	}
	if (err) {
		map_engine_free(d->engine);
		free(d);
		return err;
	}
	restore_pins(d);
	*ret_direct = d;
	return 0;
}

int direct_serve(struct direct *d)
{
	if (d->config.listener < 0 || d->config.policy.who == DIRECT_NOBODY)
		return 0;
	return server_start(d);
}

/* Programs that have files open still: the mount was taken from them. There is no kernel left that
 * would have to forget something, and what would tell it is gone. */
static void close_holders(struct direct *d)
{
	for (unsigned i = 0; i < HOLDER_BUCKETS; i++) {
		while (d->holders[i]) {
			d->holders[i]->wrote = false;
			holder_put(holder_remove(d, d->holders[i]->handle));
		}
	}
}

void direct_close(struct direct *d)
{
	if (!d)
		return;
	server_stop(d);
	close_holders(d);
	watch_end(d);
	map_engine_free(d->engine);
	pins_kept_close(&d->pins);
	for (unsigned i = 0; i < GATES; i++)
		pthread_rwlock_destroy(&d->gate[i]);
	pthread_cond_destroy(&d->holders_idle);
	pthread_mutex_destroy(&d->holders_lock);
	pthread_mutex_destroy(&d->sessions_lock);
	pthread_mutex_destroy(&d->watch_lock);
	free(d);
}

uint64_t direct_new_handle(struct direct *d)
{
	uint64_t *next = d->config.kept ? &d->config.kept->next_handle : &d->next_handle;

	return __atomic_add_fetch(next, 1, __ATOMIC_RELAXED);
}

void direct_release(struct direct *d, uint64_t handle)
{
	struct holder *h;

	while ((h = holder_remove(d, handle)))
		holder_put(h);
	watch_release(d, handle);
}

const char *direct_socket(const struct direct *d)
{
	return d->server ? d->config.socket : "";
}
