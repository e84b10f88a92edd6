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

#endif
