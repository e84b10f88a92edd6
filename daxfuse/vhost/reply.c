/* SPDX-License-Identifier: BSD-3-Clause */
/* What a guest is told: entries, attributes, and for how long they hold. */
#include <errno.h>
#include <string.h>

#include "request.h"

#define NSEC INT64_C(1000000000)

void *reply_room(struct request *r, size_t size)
{
	if (size > r->room)
		return NULL;
	return memset(r->out, 0, size);
}

void fill_time(int64_t ns, uint64_t *ret_seconds, uint32_t *ret_nanoseconds)
{
	int64_t seconds = ns / NSEC, rest = ns % NSEC;

	if (rest < 0) {
		seconds--;
		rest += NSEC;
	}
	*ret_seconds = (uint64_t)seconds;
	*ret_nanoseconds = (uint32_t)rest;
}

/* The kernel's encoding of a device: 12 bits of major at 8, 20 of minor around them. */
static uint32_t pack_rdev(uint32_t rdev)
{
	uint32_t major = rdev >> 20, minor = rdev & 0xfffff;

	return (minor & 0xff) | major << 8 | (minor & 0xfff00) << 12;
}

void fill_attr_reply(struct request *r, const struct fs_attr *attr, struct fuse_attr *ret_attr)
{
	const struct window *w = r->guest->config.window;

	*ret_attr = (struct fuse_attr){
		.ino = attr->ino,
		.size = attr->size,
		.blocks = attr->blocks,
		.mode = attr->mode,
		.nlink = attr->nlink,
		.uid = attr->uid,
		.gid = attr->gid,
		.rdev = pack_rdev(attr->rdev),
		.blksize = DXF_BLOCK_SIZE,
		.flags = w && window_wants(w, attr) ? FUSE_ATTR_DAX : 0,
	};
	fill_time(attr->atime, &ret_attr->atime, &ret_attr->atimensec);
	fill_time(attr->mtime, &ret_attr->mtime, &ret_attr->mtimensec);
	fill_time(attr->ctime, &ret_attr->ctime, &ret_attr->ctimensec);
}

void fill_timeout(const struct request *r, uint64_t *ret_seconds, uint32_t *ret_nanoseconds)
{
	static const uint64_t seconds[] = {
		[EXPORTS_CACHE_NONE] = 0,
		[EXPORTS_CACHE_AUTO] = 1,
		[EXPORTS_CACHE_ALWAYS] = 3600,
	};

	*ret_seconds = seconds[r->guest->config.cache];
	*ret_nanoseconds = 0;
}

errint_t fill_entry(struct request *r, struct fs_attr *attr, struct fuse_entry_out *ret_entry)
{
	int err = nodes_tell(&r->guest->nodes, attr);

	if (err)
		return err;
	*ret_entry = (struct fuse_entry_out){
		.nodeid = node_number(&r->guest->nodes, attr->ino),
		.generation = attr->generation,
	};
	fill_attr_reply(r, attr, &ret_entry->attr);
	fill_timeout(r, &ret_entry->entry_valid, &ret_entry->entry_valid_nsec);
	fill_timeout(r, &ret_entry->attr_valid, &ret_entry->attr_valid_nsec);
	return 0;
}

ssize_t reply_with_entry(struct request *r, int err, struct fs_attr *attr)
{
	struct fuse_entry_out *entry = err ? NULL : reply_room(r, sizeof(*entry));

	if (err)
		return err;
	if (!entry)
		return -ENOBUFS;
	err = fill_entry(r, attr, entry);
	return err ? err : (ssize_t)sizeof(*entry);
}
