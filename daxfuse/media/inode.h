/* SPDX-License-Identifier: BSD-3-Clause */
/* An inode on media: its checksum and its checks. */
#ifndef DAXFUSE_MEDIA_INODE_H
#define DAXFUSE_MEDIA_INODE_H

#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "daxfuse/base/crc.h"
#include "daxfuse/format.h"

/* CRC32C without the word itself and the three times that are stored in place; tail_size, which is
 * so, too, counts as 0. */
static inline uint32_t inode_crc(const struct dxf_inode *inode)
{
	struct {
		uint32_t magic;
		uint32_t rest[14];
	} head;
	static const uint64_t nothing;
	uint32_t crc;
	size_t after = offsetof(struct dxf_inode, btime);
	size_t tail = offsetof(struct dxf_inode, tail_size), data = tail + sizeof(nothing);

	head.magic = inode->magic;
	memcpy(head.rest, &inode->ino, sizeof(head.rest));
	crc = crc32c(0, &head, sizeof(head));
	static_assert(offsetof(struct dxf_inode, atime) == 8 + sizeof(head.rest), "head");
	crc = crc32c(crc, (const char *)inode + after, tail - after);
	crc = crc32c(crc, &nothing, sizeof(nothing));
	return crc32c(crc, (const char *)inode + data, sizeof(*inode) - data);
}

/* Whether a copy of the inode in slot ino may be used. */
static inline bool inode_is_valid(const struct dxf_inode *inode, uint32_t ino)
{
	uint32_t type = inode->mode & S_IFMT;

	return inode->magic == DXF_INODE_MAGIC && inode->crc == inode_crc(inode) &&
	       inode->ino == ino && inode->size <= DXF_FILE_MAX &&
	       (type == S_IFREG || type == S_IFDIR || type == S_IFLNK || type == S_IFIFO ||
		type == S_IFSOCK || type == S_IFCHR || type == S_IFBLK) &&
	       !(inode->flags & ~DXF_FLAG_KNOWN) && inode->data_format <= DXF_DATA_TABLE &&
	       (inode->data_format != DXF_DATA_INLINE || inode->size <= DXF_INLINE_MAX) &&
	       inode->table_level <= DXF_LEVEL_MAX && inode->xattr_bytes <= DXF_XATTR_MAX &&
	       (type != S_IFDIR || inode->size % DXF_BLOCK_SIZE == 0);
}

#endif
