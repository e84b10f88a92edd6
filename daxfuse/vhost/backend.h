/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device's side of a vhost-user connection: a virtio file system device (virtio 1.2, section
 * 5.11) with a queue for urgent requests and others for the rest.
 */
#ifndef DAXFUSE_VHOST_BACKEND_H
#define DAXFUSE_VHOST_BACKEND_H

#include "guest.h"
#include "ring.h"

#define BACKEND_QUEUES 9u /* one for urgent requests, eight for others */

/* What of a connection outlives the serving process. */
struct backend_record {
	atomic_bool
		reading; /* a message is being read or carried out: it can't be asked for again */
	uint64_t features, protocol;
	uint32_t region_count;
	struct memory_wire region[MEMORY_REGIONS];
	struct ring_record ring[BACKEND_QUEUES];
};

/* Its descriptors. */
struct backend_fds {
	int region[MEMORY_FILES]; /* that are not of the device */
	unsigned region_count;
	int kick[BACKEND_QUEUES], call[BACKEND_QUEUES]; /* -1: none */
	int channel;                                    /* of the window; -1: none */
};

struct backend_config {
	int socket; /* connected; the caller's */
	const char *tag;
	struct ring_config rings;
	struct window *window;         /* the guest's; NULL: none */
	int device;                    /* which VMMs have pieces of in windows; -1: none */
	struct backend_record *record; /* the caller's */
	/* Where an earlier process has stopped: it is gone on with, and these descriptors are ours.
	 * NULL: all is new. */
	const struct backend_fds *adopted;
	/* These are to be kept from now on, and stay ours. For the first time when all runs that
	 * can. */
	void (*keep)(void *arg, const struct backend_fds *fds);
	/* A message is there, and is read when this returns; it has been carried out. */
	void (*message)(void *arg, bool begins);
	void *arg;
};

/* Serve one front end until it goes, or the socket is shut down. All of its memory is let go of,
 * and no request is under way any more, when this returns; its window is the caller's to empty. */
void backend_serve(const struct backend_config *config);

#endif
