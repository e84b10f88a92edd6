// SPDX-License-Identifier: GPL-2.0
/*
 * A view as a file: its inode lives in a filesystem that nobody mounts.
 *
 * What has the view open or mapped holds its inode, the inode holds the
 * session, the session the device. A session knows its views by number only, and
 * takes a reference when it uses one; so a view ends with its last user.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pseudo_fs.h>
#include <linux/slab.h>
#include <linux/splice.h>

#include "compat.h"
#include "daxview.h"

#define DV_MAGIC 0x64617876 /* "daxv" */

static struct kmem_cache *dv_view_cache;
static struct vfsmount *dv_mount;
static atomic_t dv_inodes = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(dv_no_inodes);

static void dv_view_once(void *memory)
{
	struct dv_view *view = memory;

	inode_init_once(&view->inode);
}

static struct inode *dv_alloc_inode(struct super_block *sb)
{
	struct dv_view *view = alloc_inode_sb(sb, dv_view_cache, GFP_KERNEL);

	if (!view)
		return NULL;
	/* Nothing of what was here before: where a view was to be stored to, say. */
	memset_after(view, 0, inode);
	init_rwsem(&view->lock);
	mt_init(&view->map);
	xa_init(&view->tags);
	mutex_init(&view->sync);
	init_waitqueue_head(&view->askers);
	atomic_inc(&dv_inodes);
	return &view->inode;
}

static void dv_evict_inode(struct inode *inode)
{
	struct dv_view *view = dv_view_of(inode);

	truncate_inode_pages_final(&inode->i_data);
	clear_inode(inode);
	/* Nobody else has it: what was stored, and is not flushed, nobody would find any more. */
	if (view->session && down_write_trylock(&view->lock)) {
		dv_flush_leaving(view, 0, ULONG_MAX);
		up_write(&view->lock);
	}
	mtree_destroy(&view->map);
	dv_free_tags(view);
	if (!view->session)
		return;
	xa_erase(&view->session->device->views, view->number);
	dv_session_put(view->session);
}

/* After a grace period: none of the module's code knows the inode any more. */
static void dv_free_inode(struct inode *inode)
{
	kmem_cache_free(dv_view_cache, dv_view_of(inode));
	if (atomic_dec_and_test(&dv_inodes))
		wake_up_all(&dv_no_inodes);
}

static const struct super_operations dv_super_ops = {
	.alloc_inode = dv_alloc_inode,
	.free_inode = dv_free_inode,
	.evict_inode = dv_evict_inode,
	.statfs = simple_statfs,
};

static int dv_init_fs_context(struct fs_context *fc)
{
	struct pseudo_fs_context *context = init_pseudo(fc, DV_MAGIC);

	if (!context)
		return -ENOMEM;
	context->ops = &dv_super_ops;
	return 0;
}

/* No owner: the module's own mount would keep it from being unloaded. */
static struct file_system_type dv_fs_type = {
	.name = "daxview",
	.init_fs_context = dv_init_fs_context,
	.kill_sb = kill_anon_super,
};

static int dv_open(struct inode *inode, struct file *file)
{
	file->f_mode |= FMODE_CAN_ODIRECT;
	atomic_inc(&dv_view_of(inode)->files);
	return 0;
}

static int dv_release(struct inode *inode, struct file *file)
{
	struct dv_view *view = dv_view_of(inode);

	if (atomic_dec_return(&view->files) == 1)
		dv_tell_closed(view);
	return 0;
}

static int dv_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &dv_vm_ops;
	vm_flags_set(vma, VM_HUGEPAGE);
	return 0;
}

static int dv_fsync(struct file *file, loff_t start, loff_t end, int datasync)
{
	return dv_clean(dv_view_of(file_inode(file)), start >> PAGE_SHIFT, end >> PAGE_SHIFT, NULL);
}

static const struct file_operations dv_view_fops = {
	.owner = THIS_MODULE,
	.open = dv_open,
	.release = dv_release,
	.llseek = generic_file_llseek,
	.read_iter = dv_read_iter,
	.write_iter = dv_write_iter,
	.splice_read = copy_splice_read,
	.splice_write = iter_file_splice_write,
	.mmap = dv_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.fsync = dv_fsync,
};

