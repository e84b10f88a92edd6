/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * FUSE for one guest: requests, which may say anything, are decoded, carried out by one call of the
 * vfs, and answered. Where they come from is the caller's matter: bytes in memory of ours, and a
 * function that takes the answer's bytes.
 */
#ifndef DAXFUSE_VHOST_GUEST_H
#define DAXFUSE_VHOST_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"
#include "exports.h"

#define GUEST_IO_MAX (1u << 20)                   /* bytes in one READ or WRITE */
#define GUEST_REQUEST_MAX (GUEST_IO_MAX + 65536u) /* bytes of a whole request */
#define GUEST_ANSWER_MAX (GUEST_IO_MAX + 4096u)   /* and of an answer */

struct guest;
struct vfs_answer;
struct vfs_answers;
struct window;

/* What of it outlives the serving process: all zeroes at first. */
struct guest_record;
size_t guest_record_bytes(void);

struct guest_config {
	struct vfs *vfs;
	uint64_t root; /* inode */
	bool read_only;
	enum exports_cache cache;
	const struct exports_host *host;
	struct window *window;       /* NULL: none */
	struct guest_record *record; /* the caller's */
};

/* How a request is executed once, though the process may die at any moment. */
struct guest_once {
	struct vfs_answers *answers;
	struct vfs_answer *slot; /* NULL: it may be executed twice */
	uint64_t unique;         /* of no other request of any guest, nor of the kernel's: odd */
	bool repeated; /* an earlier process has had it, and the slot says how far it came */
};

/* Where an answer goes. */
struct guest_answer {
	void *arg;
	uint64_t room; /* bytes */
	errint_t (*write)(void *arg, uint64_t at, const void *buf, size_t size);
	char *scratch; /* GUEST_ANSWER_MAX bytes for the one who answers, aligned to 8 */
	int stop; /* can be read when a thread that waits for the VMM is to give up; -1: never */
};

/* It was given up: nothing is written, and it is to be served again, later. */
#define GUEST_LATER UINT32_MAX

/* With what the record says. -ESTALE, -ENOMEM */
errint_t guest_new(const struct guest_config *config, struct guest **ret_guest);
/* The guest that was there is gone: nothing is open or known. */
void guest_reset(struct guest *g);
/* Nobody calls it any more; it is reset. NULL is fine. */
void guest_free(struct guest *g);

/*
 * One request, from any thread; `once` may be NULL; `in` is private memory of bytes, aligned to 8.
 * How long the answer is: 0 (none is due, or there is no room for one), else exactly what was
 * written; or GUEST_LATER.
 */
uint32_t guest_serve(struct guest *g, const void *in, size_t bytes,
		     const struct guest_answer *answer, const struct guest_once *once);

struct guest_counts {
	uint64_t requests, refused; /* refused: they were malformed */
	unsigned nodes, files;
};
void guest_counts(struct guest *g, struct guest_counts *ret_counts);

#endif
