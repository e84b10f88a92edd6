// SPDX-License-Identifier: GPL-2.0
/*
 * daxview: regular files made of pieces of a device-dax, for FUSE passthrough.
 *
 *   session.c   /dev/daxview: who may make views of which device
 *   view.c      a view as a file
 *   map.c       what lies where in it
 *   fault.c     mappings
 *   io.c        read and write
 *   tags.c      what was stored to; fsync
 *   question.c  what is asked of the daemon
 *   device.c    the device: its pages, failed memory, pages in use
 */
#include <linux/miscdevice.h>
#include <linux/module.h>

#include "compat.h"
#include "daxview.h"

static struct miscdevice dv_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "daxview",
	.mode = 0600,
	.fops = &dv_session_fops,
};

static int __init dv_init(void)
{
	int err = dv_fault_init();

	if (err)
		return err;
	err = dv_view_init();
	if (err)
		goto no_views;
	err = misc_register(&dv_misc);
	if (!err)
		return 0;
	dv_view_exit();
no_views:
	dv_fault_exit();
	return err;
}

static void __exit dv_exit(void)
{
	misc_deregister(&dv_misc);
	dv_view_exit();
	dv_device_exit();
	dv_fault_exit();
}

module_init(dv_init);
module_exit(dv_exit);
MODULE_DESCRIPTION("Views of device memory as files, for FUSE passthrough");
MODULE_AUTHOR("The daxfuse authors");
MODULE_LICENSE("GPL");
MODULE_SOFTDEP("pre: device_dax");
