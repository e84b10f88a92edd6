/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Nodes of 64 slots; a node's shift says how many bits of the index lie below it,
 * so leaves have shift 0. A new root is put above the old one, which becomes its
 * slot 0. Two threads that make the same node race with compare-and-swap, and the
 * loser frees its own.
 */
#include "tree.h"

#include <stdbool.h>
#include <stdlib.h>

#include "daxfuse/base/bits.h"

enum { SHIFT = 6, SLOTS = 1 << SHIFT };

struct tree_node {
	unsigned shift;
	_Atomic uint64_t slot[SLOTS]; /* words, or above the leaves: nodes */
};

static struct tree_node *node_at(_Atomic uint64_t *slot)
{
	return (struct tree_node *)(uintptr_t)atomic_load_explicit(slot, memory_order_acquire);
}

static _Atomic uint64_t *slot_of(struct tree_node *node, uint64_t index)
{
	return &node->slot[index >> node->shift & (SLOTS - 1)];
}

/* Whether index lies below node. */
static bool spans(const struct tree_node *node, uint64_t index)
{
	return !(index >> (node->shift + SHIFT));
}

static struct tree_node *node_new(struct tree *tree, unsigned shift)
{
	struct tree_node *node = calloc(1, sizeof(*node));

	if (node) {
		node->shift = shift;
		atomic_fetch_add_explicit(&tree->nodes, 1, memory_order_relaxed);
	}
	return node;
}

static void node_free(struct tree *tree, struct tree_node *node)
{
	atomic_fetch_sub_explicit(&tree->nodes, 1, memory_order_relaxed);
	free(node);
}

_Atomic uint64_t *tree_find(struct tree *tree, uint64_t index)
{
	struct tree_node *node = atomic_load_explicit(&tree->root, memory_order_acquire);

	if (!node || !spans(node, index))
		return NULL;
	while (node && node->shift)
		node = node_at(slot_of(node, index));
	return node ? slot_of(node, index) : NULL;
}

/* The shift of a first root, with no empty leaf below it. */
static unsigned shift_for(uint64_t index)
{
	return index ? bits_last(index) / SHIFT * SHIFT : 0;
}

/* A root that spans index; NULL: no memory. */
static struct tree_node *make_root(struct tree *tree, uint64_t index)
{
	struct tree_node *root = atomic_load_explicit(&tree->root, memory_order_acquire);

	while (!root || !spans(root, index)) {
		unsigned shift = root ? root->shift + SHIFT : shift_for(index);
		struct tree_node *above = node_new(tree, shift);

		if (!above)
			return NULL;
		atomic_init(&above->slot[0], (uintptr_t)root);
		if (atomic_compare_exchange_strong(&tree->root, &root, above))
			root = above;
		else
			node_free(tree, above);
	}
	return root;
}

static struct tree_node *make_child(struct tree *tree, struct tree_node *node, uint64_t index)
{
	_Atomic uint64_t *slot = slot_of(node, index);
	struct tree_node *child = node_at(slot);
	uint64_t none = 0;

	if (child)
		return child;
	child = node_new(tree, node->shift - SHIFT);
	if (!child || atomic_compare_exchange_strong(slot, &none, (uintptr_t)child))
		return child;
	node_free(tree, child);
	return (struct tree_node *)(uintptr_t)none;
}

_Atomic uint64_t *tree_make(struct tree *tree, uint64_t index)
{
	_Atomic uint64_t *word = tree_find(tree, index);
	struct tree_node *node;

	if (word)
		return word;
	node = make_root(tree, index);
	while (node && node->shift)
		node = make_child(tree, node, index);
	return node ? slot_of(node, index) : NULL;
}

/* base: the first index below node; from lies below it. */
static _Atomic uint64_t *next_below(struct tree_node *node, uint64_t base, uint64_t from,
				    uint64_t last, uint64_t *ret_index)
{
	for (uint64_t i = (from - base) >> node->shift; i < SLOTS; i++) {
		uint64_t index = base + (i << node->shift);
		_Atomic uint64_t *slot = &node->slot[i], *found;

		if (index > last)
			return NULL;
		if (!node->shift && atomic_load(slot)) {
			*ret_index = index;
			return slot;
		}
		if (node->shift && node_at(slot)) {
			found = next_below(node_at(slot), index, MAX(from, index), last, ret_index);
			if (found)
				return found;
		}
	}
	return NULL;
}

_Atomic uint64_t *tree_next(struct tree *tree, uint64_t *index, uint64_t last)
{
	struct tree_node *root = atomic_load_explicit(&tree->root, memory_order_acquire);

	if (!root || *index > last || !spans(root, *index))
		return NULL;
	return next_below(root, 0, *index, last, index);
}

/* Free all that hangs below node, only empty nodes if `prune`; whether node is empty then. */
static bool clear(struct tree *tree, struct tree_node *node, bool prune)
{
	bool empty = true;

	for (unsigned i = 0; i < SLOTS; i++) {
		struct tree_node *child = node_at(&node->slot[i]);

		if (node->shift && child && clear(tree, child, prune)) {
			node_free(tree, child);
			atomic_store_explicit(&node->slot[i], 0, memory_order_relaxed);
		} else if (child) {
			empty = false;
		}
	}
	return empty || !prune;
}

static void clear_root(struct tree *tree, bool prune)
{
	struct tree_node *root = atomic_load(&tree->root);

	if (root && clear(tree, root, prune)) {
		node_free(tree, root);
		atomic_store(&tree->root, NULL);
	}
}

void tree_prune(struct tree *tree)
{
	clear_root(tree, true);
}

void tree_free(struct tree *tree)
{
	clear_root(tree, false);
}

size_t tree_bytes(const struct tree *tree)
{
	return atomic_load_explicit(&tree->nodes, memory_order_relaxed) * sizeof(struct tree_node);
}
