/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of what can be wrong with a pool: a name for each that programs can rely on (JSON, the
 * tests), and whether its repair loses nothing. That is so of space that nothing uses, of wrong
 * counts, of a superblock whose other copy is good. All else may cost somebody a file: fsck -a
 * keeps its hands off such a pool.
 */
#include "problem.h"

static const struct {
	const char *name;
	bool harmless;
} problems[CHECK_PROBLEM_COUNT] = {
	[CHECK_SUPER] = { "super", true },
	[CHECK_JOURNAL_LIVE] = { "journal-live", true },
	[CHECK_JOURNAL_BAD] = { "journal-bad", false },
	[CHECK_POISON] = { "poison", false },
	[CHECK_UNIT_STATE] = { "unit-state", false },
	[CHECK_UNIT_LOST] = { "unit-lost", true },
	[CHECK_BLOCK_FREE] = { "block-free", false },
	[CHECK_BLOCK_LOST] = { "block-lost", true },
	[CHECK_SHARED] = { "shared", false },
	[CHECK_CHUNK_MAP] = { "chunk-map", false },
	[CHECK_CHUNK_LOST] = { "chunk-lost", false },
	[CHECK_CHUNK_HEADER] = { "chunk-header", false },
	[CHECK_ORPHAN_BIT] = { "orphan-bit", true },
	[CHECK_ORPHAN] = { "orphan", true },
	[CHECK_INODE] = { "inode", false },
	[CHECK_INODE_CRC] = { "inode-crc", false },
	[CHECK_INODE_FIELD] = { "inode-field", false },
	[CHECK_ENTRY] = { "entry", false },
	[CHECK_WRITTEN] = { "written", true },
	[CHECK_BLOCKS] = { "blocks", true },
	[CHECK_NLINK] = { "nlink", true },
	[CHECK_TAIL] = { "tail", false },
	[CHECK_XATTR] = { "xattr", false },
	[CHECK_BUCKET] = { "bucket", false },
	[CHECK_NAME] = { "name", false },
	[CHECK_KEY] = { "key", false },
	[CHECK_DUPLICATE] = { "duplicate", false },
	[CHECK_TARGET] = { "target", false },
	[CHECK_TYPE] = { "type", false },
	[CHECK_SECOND_NAME] = { "second-name", false },
	[CHECK_PARENT] = { "parent", false },
	[CHECK_ENTRIES] = { "entries", true },
	[CHECK_LOST] = { "lost", false },
	[CHECK_ROOT] = { "root", false },
	[CHECK_QUOTA] = { "quota", true },
};

const char *check_problem_name(enum check_problem problem)
{
	return problems[problem].name;
}

bool check_problem_is_harmless(enum check_problem problem)
{
	return problems[problem].harmless;
}
