/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a change of a file's bytes takes away from it: suid, sgid, file capabilities. Of writing and
 * truncating the kernel says so to its server; of other means it says nothing, and never whether
 * the caller is in the file's group.
 */
#include <sys/stat.h>

#include "internal.h"
#include "daxfuse/base/errint.h"

unsigned kills_of(const struct vfs_request *request, const struct fs_attr *attr)
{
	bool stranger = (attr->mode & S_ISGID) && !request->is_member(request, attr->gid);

	return FS_WRITE_KILL_SUIDGID | (stranger ? FS_WRITE_KILL_SGID : 0);
}

/* An earlier process may have taken them away, and died before it could say so. */
errint_t drop_privileges(struct vfs *v, const struct vfs_request *request, uint64_t ino)
{
	bool dropped = false;
	struct fs_attr attr;
	unsigned kill = 0;
	int64_t done;
	int err = fs_getattr(v->config.fs, ino, &attr);

	if (!err && request->who.uid != 0)
		kill = kills_of(request, &attr);
	if (!err && !answer_is_known(request, &done))
		err = fs_drop_privileges(v->config.fs, ino, kill, &dropped);
	if (dropped || request->repeated)
		vfs_forget_cached(v, ino, false);
	return err;
}
