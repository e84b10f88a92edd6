/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Extended attributes, see xattr.h and the format.
 *
 * Order of a change: the new blob into new blocks (if it isn't small enough for
 * the inode), fence; then one transaction that points the inode to it and frees
 * the old blocks. Nothing is changed in place.
 */
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/crc.h"
#include "alloc.h"
#include "xattr.h"
#include "daxfuse/base/errint.h"

enum { HEADER = sizeof(struct dxf_xattr_header) };

static unsigned blob_blocks(const struct dxf_inode *inode)
{
	return inode->xattr_bytes <= DXF_XATTR_INLINE
		       ? 0
		       : (unsigned)((inode->xattr_bytes + DXF_BLOCK_SIZE - 1) / DXF_BLOCK_SIZE);
}

static uint64_t block_entry(const struct dxf_inode *inode, unsigned i)
{
	uint64_t entry;

	memcpy(&entry, inode->xattr + i * 8, 8);
	return entry;
}

static errint_t read_blob(const struct volume *vol, const struct dxf_inode *inode, char *blob)
{
	for (unsigned i = 0; i < blob_blocks(inode); i++) {
		uint64_t offset = block_entry(inode, i) & DXF_ENTRY_OFFSET;
		size_t at = i * DXF_BLOCK_SIZE;
		int err = alloc_is_block(vol, offset) ? 0 : -EUCLEAN;

		if (!err)
			err = pmem_read(vol->pm, blob + at, pmem_at(vol->pm, offset),
					MIN(inode->xattr_bytes - at, DXF_BLOCK_SIZE));
		if (err)
			return err;
	}
	if (!blob_blocks(inode))
		memcpy(blob, inode->xattr, inode->xattr_bytes);
	return 0;
}

static size_t entry_bytes(const struct dxf_xattr *entry)
{
	return (sizeof(*entry) + entry->name_length + (size_t)entry->value_length + 3) & ~(size_t)3;
}

static bool blob_is_right(const char *blob, size_t bytes)
{
	const struct dxf_xattr_header *header = (const void *)blob;
	size_t at = HEADER;

	if (bytes < HEADER || header->crc != crc32c(0, blob + 4, bytes - 4))
		return false;
	for (uint32_t i = 0; i < header->count; i++) {
		const struct dxf_xattr *entry = (const void *)(blob + at);

		if (bytes - at < sizeof(*entry) || !entry->name_length ||
		    entry->value_length > XATTR_SIZE_MAX || entry_bytes(entry) > bytes - at)
			return false;
		at += entry_bytes(entry);
	}
	return at == bytes;
}

/* All of an inode's attributes, checked, with `more` bytes of room behind; no
 * attributes are a header alone. The caller frees. */
static errint_t load(const struct volume *vol, const struct dxf_inode *inode, size_t more,
		     char **ret_blob, size_t *ret_bytes)
{
	size_t bytes = inode->xattr_bytes ? inode->xattr_bytes : HEADER;
	char *blob = calloc(1, bytes + more);
	int err = 0;

	if (!blob)
		return -ENOMEM;
	if (inode->xattr_bytes) {
		err = read_blob(vol, inode, blob);
		if (!err && !blob_is_right(blob, bytes))
			err = -EUCLEAN;
	}
	if (err) {
		free(blob);
		return err;
	}
	*ret_blob = blob;
	*ret_bytes = bytes;
	return 0;
}

/* The entry of that name, or NULL. */
static struct dxf_xattr *find(char *blob, const char *name)
{
	const struct dxf_xattr_header *header = (const void *)blob;
	size_t length = strlen(name), at = HEADER;

	for (uint32_t i = 0; i < header->count; i++) {
		struct dxf_xattr *entry = (void *)(blob + at);

		if (entry->name_length == length && memcmp(entry + 1, name, length) == 0)
			return entry;
		at += entry_bytes(entry);
	}
	return NULL;
}

ssize_t xattr_get(const struct volume *vol, const struct dxf_inode *inode, const char *name,
		  void *value, size_t size)
{
	const struct dxf_xattr *entry;
	size_t bytes;
	ssize_t n;
	char *blob;
	int err;

	if (!inode->xattr_bytes)
		return -ENODATA;
	err = load(vol, inode, 0, &blob, &bytes);
	if (err)
		return err;
	entry = find(blob, name);
	n = entry ? (ssize_t)entry->value_length : -ENODATA;
	if (n > 0 && size) {
		if ((size_t)n > size)
			n = -ERANGE;
		else
			memcpy(value, (const char *)(entry + 1) + entry->name_length, (size_t)n);
	}
	free(blob);
	return n;
}

