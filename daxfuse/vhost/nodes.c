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

uint64_t node_ino(const struct nodes *n, uint64_t number)
{
	return number == FUSE_ROOT_ID ? n->root : number;
}

/* ---- records -------------------------------------------------------------------------- */

/* NULL: too many. Order: all else, then the inode. */
static struct node_record *take_record_locked(struct nodes *n, uint64_t ino, uint64_t generation)
{
	struct node_table *t = n->table;
	struct node_record *record;

	if (!n->free && t->used == NODES_MAX)
		return NULL;
	if (n->free) {
		record = &t->record[n->free - 1];
		n->free = (uint32_t)record->lookups;
	} else {
		record = &t->record[atomic_fetch_add(&t->used, 1)];
	}
	atomic_store_explicit(&record->lookups, ino != n->root, memory_order_relaxed);
	record->generation = generation;
	atomic_store_explicit(&record->ino, ino, memory_order_release);
	return record;
}

static void give_record_locked(struct nodes *n, struct node_record *record)
{
	atomic_store_explicit(&record->ino, 0, memory_order_release);
	atomic_store_explicit(&record->lookups, n->free, memory_order_relaxed);
	n->free = (uint32_t)(record - n->table->record) + 1;
}

/* ---- nodes ------------------------------------------------------------------------------ */

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

	if (node->told->lookups || node->users)
		return NULL;
	*at = node->next;
	give_record_locked(n, node->told);
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
	node = *find_node_locked(n, node_ino(n, number));
	if (node && (node->told->lookups || node->ino == n->root))
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
static errint_t tell_locked(struct nodes *n, const struct fs_attr *attr, struct node *fresh,
			    bool *ret_new)
{
	struct node **at = find_node_locked(n, attr->ino);

	*ret_new = false;
	if (*at) {
		(*at)->told->lookups += attr->ino != n->root;
		return 0;
	}
	*fresh = (struct node){ .ino = attr->ino };
	fresh->told = take_record_locked(n, attr->ino, attr->generation);
	if (!fresh->told)
		return -ENFILE;
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
		err = tell_locked(n, &now, fresh, &is_new);
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
	uint64_t ino = node_ino(n, number);
	struct node **at, *gone = NULL;

	if (ino == n->root)
		return;
	lock_mutex(LOCK_GUEST, &n->lock);
	at = find_node_locked(n, ino);
	if (*at) {
		(*at)->told->lookups -= MIN(lookups, (*at)->told->lookups);
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
			(*at)->told->lookups = 0;
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
static errint_t open_root(struct nodes *n)
{
	struct fs_attr attr;
	struct node *node;
	int err = vfs_getattr(n->vfs, n->root, &attr);

	if (!err)
		err = nodes_tell(n, &attr);
	return err ? err : nodes_get(n, FUSE_ROOT_ID, &node);
}

/* One that an earlier process has told: held again, or not there any more. */
static errint_t adopt_record(struct nodes *n, struct node_record *record)
{
	struct node *node = malloc(sizeof(*node));
	struct fs_attr attr;
	int err = node ? vfs_hold(n->vfs, record->ino, &attr) : -ENOMEM;

	if (!err && attr.generation != record->generation) {
		vfs_unhold(n->vfs, record->ino);
		err = -ESTALE;
	}
	lock_mutex(LOCK_GUEST, &n->lock);
	if (!err) {
		struct node **at = find_node_locked(n, record->ino);

		*node = (struct node){ .ino = record->ino, .told = record, .next = *at };
		*at = node;
		n->count++;
	} else if (err != -ENOMEM) {
		give_record_locked(n, record);
	}
	unlock_mutex(LOCK_GUEST, &n->lock);
	if (err)
		free(node);
	return err == -ENOMEM ? err : 0;
}

/* The root's own record is renewed. */
static errint_t adopt_records(struct nodes *n)
{
	int err = 0;

	n->table->used = MIN(n->table->used, NODES_MAX);
	for (uint32_t i = 0; !err && i < n->table->used; i++) {
		struct node_record *record = &n->table->record[i];

		if (!record->ino || !record->lookups || record->ino == n->root)
			give_record_locked(n, record);
		else
			err = adopt_record(n, record);
	}
	return err;
}

errint_t nodes_open(struct nodes *n, struct vfs *vfs, uint64_t root, struct node_table *table)
{
	int err;

	n->vfs = vfs;
	n->root = root;
	n->table = table;
	pthread_mutex_init(&n->lock, NULL);
	err = adopt_records(n);
	if (!err)
		err = open_root(n);
	if (err) {
		nodes_clear(n);
		pthread_mutex_destroy(&n->lock);
	}
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
