/* SPDX-License-Identifier: BSD-3-Clause */
#include "repeat.h"

#include <errno.h>

#include "requests.h"

bool repeat_done(fuse_req_t req)
{
	int64_t result;

	if (!requests_was_executed(&result))
		return false;
	fuse_reply_err(req, 0);
	return true;
}

/* Others may have removed it meanwhile, and the number may mean another inode. */
bool repeat_made(fuse_req_t req, int *ret_err, struct fs_attr *ret_attr)
{
	int64_t result;

	if (!requests_was_executed(&result))
		return false;
	*ret_err = fs_getattr(state_of(req)->fs, FS_RESULT_INO(result), ret_attr);
	if (!*ret_err && ret_attr->generation != FS_RESULT_GENERATION(result))
		*ret_err = -ESTALE;
	if (*ret_err == -ESTALE)
		*ret_err = -ENOENT;
	return true;
}

bool repeat_entry(fuse_req_t req)
{
	struct fs_attr attr;
	int err;

	if (!repeat_made(req, &err, &attr))
		return false;
	reply_entry(req, err, &attr);
	return true;
}

bool repeat_link(fuse_req_t req, fuse_ino_t node)
{
	struct fs_attr attr;
	int64_t result;

	if (!requests_was_executed(&result))
		return false;
	reply_entry(req, fs_getattr(state_of(req)->fs, node_to_ino(node), &attr), &attr);
	return true;
}
