/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which slot (vfs/answers.h) the request has that this thread works on. libfuse hands a handler no
 * more than its own request, so the thread keeps it.
 */
#include "requests.h"

#include <linux/fuse.h>
#include <stddef.h>
#include <string.h>

#include "daxfuse/keeper/kernel.h"

static _Thread_local struct vfs_answer *own;     /* this thread's slot */
static _Thread_local struct vfs_answer *current; /* being worked on: own, or an older one */
static _Thread_local bool repeated;              /* it is an older one */

bool requests_is_resent(const struct fuse_in_header *header)
{
	return header->unique & FUSE_UNIQUE_RESEND;
}

bool requests_is_new(const struct fuse_in_header *header)
{
	switch (header->opcode) {
	case FUSE_FORGET: /* these have a queue of their own */
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return false;
	}
	return !requests_is_resent(header);
}

/* The second node that a request is about, or 0. */
static uint64_t other_node(const struct fuse_in_header *header, size_t bytes)
{
	size_t at = sizeof(*header);
	uint64_t node = 0;

	switch (header->opcode) {
	case FUSE_COPY_FILE_RANGE:
	case KERNEL_COPY_FILE_RANGE_64: /* begins likewise */
		at += offsetof(struct fuse_copy_file_range_in, nodeid_out);
		break;
	case FUSE_RENAME: /* the first word: newdir, or oldnodeid */
	case FUSE_RENAME2:
	case FUSE_LINK:
		break;
	default:
		return 0;
	}
	if (bytes >= at + sizeof(node))
		memcpy(&node, (const char *)header + at, sizeof(node));
	return node;
}

static bool has_no_reply(const struct fuse_in_header *header)
{
	return header->opcode == FUSE_FORGET || header->opcode == FUSE_BATCH_FORGET;
}

/* This thread's slot, for a request that no earlier process has had; or NULL. */
static struct vfs_answer *begin_new(struct vfs_answers *a, uint64_t unique,
				    const struct fuse_in_header *header, size_t bytes)
{
	if (!own)
		own = answers_take(a);
	if (own)
		answers_begin(a, own,
			      &(struct vfs_answer){
				      .unique = unique,
				      .node = header->nodeid,
				      .other_node = other_node(header, bytes),
				      .opcode = header->opcode,
			      });
	return own;
}

bool requests_begin(struct vfs_answers *a, const struct fuse_in_header *header, size_t bytes)
{
	uint64_t unique = header->unique & ~FUSE_UNIQUE_RESEND;

	if (has_no_reply(header))
		return true;
	if (requests_is_resent(header))
		current = answers_take_over(a, unique);
	repeated = current != NULL;
	if (!current)
		current = begin_new(a, unique, header, bytes);
	return !current || answers_is_welcome(current);
}

void requests_end(struct vfs_answers *a)
{
	if (current && current == own)
		answers_done(own);
	else if (current)
		answers_end(a, current);
	current = NULL;
	repeated = false;
}

void requests_leave(struct vfs_answers *a)
{
	if (own)
		answers_end(a, own);
	own = NULL;
}

struct vfs_answer *requests_detach(void)
{
	struct vfs_answer *answer = current;

	if (current == own)
		own = NULL;
	current = NULL;
	return answer;
}

void requests_attach(struct vfs_answer *answer)
{
	current = answer;
}

bool requests_is_repeated(void)
{
	return repeated;
}

struct vfs_answer *requests_current(void)
{
	return current;
}
