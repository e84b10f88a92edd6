/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The frame around each request: its header is checked, its node looked up, the handler of the
 * table called, and the answer's header written last, with the exact length. An error is answered
 * by a header alone, and is between -511 and -1, as newer guests insist.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "request.h"

enum { ERRNO_MAX = 511, MINOR_LEAST = 31, PAGES_MAX = GUEST_IO_MAX / 4096 };

/* Newer than the oldest header that we build with. */
#define INIT_DIRECT_IO_ALLOW_MMAP (1u << 4) /* bit 36 */
#define INIT_HAS_INODE_DAX (1u << 1)        /* bit 33 */

/* ---- arguments ------------------------------------------------------------------------ */

const void *request_take(struct request *r, size_t size)
{
	const void *at = r->at;

	if (size > r->left)
		return NULL;
	r->at += size;
	r->left -= size;
	return at;
}

const char *request_take_string(struct request *r)
{
	const char *end = memchr(r->at, '\0', r->left);

	return end ? request_take(r, (size_t)(end - r->at) + 1) : NULL;
}

/* "." and ".." lead out of what the guest was told of. */
const char *request_take_name(struct request *r)
{
	const char *name = request_take_string(r);

	if (!name || !*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return NULL;
	return name;
}

errint_t request_malformed(struct request *r)
{
	r->malformed = true;
	return -EINVAL;
}

errint_t request_other(struct request *r, uint64_t number, uint64_t *ret_ino)
{
	int err = nodes_get(&r->guest->nodes, number, &r->other);

	if (err)
		return err;
	*ret_ino = r->other->ino;
	if (r->vfs.answer)
		r->vfs.answer->other_node = *ret_ino;
	return 0;
}

errint_t request_file(struct request *r, uint64_t number, uint64_t ino, unsigned may,
		      struct vfs_open_file *ret_file)
{
	int err = handles_find(&r->guest->handles, number, ino, ret_file);

	return err ? err : (ret_file->may & may) == may ? 0 : -EBADF;
}

struct shmem_patience request_patience(const struct request *r)
{
	return (struct shmem_patience){ .stop = r->answer->stop };
}

void request_changed(struct request *r, uint64_t ino, const char *name, bool data, bool size)
{
	const struct exports_host *host = r->guest->config.host;
	const struct exports_change change = {
		.ino = ino,
		.name = name,
		.data = data,
		.size = size,
	};

	host->changed(host->arg, &change);
}

/* ---- the session ------------------------------------------------------------------------ */

static uint32_t wanted_flags(const struct guest *g)
{
	uint32_t flags = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DONT_MASK |
			 FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO |
			 FUSE_PARALLEL_DIROPS | FUSE_POSIX_ACL | FUSE_MAX_PAGES |
			 FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_INIT_EXT |
			 FUSE_HAS_IOCTL_DIR;

	/* else what others have written is never seen through the guest's cache */
	if (g->config.cache != EXPORTS_CACHE_ALWAYS)
		flags |= FUSE_AUTO_INVAL_DATA;
	return flags;
}

/* The guest that was there before has gone without a word. Its units are taken out of the window
 * first: that may have to be put off. */
static errint_t forget_guest(struct request *r)
{
	const struct shmem_patience patience = request_patience(r);
	struct guest *g = r->guest;
	int err = g->config.window ? window_clear(g->config.window, &patience) : 0;

	if (err != -ECANCELED)
		guest_reset(g);
	return err;
}

/* With a window: whose pieces are aligned so, and which files are to be used through it. */
static void agree_on_window(const struct request *r, const struct fuse_init_in *in,
			    struct fuse_init_out *out)
{
	const struct window *w = r->guest->config.window;

	if (!w || !window_is_connected(w))
		return;
	if (in->flags & FUSE_MAP_ALIGNMENT) {
		out->flags |= FUSE_MAP_ALIGNMENT;
		out->map_alignment = WINDOW_SHIFT;
	}
	if (in->flags & FUSE_INIT_EXT)
		out->flags2 |= in->flags2 & INIT_HAS_INODE_DAX;
}

static ssize_t do_init(struct request *r)
{
	struct fuse_init_in in = { 0 };
	struct guest *g = r->guest;
	struct fuse_init_out *out;
	size_t least = offsetof(struct fuse_init_in, flags2);

	if (r->left < least)
		return request_malformed(r);
	memcpy(&in, r->at, MIN(r->left, sizeof(in)));
	if (in.major != FUSE_KERNEL_VERSION || in.minor < MINOR_LEAST)
		return -EPROTO;
	out = reply_room(r, sizeof(*out));
	if (!out)
		return -ENOBUFS;
	/* it may have booted anew */
	if (forget_guest(r) == -ECANCELED)
		return -ECANCELED;
	out->major = FUSE_KERNEL_VERSION;
	out->minor = MIN(in.minor, (uint32_t)FUSE_KERNEL_MINOR_VERSION);
	out->max_readahead = in.max_readahead;
	out->flags = in.flags & wanted_flags(g);
	if (in.flags & FUSE_INIT_EXT)
		out->flags2 = in.flags2 & INIT_DIRECT_IO_ALLOW_MMAP;
	agree_on_window(r, &in, out);
	out->max_background = 64;
	out->congestion_threshold = 48;
	out->max_write = GUEST_IO_MAX;
	out->max_pages = PAGES_MAX;
	out->time_gran = 1;
	atomic_store(&g->record->setxattr_ext, out->flags & FUSE_SETXATTR_EXT);
	atomic_store(&g->record->greeted, true);
	return sizeof(*out);
}

static ssize_t do_destroy(struct request *r)
{
	return forget_guest(r) == -ECANCELED ? -ECANCELED : 0;
}

static ssize_t do_nothing(struct request *r)
{
	(void)r;
	return 0;
}

/* ---- the table -------------------------------------------------------------------------- */

enum {
	CHANGES = 1,   /* refused where the export is read-only */
	NO_NODE = 2,   /* the node in the header says nothing */
	NO_ANSWER = 4, /* none is due */
};

static const struct rule {
	ssize_t (*run)(struct request *r);
	unsigned how;
} table[] = {
	[FUSE_LOOKUP] = { do_lookup, 0 },
	[FUSE_FORGET] = { do_forget, NO_NODE | NO_ANSWER },
	[FUSE_GETATTR] = { do_getattr, 0 },
	[FUSE_SETATTR] = { do_setattr, CHANGES },
	[FUSE_READLINK] = { do_readlink, 0 },
	[FUSE_SYMLINK] = { do_symlink, CHANGES },
	[FUSE_MKNOD] = { do_mknod, CHANGES },
	[FUSE_MKDIR] = { do_mkdir, CHANGES },
	[FUSE_UNLINK] = { do_unlink, CHANGES },
	[FUSE_RMDIR] = { do_rmdir, CHANGES },
	[FUSE_RENAME] = { do_rename, CHANGES },
	[FUSE_LINK] = { do_link, CHANGES },
	[FUSE_OPEN] = { do_open, 0 },
	[FUSE_READ] = { do_read, 0 },
	[FUSE_WRITE] = { do_write, CHANGES },
	[FUSE_STATFS] = { do_statfs, 0 },
	[FUSE_RELEASE] = { do_release, 0 },
	[FUSE_FSYNC] = { do_fsync, 0 },
	[FUSE_SETXATTR] = { do_setxattr, CHANGES },
	[FUSE_GETXATTR] = { do_getxattr, 0 },
	[FUSE_LISTXATTR] = { do_listxattr, 0 },
	[FUSE_REMOVEXATTR] = { do_removexattr, CHANGES },
	[FUSE_INIT] = { do_init, NO_NODE },
	[FUSE_OPENDIR] = { do_opendir, 0 },
	[FUSE_READDIR] = { do_readdir, 0 },
	[FUSE_RELEASEDIR] = { do_nothing, 0 },
	[FUSE_FSYNCDIR] = { do_nothing, 0 },
	[FUSE_CREATE] = { do_create, CHANGES },
	[FUSE_IOCTL] = { do_ioctl, 0 },
	[FUSE_INTERRUPT] = { do_nothing, NO_NODE | NO_ANSWER },
	[FUSE_DESTROY] = { do_destroy, NO_NODE },
	[FUSE_BATCH_FORGET] = { do_batch_forget, NO_NODE | NO_ANSWER },
	[FUSE_FALLOCATE] = { do_fallocate, CHANGES },
	[FUSE_READDIRPLUS] = { do_readdirplus, 0 },
	[FUSE_RENAME2] = { do_rename2, CHANGES },
	[FUSE_LSEEK] = { do_lseek, 0 },
	[FUSE_COPY_FILE_RANGE] = { do_copy_file_range, CHANGES },
	[FUSE_SETUPMAPPING] = { do_setupmapping, 0 },
	[FUSE_REMOVEMAPPING] = { do_removemapping, NO_NODE },
	[FUSE_SYNCFS] = { do_syncfs, 0 },
	[FUSE_TMPFILE] = { do_tmpfile, CHANGES },
	[GUEST_STATX] = { do_statx, 0 },
};

static const struct rule *find_rule(uint32_t opcode)
{
	return opcode < ARRAY_SIZE(table) && table[opcode].run ? &table[opcode] : NULL;
}

/* ---- once -------------------------------------------------------------------------------- */

/* A slot that is another request's by now says nothing: the guest has written something else. */
static void begin_once(struct request *r, const struct guest_once *once)
{
	struct vfs_answer *slot = once ? once->slot : NULL;
	const struct vfs_answer request = {
		.unique = once ? once->unique : 0,
		.node = node_ino(&r->guest->nodes, r->in->nodeid),
		.opcode = r->in->opcode,
	};

	if (!slot)
		return;
	r->vfs.repeated = once->repeated && slot->unique == request.unique &&
			  slot->node == request.node && slot->opcode == request.opcode;
	if (r->vfs.repeated)
		r->earlier = vfs_opening_choice(slot);
	else
		answers_begin(once->answers, slot, &request);
	r->vfs.answer = slot;
	r->vfs.who.once = answer_once(slot);
}

bool request_is_done(struct request *r)
{
	struct vfs_answer *slot = r->vfs.answer;

	if (slot && r->vfs.repeated && slot->executed)
		return true;
	if (slot)
		answers_mark(slot);
	return false;
}

/* ---- one request ------------------------------------------------------------------------- */

/* The guest's kernel says so itself, and it alone; a guest that lies has its own file's sgid. */
static bool is_member(const struct vfs_request *vfs, uint32_t gid)
{
	const struct request *r = container_of(vfs, struct request, vfs);

	return !r->kills_sgid || vfs->who.gid == gid;
}

/* Of the mount nobody in a guest is; but root there sees which trusted xattrs there are. */
static bool is_administrator(const struct vfs_request *vfs)
{
	return vfs->who.uid == 0;
}

static errint_t check_request(const struct request *r, const struct rule *rule)
{
	if (!rule)
		return -ENOSYS;
	if (!atomic_load(&r->guest->record->greeted) && rule->run != do_init)
		return -ENOTCONN;
	if ((rule->how & CHANGES) && r->guest->config.read_only)
		return -EROFS;
	return !r->vfs.answer || answers_is_welcome(r->vfs.answer) ? 0 : -EIO;
}

static ssize_t run_request(struct request *r, const struct rule *rule)
{
	struct nodes *nodes = &r->guest->nodes;
	struct node *node = NULL;
	ssize_t n = check_request(r, rule);

	if (!n && !(rule->how & NO_NODE))
		n = nodes_get(nodes, r->in->nodeid, &node);
	if (n)
		return n;
	r->ino = node ? node->ino : 0;
	n = rule->run(r);
	nodes_put(nodes, r->other);
	nodes_put(nodes, node);
	return n;
}

/* Its bytes first, then the header that says how many. */
static uint32_t send_answer(struct request *r, ssize_t n)
{
	struct fuse_out_header header = { .len = sizeof(header), .unique = r->in->unique };
	const struct guest_answer *answer = r->answer;

	if (n > 0 && !r->sent && answer->write(answer->arg, sizeof(header), r->out, (size_t)n))
		n = -EFAULT;
	if (n > 0)
		header.len += (uint32_t)n;
	else if (n < 0)
		header.error = n < -ERRNO_MAX ? -EIO : (int32_t)n;
	return answer->write(answer->arg, 0, &header, sizeof(header)) ? 0 : header.len;
}

uint32_t guest_serve(struct guest *g, const void *in, size_t bytes,
		     const struct guest_answer *answer, const struct guest_once *once)
{
	const struct fuse_in_header *header = in;
	struct request r = {
		.vfs = { .who = { .in_group = true },
			 .foreign = true,
			 .is_member = is_member,
			 .is_administrator = is_administrator },
		.guest = g,
		.in = header,
		.answer = answer,
		.out = answer->scratch,
	};
	const struct rule *rule;
	ssize_t n;

	atomic_fetch_add_explicit(&g->record->requests, 1, memory_order_relaxed);
	if (bytes < sizeof(*header)) {
		atomic_fetch_add_explicit(&g->record->refused, 1, memory_order_relaxed);
		return 0;
	}
	r.vfs.who.uid = header->uid;
	r.vfs.who.gid = header->gid;
	r.at = (const char *)in + sizeof(*header);
	r.left = bytes - sizeof(*header);
	if (answer->room > sizeof(struct fuse_out_header))
		r.room = (size_t)MIN(answer->room - sizeof(struct fuse_out_header),
				     (uint64_t)GUEST_ANSWER_MAX);
	begin_once(&r, once);
	rule = find_rule(header->opcode);
	n = header->len == bytes ? run_request(&r, rule) : request_malformed(&r);
	if (n == -ECANCELED)
		return GUEST_LATER;
	if (r.malformed)
		atomic_fetch_add_explicit(&g->record->refused, 1, memory_order_relaxed);
	return rule && (rule->how & NO_ANSWER) ? 0 : send_answer(&r, n);
}

/* ---- life --------------------------------------------------------------------------------- */

size_t guest_record_bytes(void)
{
	return sizeof(struct guest_record);
}

errint_t guest_new(const struct guest_config *config, struct guest **ret_guest)
{
	struct guest *g = calloc(1, sizeof(*g));
	int err;

	if (!g)
		return -ENOMEM;
	g->config = *config;
	g->record = config->record;
	g->nodes.let_go = config->host->let_go;
	g->nodes.arg = config->host->arg;
	err = nodes_open(&g->nodes, config->vfs, config->root, &g->record->nodes);
	if (err) {
		free(g);
		return err;
	}
	handles_open(&g->handles, config->vfs, &g->record->handles);
	*ret_guest = g;
	return 0;
}

void guest_reset(struct guest *g)
{
	atomic_store(&g->record->greeted, false);
	handles_clear(&g->handles);
	nodes_clear(&g->nodes);
}

void guest_free(struct guest *g)
{
	if (!g)
		return;
	handles_close(&g->handles);
	nodes_close(&g->nodes);
	free(g);
}

void guest_counts(struct guest *g, struct guest_counts *ret_counts)
{
	*ret_counts = (struct guest_counts){
		.requests = atomic_load_explicit(&g->record->requests, memory_order_relaxed),
		.refused = atomic_load_explicit(&g->record->refused, memory_order_relaxed),
		.nodes = nodes_count(&g->nodes),
		.files = handles_count(&g->handles),
	};
}
