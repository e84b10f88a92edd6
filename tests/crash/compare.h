/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether a mounted filesystem shows exactly what a model holds: names, types,
 * attributes, times, xattrs, content, and the accounts that follow from them.
 */
#ifndef CRASH_COMPARE_H
#define CRASH_COMPARE_H

#include "daxfuse/core/fs.h"
#include "tests/crash/model.h"

struct compare {
	struct fs *fs;
	const struct model *model;
	/* One node's data may be torn between the model's and other's, in words
	 * of 8 bytes where both have pages; its mtime and ctime be of either. */
	const struct model *other;
	unsigned torn_node;   /* MODEL_NONE: none */
	bool torn_anywhere;   /* also where only one of the two has a page */
	int64_t read_time;    /* what was read may have this atime; 0: nothing */
	uint64_t inode_units; /* at most so many units hold inodes */
	bool live;            /* not after a crash: every byte is read, orphans exist */
	/* private */
	uint64_t *ino;   /* of each node met */
	uint64_t blocks; /* 4 KiB, sum */
	uint64_t inodes;
	uint64_t project_blocks[4];
	uint64_t project_inodes[4];
	char *diff;
	size_t diff_size;
};

/* 0, or -1 and what differs in diff. */
int compare_run(struct compare *compare, char *diff, size_t diff_size);

/* Of compare_data.c: the content of one regular file. */
int compare_content(struct compare *compare, unsigned id, uint64_t ino, uint64_t size);
__attribute__((format(printf, 2, 3))) int compare_differs(struct compare *compare,
							  const char *format, ...);

/* All entries of a directory, ascending by name, without . and .. */
struct compare_entry {
	char *name;
	uint64_t ino;
	uint8_t type;
};
struct compare_list {
	struct compare_entry *entry;
	size_t count, room;
	uint64_t dot, dotdot;
};
int compare_list(struct fs *fs, uint64_t ino, struct compare_list *ret_list);
void compare_list_free(struct compare_list *list);

#endif
