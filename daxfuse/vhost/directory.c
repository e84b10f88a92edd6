/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading directories. The cookies are core's, so nothing is kept open; and a guest keeps no list
 * that the host would change behind its back. */
#include <errno.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "request.h"

struct listing {
	struct request *request;
	size_t size; /* bytes that the guest takes */
	size_t used;
};

static bool is_dot(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* What lies above the guest's root is not its business. */
static uint64_t shown_ino(const struct request *r, const struct fs_dirent *entry)
{
	return is_dot(entry->name) && r->ino == r->guest->nodes.root ? r->ino : entry->ino;
}

static void put_dirent(const struct request *r, const struct fs_dirent *entry, size_t length,
		       struct fuse_dirent *ret_dirent)
{
	ret_dirent->ino = shown_ino(r, entry);
	ret_dirent->off = entry->next;
	ret_dirent->namelen = (uint32_t)length;
	ret_dirent->type = entry->type;
	memcpy(ret_dirent->name, entry->name, length);
}

/* Room for an entry, zeroed; NULL: it does not fit. */
static void *take_room(struct listing *l, size_t length)
{
	char *at = l->request->out + l->used;

	if (length > l->size - l->used)
		return NULL;
	l->used += length;
	return memset(at, 0, length);
}

static int emit_name(const struct fs_dirent *entry, void *arg)
{
	struct listing *l = arg;
	size_t length = strlen(entry->name);
	struct fuse_dirent *dirent = take_room(l, round_up(FUSE_NAME_OFFSET + length, 8));

	if (!dirent)
		return 1;
	put_dirent(l->request, entry, length, dirent);
	return 0;
}

/* With attributes. An entry without a node (one that has just gone, "." and "..") is a name only,
 * and not told. */
static int emit_entry(const struct fs_dirent *entry, void *arg)
{
	struct listing *l = arg;
	size_t length = strlen(entry->name);
	struct fuse_direntplus *plus;
	struct fs_attr attr;

	plus = take_room(l, round_up(FUSE_NAME_OFFSET_DIRENTPLUS + length, 8));
	if (!plus)
		return 1;
	if (is_dot(entry->name) || vfs_getattr(l->request->guest->config.vfs, entry->ino, &attr) ||
	    fill_entry(l->request, &attr, &plus->entry_out)) {
		plus->entry_out.attr.ino = shown_ino(l->request, entry);
		plus->entry_out.attr.mode = (uint32_t)entry->type << 12;
	}
	put_dirent(l->request, entry, length, &plus->dirent);
	return 0;
}

static ssize_t list_names(struct request *r, int (*emit)(const struct fs_dirent *entry, void *arg))
{
	const struct fuse_read_in *in = request_take(r, sizeof(*in));
	struct listing l = { .request = r };
	int err;

	if (!in)
		return request_malformed(r);
	l.size = MIN((size_t)in->size, r->room);
	err = vfs_readdir(r->guest->config.vfs, r->ino, in->offset, emit, &l);
	return err < 0 && !l.used ? err : (ssize_t)l.used;
}

ssize_t do_readdir(struct request *r)
{
	return list_names(r, emit_name);
}

ssize_t do_readdirplus(struct request *r)
{
	return list_names(r, emit_entry);
}

ssize_t do_opendir(struct request *r)
{
	struct fuse_open_out *out = reply_room(r, sizeof(*out));

	return out ? (ssize_t)sizeof(*out) : -ENOBUFS;
}
