/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inodes that a guest has been told of, and no others: a number that it was never given is no
 * node (-ESTALE). So a guest reaches what lies below its root, as far as it has looked it up.
 *
 * A node is held in the filesystem (vfs_hold()) from the moment when it is told until the guest has
 * forgotten it as often as it was told, and nobody uses it: its number can't become another
 * inode's.
 */
#ifndef DAXFUSE_VHOST_NODES_H
#define DAXFUSE_VHOST_NODES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/vfs/vfs.h"

#define NODES_MAX (1u << 20) /* of a guest */
#define NODE_BUCKETS 16384u

/* What outlives the serving process. */
struct node_record {
	_Atomic uint64_t ino; /* 0: it is free; stored last */
	uint64_t generation;
	_Atomic uint64_t lookups; /* how often it was told; if it is free, the next one that is */
};

struct node_table {
	_Atomic uint32_t used; /* records above have never been used */
	struct node_record record[NODES_MAX];
};

struct node {
	uint64_t ino;
	struct node_record *told;
	unsigned users; /* requests */
	struct node *next;
};

struct nodes {
	struct vfs *vfs;
	uint64_t root;
	void (*let_go)(void *arg, uint64_t ino); /* it is not known any more */
	void *arg;
	struct node_table *table;
	pthread_mutex_t lock; /* a leaf, LOCK_GUEST: all below */
	uint32_t free;        /* the first record that is; counted from 1, 0: none */
	unsigned count;
	struct node *bucket[NODE_BUCKETS];
};

/* The root is there from now on, without being told, and what the table has: all that is not there
 * any more is forgotten. The table stays the caller's. -ESTALE, -ENOMEM */
errint_t nodes_open(struct nodes *n, struct vfs *vfs, uint64_t root, struct node_table *table);
/* All is forgotten. */
void nodes_close(struct nodes *n);
/* As if all but the root were forgotten. */
void nodes_clear(struct nodes *n);

/* One that was told, until nodes_put(). -ESTALE: it was not. */
errint_t nodes_get(struct nodes *n, uint64_t number, struct node **ret_node);
/* NULL is fine. */
void nodes_put(struct nodes *n, struct node *node);
/* The guest is told of what attr says, once more; attr is renewed. -ENOENT: it is gone already, or
 * another one by now; -ENFILE: too many; -ENOMEM. */
errint_t nodes_tell(struct nodes *n, struct fs_attr *attr);
void nodes_forget(struct nodes *n, uint64_t number, uint64_t lookups);

/* FUSE's root is node 1; every other node is its inode number. */
uint64_t node_number(const struct nodes *n, uint64_t ino);
uint64_t node_ino(const struct nodes *n, uint64_t number);
unsigned nodes_count(struct nodes *n);

#endif
