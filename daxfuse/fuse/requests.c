/* SPDX-License-Identifier: BSD-3-Clause */
#include "daxfuse/fuse/requests.h"

#include <linux/fuse.h>
#include <string.h>

#include "daxfuse/core/fs.h"
#include "daxfuse/fuse/kernel.h"

enum { CRASHES_MAX = 3 };

static _Thread_local struct kept_request *own;     /* this thread's slot */
static _Thread_local struct kept_request *current; /* what it works on: own, or an older one */

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

/* A free slot, or if earlier lives have filled all, the oldest of theirs: there
 * are many more than threads. The lock is held. */
static struct kept_request *take(struct requests *r)
{
	unsigned best = 0;

	for (unsigned i = 0; i < KEPT_REQUESTS; i++) {
		const struct kept_request *a = &r->kept->request[i], *b = &r->kept->request[best];

		if (r->in_use[i])
			continue;
		if (!a->unique) {
			best = i;
			break;
		}
		if (r->in_use[best] || a->life < b->life)
			best = i;
	}
	r->in_use[best] = true;
	return &r->kept->request[best];
}

static uint64_t other_node(const struct fuse_in_header *header, size_t bytes)
{
	uint64_t node = 0;

	/* the first word of what follows: newdir, or oldnodeid */
	if ((header->opcode == FUSE_RENAME || header->opcode == FUSE_RENAME2 ||
	     header->opcode == FUSE_LINK) && bytes >= sizeof(*header) + sizeof(node))
		memcpy(&node, header + 1, sizeof(node));
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

bool requests_begin(struct requests *r, const struct fuse_in_header *header, size_t bytes)
{
	uint64_t unique = header->unique & ~FUSE_UNIQUE_RESEND;

	if (has_no_reply(header))
		return true;
	if (requests_is_resent(header))
		current = take_over(r, unique);
	if (!current) {
		if (!own) {
			pthread_mutex_lock(&r->lock);
			own = take(r);
			pthread_mutex_unlock(&r->lock);
		}
		current = own;
		fill(current, unique, &(struct kept_request){
			.node = header->nodeid,
			.other_node = other_node(header, bytes),
			.opcode = header->opcode,
			.life = r->kept->starts,
		});
	}
	fs_set_request(unique, header->opcode);
	return current->crashes < CRASHES_MAX;
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
	fs_set_request(0, 0);
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
	if (request)
		fs_set_request(request->unique, request->opcode);
}

bool requests_was_executed(int64_t *ret_result)
{
	if (!current || !current->executed)
		return false;
	*ret_result = current->result;
	return true;
}

void requests_executed(void *arg, uint64_t unique, uint32_t opcode, int64_t result)
{
	struct requests *r = arg;
	struct kept_request *request = current;

	(void)opcode;
	if (!request) { /* recovery, before there are threads */
		request = find(r, unique);
		if (!request)
			return;
	}
	request->result = result;
	__atomic_store_n(&request->executed, 1, __ATOMIC_RELEASE);
}

void requests_settle(struct requests *r, void (*settle)(void *arg, const struct kept_request *lost),
		     void *arg)
{
	for (unsigned i = 0; i < KEPT_REQUESTS; i++) {
		struct kept_request *request = &r->kept->request[i], lost = { 0 };

		pthread_mutex_lock(&r->lock);
		if (!r->in_use[i] && request->unique) {
			lost = *request;
			__atomic_store_n(&request->unique, 0, __ATOMIC_RELEASE);
		}
		pthread_mutex_unlock(&r->lock);
		if (lost.executed)
			settle(arg, &lost);
	}
}
