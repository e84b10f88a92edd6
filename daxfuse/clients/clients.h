/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs that map files themselves (include/daxfuse/ioctl.h, direct.h): the layouts that they
 * are given, and recalled from them. docs/design/direct.md.
 *
 * Functions return 0 or a negative errno, and may be called from any thread, with no lock held.
 */
#ifndef DAXFUSE_CLIENTS_CLIENTS_H
#define DAXFUSE_CLIENTS_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/ioctl.h"
#include "daxfuse/pmem/device.h"
#include "daxfuse/vfs/vfs.h"

struct clients;
struct json_object;
struct pin_table; /* pins.h */

/* Whom the device is given. */
enum clients_who { CLIENTS_OWNER, CLIENTS_NOBODY, CLIENTS_GROUP, CLIENTS_EVERYBODY };

struct clients_policy {
	enum clients_who who; /* OWNER: root, and the user that runs the daemon */
	uint32_t group;
};

struct clients_config {
	struct vfs *vfs;
	struct device *dev; /* mapped; programs get its descriptor */
	struct clients_policy policy;
	const char *socket;     /* path; of a listening socket: */
	int listener;           /* stays its owner's; -1: nobody can connect */
	struct pin_table *kept; /* of an earlier process, or new; NULL: none */
};

/* The pool is mounted with what pin_table_busy() says. Pins of an earlier process are taken
 * over. -ENOMEM */
errint_t clients_open(const struct clients_config *config, struct clients **ret_clients);
/* Begin to answer at the socket: a thread. mount: the device number of the mount, whose major
 * number is 0; 0: it is not known. */
errint_t clients_serve(struct clients *c, unsigned mount);
/* Nobody calls anything any more. Before vfs_close(). NULL is fine. */
void clients_close(struct clients *c);

/* Whether DXF_IOC_DIRECT finds something: the socket's path, or "". */
const char *clients_socket(const struct clients *c);
/* Pins are of use to somebody who has the device only; anybody else could keep space from all
 * others with them, which no quota counts. */
bool clients_may_pin(const struct clients *c, const struct vfs_request *request);

/* DXF_IOC_MAP and the others; errors as there. */
errint_t clients_map(struct clients *c, const struct vfs_open_file *file, struct dxf_ioc_map *map);
int clients_unmap(struct clients *c, const struct vfs_open_file *file,
		  const struct dxf_ioc_unmap *unmap);
errint_t clients_pin(struct clients *c, const struct vfs_request *request,
		     const struct vfs_open_file *file, const struct dxf_ioc_pin *pin);
errint_t clients_unpin(struct clients *c, const struct vfs_request *request,
		       const struct vfs_open_file *file, const struct dxf_ioc_pin *pin);
errint_t clients_promote(struct clients *c, const struct vfs_open_file *file,
			 const struct dxf_ioc_promote *promote);

/* vfs_report() of the mount, and what is known of programs. */
struct json_object *clients_report(struct clients *c);

#endif
