/* SPDX-License-Identifier: BSD-3-Clause */
/* What a handler knows of the request that its thread has read. */
#ifndef TESTS_UNIT_FUSE_HANDLER_H
#define TESTS_UNIT_FUSE_HANDLER_H

#include "daxfuse/fuse/requests.h"
#include "daxfuse/vfs/answers.h"

static inline struct vfs_request request_of_thread(void)
{
	struct vfs_answer *answer = requests_current();

	return (struct vfs_request){ .who = { .once = answer_once(answer) }, .answer = answer };
}

static inline bool was_executed(int64_t *ret_result)
{
	const struct vfs_request request = request_of_thread();

	return answer_is_known(&request, ret_result);
}

/* Each life opens the same kept memory anew, as a process does that was started again. */
struct lives {
	struct vfs_answer *slots; /* what outlives them */
	struct vfs_answers answers;
	uint32_t life;
};

static inline void next_life(struct lives *l, bool crashed)
{
	answers_close(&l->answers);
	answers_open(&l->answers, l->slots, ++l->life, crashed);
}

static inline int setup(void **state)
{
	struct lives *l = calloc(1, sizeof(*l));

	l->slots = calloc(VFS_ANSWERS, sizeof(*l->slots));
	next_life(l, false);
	*state = l;
	return 0;
}

#endif
