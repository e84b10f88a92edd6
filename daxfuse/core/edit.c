/* SPDX-License-Identifier: BSD-3-Clause */
/* How an operation's transaction begins and ends. */
#include "internal.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"

errint_t edit_begin(struct fs *fs, struct inode *inode, struct tx **ret_tx,
		    struct dxf_inode **ret_di)
{
	int err;

	lock_assert(LOCK_INODE);
	err = tx_begin(fs->vol, ret_tx);
	if (!err)
		*ret_di = tx_edit_inode(*ret_tx, inode->media);
	return err;
}

errint_t edit_end(struct tx *tx, int err)
{
	if (!err)
		return tx_commit(tx);
	tx_abort(tx);
	return err;
}
