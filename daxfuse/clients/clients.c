/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of the room, and whom it serves. */

#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "daxfuse/base/errint.h"

/* Programs on a device that can't be mapped in smaller pieces get whole units only. */
static unsigned smallest_order(const struct device *dev)
{
	return device_info(dev)->align >= MAP_UNIT_SIZE ? ORDER_PMD : ORDER_PTE;
}

static void init_locks(struct clients *c)
{
	pthread_mutex_init(&c->holders_lock, NULL);
	pthread_cond_init(&c->holders_idle, NULL);
	pthread_mutex_init(&c->sessions_lock, NULL);
}

static void release_handle(void *arg, uint64_t handle)
{
	struct clients *c = arg;
	struct holder *h;

	while ((h = holder_remove(c, handle)))
		holder_put(h);
}

errint_t clients_open(const struct clients_config *config, struct clients **ret_clients)
{
	struct clients *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	c->config = *config;
	c->fs = vfs_fs(config->vfs);
	init_locks(c);
	client_ops_init(c, smallest_order(config->dev));
	err = pins_kept_open(&c->pins, config->kept);
	if (err) {
		free(c);
		return err;
	}
	restore_pins(c);
	vfs_on_release(config->vfs, release_handle, c);
	*ret_clients = c;
	return 0;
}

errint_t clients_serve(struct clients *c, unsigned mount)
{
	c->mount = mount;
	if (c->config.listener < 0 || c->config.policy.who == CLIENTS_NOBODY)
		return 0;
	return server_start(c);
}

/* Programs that have files open still: the mount was taken from them. There is no kernel left that
 * would have to forget something, and the transport that would tell it is gone. */
static void close_holders(struct clients *c)
{
	for (unsigned i = 0; i < HOLDER_BUCKETS; i++) {
		while (c->holders[i]) {
			c->holders[i]->wrote = false;
			holder_put(holder_remove(c, c->holders[i]->handle));
		}
	}
}

void clients_close(struct clients *c)
{
	if (!c)
		return;
	server_stop(c);
	close_holders(c);
	vfs_on_release(c->config.vfs, NULL, NULL);
	pins_kept_close(&c->pins);
	pthread_cond_destroy(&c->holders_idle);
	pthread_mutex_destroy(&c->holders_lock);
	pthread_mutex_destroy(&c->sessions_lock);
	free(c);
}

const char *clients_socket(const struct clients *c)
{
	return c->server ? c->config.socket : "";
}

bool clients_may_pin(const struct clients *c, const struct vfs_request *request)
{
	switch (c->config.policy.who) {
	case CLIENTS_NOBODY:
		return false;
	case CLIENTS_EVERYBODY:
		return true;
	case CLIENTS_GROUP:
		return request->is_administrator(request) ||
		       request->is_member(request, c->config.policy.group);
	case CLIENTS_OWNER:
		break;
	}
	return request->is_administrator(request);
}
