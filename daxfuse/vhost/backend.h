/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device's side of a vhost-user connection: a virtio file system device (virtio 1.2, section
 * 5.11) with a queue for urgent requests and others for the rest.
 */
#ifndef DAXFUSE_VHOST_BACKEND_H
#define DAXFUSE_VHOST_BACKEND_H

#include "guest.h"

#define BACKEND_QUEUES 9u /* one for urgent requests, eight for others */

struct backend_config {
	int socket; /* connected; the caller's */
	const char *tag;
	struct guest *guest;
	_Atomic uint64_t *bad_chains; /* counts */
};

/* Serve one front end until it goes, or the socket is shut down. All of its memory is let go of,
 * and no request is under way any more, when this returns. */
void backend_serve(const struct backend_config *config);

#endif