ssize_t xattr_list(const struct volume *vol, const struct dxf_inode *inode, char *list, size_t size)
{
	const struct dxf_xattr_header *header;
	size_t bytes, at = HEADER, used = 0;
	char *blob;
	int err;

	if (!inode->xattr_bytes)
		return 0;
	err = load(vol, inode, 0, &blob, &bytes);
	if (err)
		return err;
	header = (const void *)blob;
	for (uint32_t i = 0; i < header->count; i++) {
		const struct dxf_xattr *entry = (const void *)(blob + at);

		if (size) {
			if (used + entry->name_length + 1 > size) {
				free(blob);
				return -ERANGE;
			}
			memcpy(list + used, entry + 1, entry->name_length);
			list[used + entry->name_length] = '\0';
		}
		used += entry->name_length + 1u;
		at += entry_bytes(entry);
	}
	free(blob);
	return (ssize_t)used;
}

static size_t cut(char *blob, size_t bytes, struct dxf_xattr *entry)
{
	size_t at = (size_t)((char *)entry - blob), length = entry_bytes(entry);

	memmove(entry, blob + at + length, bytes - at - length);
	((struct dxf_xattr_header *)(void *)blob)->count--;
	return bytes - length;
}

static size_t append(char *blob, size_t bytes, const char *name, const void *value, size_t size)
{
	struct dxf_xattr *entry = (void *)(blob + bytes);

	memset(entry, 0, sizeof(*entry));
	entry->name_length = (uint8_t)strlen(name);
	entry->value_length = (uint32_t)size;
	memset((char *)entry + entry_bytes(entry) - 4, 0, 4); /* the padding */
	memcpy(entry + 1, name, entry->name_length);
	if (size)
		memcpy((char *)(entry + 1) + entry->name_length, value, size);
	((struct dxf_xattr_header *)(void *)blob)->count++;
	return bytes + entry_bytes(entry);
}

errint_t xattr_drop(struct tx *tx, struct dxf_inode *inode)
{
	unsigned blocks = blob_blocks(inode);

	for (unsigned i = 0; i < blocks; i++) {
		uint64_t offset = block_entry(inode, i) & DXF_ENTRY_OFFSET;

		if (!alloc_is_block(tx_volume(tx), offset))
			return -EUCLEAN;
		free_block(tx, offset);
		inode->blocks--;
	}
	memset(inode->xattr, 0, sizeof(inode->xattr));
	inode->xattr_bytes = 0;
	return 0;
}

static errint_t store_blocks(struct tx *tx, struct dxf_inode *inode, const char *blob, size_t bytes)
{
	const struct pmem *pm = tx_volume(tx)->pm;
	unsigned count = (unsigned)((bytes + DXF_BLOCK_SIZE - 1) / DXF_BLOCK_SIZE);
	uint64_t offsets[DXF_XATTR_MAX / DXF_BLOCK_SIZE];
	int err = alloc_blocks(tx, count, offsets);

	if (err)
		return err;
	for (unsigned i = 0; i < count; i++) {
		size_t at = i * DXF_BLOCK_SIZE, n = MIN(bytes - at, DXF_BLOCK_SIZE);
		char *block = pmem_at(pm, offsets[i]);
		uint64_t entry = offsets[i] | 1;

		pmem_copy_nt(pm, block, blob + at, n);
		if (n < DXF_BLOCK_SIZE)
			pmem_zero_nt(pm, block + n, DXF_BLOCK_SIZE - n);
		memcpy(inode->xattr + i * 8, &entry, 8);
	}
	tx_wrote_data(tx);
	inode->blocks += count;
	return 0;
}

static errint_t store(struct tx *tx, struct dxf_inode *inode, char *blob, size_t bytes)
{
	struct dxf_xattr_header *header = (void *)blob;
	int err = xattr_drop(tx, inode);

	if (err || !header->count)
		return err;
	header->crc = crc32c(0, blob + 4, bytes - 4);
	if (bytes <= DXF_XATTR_INLINE)
		memcpy(inode->xattr, blob, bytes);
	else
		err = store_blocks(tx, inode, blob, bytes);
	if (!err)
		inode->xattr_bytes = (uint32_t)bytes;
	return err;
}

errint_t xattr_set(struct tx *tx, struct dxf_inode *inode, const char *name, const void *value,
		   size_t size, int flags)
{
	struct dxf_xattr *entry;
	size_t bytes;
	char *blob;
	int err;

	if (strlen(name) > XATTR_NAME_MAX || !*name)
		return -ERANGE;
	if (size > XATTR_SIZE_MAX)
		return -E2BIG;
	err = load(tx_volume(tx), inode, sizeof(*entry) + XATTR_NAME_MAX + size + 8, &blob, &bytes);
	if (err)
		return err;
	entry = find(blob, name);
	if (entry && (flags & XATTR_CREATE))
		err = -EEXIST;
	else if (!entry && (!value || (flags & XATTR_REPLACE)))
		err = -ENODATA;
	if (!err) {
		if (entry)
			bytes = cut(blob, bytes, entry);
		if (value)
			bytes = append(blob, bytes, name, value, size);
		err = bytes > DXF_XATTR_MAX ? -ENOSPC : store(tx, inode, blob, bytes);
	}
	free(blob);
	return err;
}
