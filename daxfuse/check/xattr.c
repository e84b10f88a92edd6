/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Extended attributes: a blob in the inode or in blocks of its own. Attributes that are malformed
 * in any way are dropped as a whole: half an access list could allow things that the whole one
 * forbids.
 */
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/crc.h"
#include "state.h"
#include "daxfuse/base/errint.h"

/* One entry at p; its length with padding, or 0. */
static size_t entry_length(const char *p, size_t room)
{
	struct dxf_xattr entry;
	size_t length;

	if (room < sizeof(entry))
		return 0;
	memcpy(&entry, p, sizeof(entry));
	length = round_up(sizeof(entry) + entry.name_length + (uint64_t)entry.value_length, 4);
	if (length > room || !entry.name_length ||
	    memchr(p + sizeof(entry), '\0', entry.name_length))
		return 0;
	return length;
}

static bool same_name(const char *a, const char *b)
{
	return (uint8_t)a[0] == (uint8_t)b[0] &&
	       memcmp(a + sizeof(struct dxf_xattr), b + sizeof(struct dxf_xattr), (uint8_t)a[0]) ==
		       0;
}

static const char *reject_blob(const char *blob, size_t bytes)
{
	struct dxf_xattr_header header;
	size_t at = sizeof(header), length;

	if (bytes < sizeof(header))
		return "too short";
	memcpy(&header, blob, sizeof(header));
	if (header.crc != crc32c(0, blob + sizeof(header.crc), bytes - sizeof(header.crc)))
		return "wrong checksum";
	for (uint32_t i = 0; i < header.count; i++, at += length) {
		length = entry_length(blob + at, bytes - at);
		if (!length)
			return "malformed entry";
		for (size_t before = sizeof(header); before < at;
		     before += entry_length(blob + before, bytes - before))
			if (same_name(blob + before, blob + at))
				return "a name twice";
	}
	return at == bytes ? NULL : "more bytes than entries";
}

/* Read and claim block i of the blob. */
static const char *read_block(struct subject *s, unsigned i, char *block)
{
	uint64_t entry;
	enum claim claim;

	memcpy(&entry, s->inode.xattr + i * sizeof(entry), sizeof(entry));
	if ((entry & ~DXF_ENTRY_OFFSET) > 1)
		return "malformed entry of a block";
	claim = ck_space_claim_block(s->c, entry & DXF_ENTRY_OFFSET);
	if (claim != CLAIM_OK)
		return claim == CLAIM_SHARED ? "a block that another uses" : "no place for a block";
	s->blocks++;
	return check_read(s->c, block, entry & DXF_ENTRY_OFFSET, DXF_BLOCK_SIZE) == 0 ? NULL
										      : "poisoned";
}

static const char *read_blocks(struct subject *s, char *blob, unsigned count, unsigned *ret_claimed)
{
	const char *why = NULL;
	unsigned i;

	for (i = 0; !why && i < count; i++) {
		uint64_t before = s->blocks;

		why = read_block(s, i, blob + i * DXF_BLOCK_SIZE);
		*ret_claimed += (unsigned)(s->blocks - before);
	}
	return why;
}

static void drop(struct subject *s, unsigned claimed)
{
	for (unsigned i = 0; i < claimed; i++) {
		uint64_t entry;

		memcpy(&entry, s->inode.xattr + i * sizeof(entry), sizeof(entry));
		ck_space_release_block(s->c, entry & DXF_ENTRY_OFFSET);
	}
	s->blocks -= claimed;
	s->inode.xattr_bytes = 0;
	memset(s->inode.xattr, 0, sizeof(s->inode.xattr));
	s->changed = true;
}

errint_t ck_xattr_check(struct subject *s)
{
	CLEANUP_FREE char *blob = NULL;
	size_t bytes = s->inode.xattr_bytes;
	unsigned count = bytes > DXF_XATTR_INLINE ? (unsigned)div_round_up(bytes, DXF_BLOCK_SIZE)
						  : 0;
	unsigned claimed = 0;
	const char *why = NULL;

	if (!bytes)
		return 0;
	if (bytes > DXF_XATTR_MAX) {
		why = "too many bytes";
	} else {
		blob = calloc(1, round_up(bytes, DXF_BLOCK_SIZE));
		if (!blob)
			return -ENOMEM;
		if (count)
			why = read_blocks(s, blob, count, &claimed);
		else
			memcpy(blob, s->inode.xattr, bytes);
		if (!why)
			why = reject_blob(blob, bytes);
	}
	if (why && check_found(s->c, CHECK_XATTR, s->ino, "extended attributes: %s", why))
		drop(s, claimed);
	return 0;
}
