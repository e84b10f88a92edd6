/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of a guest's nodes. A node that nobody knows any more leaves the table under the lock,
 * and is let go of after that, as the filesystem's locks come before ours.
 */
#include "nodes.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/lockrank.h"

uint64_t node_number(const struct nodes *n, uint64_t ino)
{
	return ino == n->root ? FUSE_ROOT_ID : ino;
}

static uint64_t ino_of(const struct nodes *n, uint64_t number)
{
	return number == FUSE_ROOT_ID ? n->root : number;
}

static struct node **find_node_locked(struct nodes *n, uint64_t ino)
{
	struct node **at = &n->bucket[ino % NODE_BUCKETS];

	lock_assert(LOCK_GUEST);
	while (*at && (*at)->ino != ino)
		at = &(*at)->next;
	return at;
}

/* Taken out of the table if nobody knows it; else NULL. */
static struct node *take_unknown_locked(struct nodes *n, struct node **at)
{
	struct node *node = *at;

	if (node->lookups || node->users)
		return NULL;
	*at = node->next;
	n->count--;
	return node;
}

static void let_go_of_node(struct nodes *n, struct node *node)
{
	uint64_t ino;

	if (!node)
		return;
	ino = node->ino;
	free(node);
	vfs_unhold(n->vfs, ino);
	if (n->let_go)
		n->let_go(n->arg, ino);
}

errint_t nodes_get(struct nodes *n, uint64_t number, struct node **ret_node)
{
	struct node *node;

	lock_mutex(LOCK_GUEST, &n->lock);
	node = *find_node_locked(n, ino_of(n, number));
	if (node && (node->lookups || node->ino == n->root))
		node->users++;
	else
		node = NULL;
	unlock_mutex(LOCK_GUEST, &n->lock);
	if (!node)
		return -ESTALE;
	*ret_node = node;
	return 0;
}

void nodes_put(struct nodes *n, struct node *node)
{
	struct node *gone;

	if (!node)
		return;
	lock_mutex(LOCK_GUEST, &n->lock);
	node->users--;
	gone = take_unknown_locked(n, find_node_locked(n, node->ino));
	unlock_mutex(LOCK_GUEST, &n->lock);
	let_go_of_node(n, gone);
}

/* One that is held by our caller; *ret_new: the table has the hold now. */
static errint_t tell_locked(struct nodes *n, uint64_t ino, struct node *fresh, bool *ret_new)
{
	struct node **at = find_node_locked(n, ino);

	*ret_new = false;
	if (*at) {
		(*at)->lookups += ino != n->root;
		return 0;
	}
	if (n->count >= NODES_MAX)
		return -ENFILE;
	*fresh = (struct node){ .ino = ino, .lookups = ino != n->root };
	*at = fresh;
	n->count++;
	*ret_new = true;
	return 0;
}

errint_t nodes_tell(struct nodes *n, struct fs_attr *attr)
{
	struct node *fresh = malloc(sizeof(*fresh));
	struct fs_attr now;
	bool is_new = false;
	int err = fresh ? vfs_hold(n->vfs, attr->ino, &now) : -ENOMEM;

	if (err) {
		free(fresh);
		return err == -ESTALE ? -ENOENT : err;
	}
	if (now.generation != attr->generation) {
		err = -ENOENT;
	} else {
		lock_mutex(LOCK_GUEST, &n->lock);
		err = tell_locked(n, now.ino, fresh, &is_new);
		unlock_mutex(LOCK_GUEST, &n->lock);
	}
	if (!is_new) {
		vfs_unhold(n->vfs, now.ino);
		free(fresh);
	}
	if (!err)
		*attr = now;
	return err;
}

void nodes_forget(struct nodes *n, uint64_t number, uint64_t lookups)
{
	uint64_t ino = ino_of(n, number);
	struct node **at, *gone = NULL;

	if (ino == n->root)
		return;
	lock_mutex(LOCK_GUEST, &n->lock);
	at = find_node_locked(n, ino);
	if (*at) {
		(*at)->lookups -= MIN(lookups, (*at)->lookups);
		gone = take_unknown_locked(n, at);
	}
	unlock_mutex(LOCK_GUEST, &n->lock);
	let_go_of_node(n, gone);
}

/* All that nobody uses, as one list. */
static struct node *take_all_locked(struct nodes *n, unsigned bucket)
{
	struct node **at = &n->bucket[bucket], *list = NULL;

	while (*at) {
		struct node *gone;

		if ((*at)->ino != n->root)
			(*at)->lookups = 0;
		gone = (*at)->ino == n->root ? NULL : take_unknown_locked(n, at);
		if (!gone) {
			at = &(*at)->next;
			continue;
		}
		gone->next = list;
		list = gone;
	}
	return list;
}

void nodes_clear(struct nodes *n)
{
	for (unsigned i = 0; i < NODE_BUCKETS; i++) {
		struct node *list;

		lock_mutex(LOCK_GUEST, &n->lock);
		list = take_all_locked(n, i);
		unlock_mutex(LOCK_GUEST, &n->lock);
		while (list) {
			struct node *next = list->next;

			let_go_of_node(n, list);
			list = next;
		}
	}
}

unsigned nodes_count(struct nodes *n)
{
	unsigned count;

	lock_mutex(LOCK_GUEST, &n->lock);
	count = n->count;
	unlock_mutex(LOCK_GUEST, &n->lock);
	return count;
}

/* One use of the root is the table's own. */
errint_t nodes_open(struct nodes *n, struct vfs *vfs, uint64_t root)
{
	struct fs_attr attr;
	int err = vfs_getattr(vfs, root, &attr);

	n->vfs = vfs;
	n->root = root;
	pthread_mutex_init(&n->lock, NULL);
	if (!err)
		err = nodes_tell(n, &attr);
	if (!err) {
		struct node *node;

		err = nodes_get(n, FUSE_ROOT_ID, &node);
	}
	if (err)
		pthread_mutex_destroy(&n->lock);
	return err;
}

void nodes_close(struct nodes *n)
{
	struct node *node;

	nodes_clear(n);
	lock_mutex(LOCK_GUEST, &n->lock);
	node = *find_node_locked(n, n->root);
	unlock_mutex(LOCK_GUEST, &n->lock);
	nodes_put(n, node);
	pthread_mutex_destroy(&n->lock);
}
