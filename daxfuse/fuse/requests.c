/* SPDX-License-Identifier: BSD-3-Clause */
#include "requests.h"

#include <linux/fuse.h>
#include <stddef.h>
#include <string.h>

#include "daxfuse/core/fs.h"
#include "kernel.h"

enum { CRASHES_MAX = 3 };

static _Thread_local struct kept_request *own;     /* this thread's slot */
static _Thread_local struct kept_request *current; /* what it works on: own, or an older one */
static _Thread_local bool repeated;                /* it is an older one */

void requests_open(struct requests *r, struct kept *kept)
{
	r->kept = kept;
	pthread_mutex_init(&r->lock, NULL);
}

void requests_close(struct requests *r)
{
	pthread_mutex_destroy(&r->lock);
}

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

/* The lock is held. A slot in use belongs to a thread of this process, which has
 * something else in it. */
static struct kept_request *find(struct requests *r, uint64_t unique)
{
	for (unsigned i = 0; i < KEPT_REQUESTS; i++) {
		if (!r->in_use[i] && r->kept->request[i].unique == unique)
			return &r->kept->request[i];
	}
	return NULL;
}

/* A free slot, or if there is none, the oldest of earlier lives. NULL: all are in
 * use. The lock is held. */
static struct kept_request *take(struct requests *r)
{
	struct kept_request *best = NULL;

	for (unsigned i = 0; i < KEPT_REQUESTS; i++) {
		struct kept_request *request = &r->kept->request[i];

		if (r->in_use[i])
			continue;
		if (!best || !request->unique || request->life < best->life)
			best = request;
		if (!best->unique)
			break;
	}
	if (best)
		r->in_use[best - r->kept->request] = true;
	return best;
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

/* Order: everything else, then unique: a slot whose filling was cut short is free. */
static void fill(struct kept_request *request, uint64_t unique, const struct kept_request *from)
{
	__atomic_store_n(&request->unique, 0, __ATOMIC_RELEASE);
	request->node = from->node;
	request->other_node = from->other_node;
	request->result = from->result;
	request->opcode = from->opcode;
	request->life = from->life;
	request->executed = from->executed;
	request->crashes = from->crashes;
	__atomic_store_n(&request->unique, unique, __ATOMIC_RELEASE);
}

static bool has_no_reply(const struct fuse_in_header *header)
{
	return header->opcode == FUSE_FORGET || header->opcode == FUSE_BATCH_FORGET;
}

/* What an earlier process has left of a request that comes again. */
static struct kept_request *take_over(struct requests *r, uint64_t unique)
{
	struct kept_request *request;

	pthread_mutex_lock(&r->lock);
	request = find(r, unique);
	if (request) {
		if (r->kept->crashed && request->life + 1 == r->kept->starts)
			request->crashes++;
		request->life = r->kept->starts;
		r->in_use[request - r->kept->request] = true;
	}
	pthread_mutex_unlock(&r->lock);
	return request;
}

/* This thread's slot, for what no earlier process has had; or NULL. */
static struct kept_request *begin_new(struct requests *r, uint64_t unique,
				      const struct fuse_in_header *header, size_t bytes)
{
	if (!own) {
		pthread_mutex_lock(&r->lock);
		own = take(r);
		pthread_mutex_unlock(&r->lock);
	}
	if (own)
		fill(own, unique, &(struct kept_request){
			.node = header->nodeid,
			.other_node = other_node(header, bytes),
			.opcode = header->opcode,
			.life = r->kept->starts,
		});
	return own;
}

bool requests_begin(struct requests *r, const struct fuse_in_header *header, size_t bytes)
{
	uint64_t unique = header->unique & ~FUSE_UNIQUE_RESEND;

	if (has_no_reply(header))
		return true;
	if (requests_is_resent(header))
		current = take_over(r, unique);
	repeated = current != NULL;
	if (!current)
		current = begin_new(r, unique, header, bytes);
	if (!current)
		return true;
	/* what was executed only lacks its answer */
	return current->executed || current->crashes < CRASHES_MAX;
}

static void give_back(struct requests *r, struct kept_request *request)
{
	pthread_mutex_lock(&r->lock);
	__atomic_store_n(&request->unique, 0, __ATOMIC_RELEASE);
	r->in_use[request - r->kept->request] = false;
	pthread_mutex_unlock(&r->lock);
}

void requests_end(struct requests *r)
{
	if (current && current == own)
		__atomic_store_n(&own->unique, 0, __ATOMIC_RELEASE);
	else if (current)
		give_back(r, current);
	current = NULL;
	repeated = false;
}

struct kept_request *requests_detach(void)
{
	struct kept_request *request = current;

	if (current == own)
		own = NULL;
	current = NULL;
	return request;
}

void requests_attach(struct kept_request *request)
{
	current = request;
}

bool requests_is_repeated(void)
{
	return repeated;
}

bool requests_was_executed(int64_t *ret_result)
{
	if (!current || !current->executed)
		return false;
	*ret_result = current->result;
	return true;
}

/* Order: the result, then that there is one. */
static void mark_executed(struct kept_request *request, int64_t result)
{
	request->result = result;
	__atomic_store_n(&request->executed, 1, __ATOMIC_RELEASE);
}

static void executed(const struct tx_request *request, int64_t result)
{
	(void)request; /* this thread's */
	mark_executed(current, result);
}

struct tx_request requests_once(void)
{
	if (!current)
		return (struct tx_request){ 0 };
	return (struct tx_request){ current->unique, current->opcode, executed };
}

void requests_replayed(void *arg, uint64_t unique, uint32_t opcode, int64_t result)
{
	struct requests *r = arg;
	struct kept_request *request;

	(void)opcode;
	pthread_mutex_lock(&r->lock);
	request = find(r, unique);
	pthread_mutex_unlock(&r->lock);
	if (request)
		mark_executed(request, result);
}

void requests_settle(struct requests *r, void (*settle)(void *arg, const struct kept_request *lost),
		     void *arg)
{
	for (unsigned i = 0; i < KEPT_REQUESTS; i++) {
		struct kept_request *request = &r->kept->request[i];
		bool lost;

		pthread_mutex_lock(&r->lock);
		lost = !r->in_use[i] && request->unique;
		r->in_use[i] |= lost;
		pthread_mutex_unlock(&r->lock);
		if (!lost)
			continue;
		settle(arg, request);
		give_back(r, request);
	}
}