/* Sizes and attributes are the daemon's. */
static int dv_setattr(struct mnt_idmap *idmap, struct dentry *dentry, struct iattr *attr)
{
	return -EPERM;
}

static const struct inode_operations dv_inode_ops = {
	.setattr = dv_setattr,
	.getattr = simple_getattr,
};

static const struct address_space_operations dv_aops = {
	.dirty_folio = noop_dirty_folio,
};

static int dv_view_number(struct dv_view *view, struct dv_session *session)
{
	int err = xa_alloc_cyclic(&session->device->views, &view->number, view, xa_limit_31b,
				  &session->device->next, GFP_KERNEL);

	if (err < 0)
		return err;
	kref_get(&session->kref);
	view->session = session;
	return 0;
}

static struct inode *dv_view_inode(struct dv_session *session, const struct daxview_create *create)
{
	struct inode *inode = new_inode(dv_mount->mnt_sb);
	struct dv_view *view;
	int err;

	if (!inode)
		return ERR_PTR(-ENOMEM);
	inode->i_ino = get_next_ino();
	inode->i_mode = S_IFREG | 0600;
	inode->i_flags |= S_DAX | S_PRIVATE;
	inode->i_op = &dv_inode_ops;
	inode->i_fop = &dv_view_fops;
	inode->i_mapping->a_ops = &dv_aops;
	simple_inode_init_ts(inode);
	i_size_write(inode, create->file_size);
	view = dv_view_of(inode);
	view->cookie = create->cookie;
	err = dv_view_number(view, session);
	if (err) {
		iput(inode);
		return ERR_PTR(err);
	}
	return inode;
}

struct file *dv_view_create(struct dv_session *session, const struct daxview_create *create)
{
	struct dv_words times = {};
	struct inode *inode;
	struct file *file;
	int err = 0;

	if (create->file_size > MAX_LFS_FILESIZE)
		return ERR_PTR(-EFBIG);
	if (create->times)
		err = dv_find_words(session->device, create->times, 2, &times);
	if (err)
		return ERR_PTR(err);
	inode = dv_view_inode(session, create);
	if (IS_ERR(inode))
		return ERR_CAST(inode);
	dv_view_of(inode)->times = times;
	__module_get(THIS_MODULE); /* as the file's, which gives it back */
	file = alloc_file_pseudo(inode, dv_mount, "daxview", O_RDWR | O_LARGEFILE, &dv_view_fops);
	if (IS_ERR(file)) {
		iput(inode);
		module_put(THIS_MODULE);
		return file;
	}
	file->f_mode |= FMODE_CAN_ODIRECT | FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
	atomic_inc(&dv_view_of(inode)->files); /* it is not opened, but released */
	return file;
}

/* With a reference, if it is not being freed. */
static struct dv_view *dv_view_get(struct dv_device *device, unsigned long first,
				   unsigned long last)
{
	struct dv_view *view;

	xa_lock(&device->views);
	view = xa_find(&device->views, &first, last, XA_PRESENT);
	while (view && !igrab(&view->inode))
		view = xa_find_after(&device->views, &first, last, XA_PRESENT);
	xa_unlock(&device->views);
	return view;
}

struct dv_view *dv_view_find(struct dv_device *device, u64 number)
{
	return number && number <= INT_MAX ? dv_view_get(device, number, number) : NULL;
}

struct dv_view *dv_view_next(struct dv_device *device, u64 after)
{
	return after < INT_MAX ? dv_view_get(device, after + 1, INT_MAX) : NULL;
}

int dv_view_init(void)
{
	dv_view_cache = kmem_cache_create("daxview", sizeof(struct dv_view), 0,
					  SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT, dv_view_once);
	if (!dv_view_cache)
		return -ENOMEM;
	dv_mount = kern_mount(&dv_fs_type);
	if (IS_ERR(dv_mount)) {
		kmem_cache_destroy(dv_view_cache);
		return PTR_ERR(dv_mount);
	}
	return 0;
}

/* A view's file lets go of the module a moment before it lets go of the view. */
void dv_view_exit(void)
{
	kern_unmount(dv_mount);
	rcu_barrier();
	wait_event(dv_no_inodes, !atomic_read(&dv_inodes));
	rcu_barrier();
	kmem_cache_destroy(dv_view_cache);
}
