/* SPDX-License-Identifier: BSD-3-Clause */
/* What can be wrong with a pool. */
#ifndef DAXFUSE_CHECK_PROBLEM_H
#define DAXFUSE_CHECK_PROBLEM_H

#include <stdbool.h>

enum check_problem {
	CHECK_SUPER,        /* one copy is torn, stale or poisoned */
	CHECK_JOURNAL_LIVE, /* a live record where none may be */
	CHECK_JOURNAL_BAD,  /* a record that must not be replayed */
	CHECK_POISON,       /* metadata that can't be read */
	CHECK_UNIT_STATE,   /* a unit word contradicts the unit's use */
	CHECK_UNIT_LOST,    /* a unit is taken, but nothing uses it */
	CHECK_BLOCK_FREE,   /* a block is used, but its bit is clear */
	CHECK_BLOCK_LOST,   /* a block's bit is set, but nothing uses it */
	CHECK_SHARED,       /* space used twice */
	CHECK_CHUNK_MAP,    /* an inode chunk's place is impossible */
	CHECK_CHUNK_LOST,   /* an inode chunk that the map does not name */
	CHECK_CHUNK_HEADER,
	CHECK_ORPHAN_BIT,  /* the bit contradicts the inode */
	CHECK_ORPHAN,      /* an orphan where none may be */
	CHECK_INODE,       /* not an inode */
	CHECK_INODE_CRC,   /* an inode, but its checksum is wrong */
	CHECK_INODE_FIELD, /* a field with an impossible value */
	CHECK_ENTRY,       /* an entry of data that can't be */
	CHECK_WRITTEN,     /* blocks past the end of the file count as written */
	CHECK_BLOCKS,      /* wrong count of blocks */
	CHECK_NLINK,       /* wrong count of links */
	CHECK_TAIL,        /* a tail that can't be */
	CHECK_XATTR,       /* malformed extended attributes */
	CHECK_BUCKET,      /* a directory's buckets are broken */
	CHECK_NAME,        /* an impossible name */
	CHECK_KEY,         /* a name with a wrong key, or in the wrong bucket */
	CHECK_DUPLICATE,   /* a name or key that is there twice */
	CHECK_TARGET,      /* a name of nothing */
	CHECK_TYPE,        /* a name with a wrong file type */
	CHECK_SECOND_NAME, /* a directory with two names */
	CHECK_PARENT,      /* a directory's ".." is wrong */
	CHECK_ENTRIES,     /* wrong count of directory slots */
	CHECK_LOST,        /* an inode without a name */
	CHECK_ROOT,        /* no root directory */
	CHECK_QUOTA,       /* wrong count of a project's use */
	CHECK_PROBLEM_COUNT
};

/* A short name for programs, as "unit-lost". */
const char *check_problem_name(enum check_problem problem);
/* Whether its repair loses nothing that anyone could miss. */
bool check_problem_is_harmless(enum check_problem problem);

#endif
