/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A radix tree of 64-bit words, sparse: memory only for words in use, 8.2 bytes a word where all
 * are. Finding and making a word takes no lock. Indices are below 2^60.
 *
 * A node, once it hangs in the tree, stays where it is: the tree grows at its root
 * and at its leaves. It goes only in tree_prune() and tree_free(), during which
 * nobody else may be in the tree. So a pointer to a word stays good until then.
 */
#ifndef DAXFUSE_MAP_TREE_H
#define DAXFUSE_MAP_TREE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct tree_node;

/* All zeroes: an empty one. */
struct tree {
	_Atomic(struct tree_node *) root;
	atomic_size_t nodes;
};

/* The word of index, or NULL if there is no memory for it yet: it is 0 then. */
_Atomic uint64_t *tree_find(struct tree *tree, uint64_t index);
/* The word of index; NULL: no memory. */
_Atomic uint64_t *tree_make(struct tree *tree, uint64_t index);
/* The first word that is not 0, from *index to last; *index becomes its own.
 * NULL: none. */
_Atomic uint64_t *tree_next(struct tree *tree, uint64_t *index, uint64_t last);

/* Free nodes in which all is 0. */
void tree_prune(struct tree *tree);
void tree_free(struct tree *tree);
/* What the nodes take. */
size_t tree_bytes(const struct tree *tree);

#endif
