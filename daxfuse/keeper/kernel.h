/* SPDX-License-Identifier: BSD-3-Clause */
/* Of the FUSE protocol: definitions that are newer than the header of the oldest distribution that
 * we build on (include/uapi/linux/fuse.h of Linux 6.9 and 6.16). */
#ifndef DAXFUSE_KEEPER_KERNEL_H
#define DAXFUSE_KEEPER_KERNEL_H

#include <linux/fuse.h>

/* Set in the unique of a request that the kernel sends again. */
#ifndef FUSE_UNIQUE_RESEND
#define FUSE_UNIQUE_RESEND (1ULL << 63)
#endif

/* As FUSE_COPY_FILE_RANGE, with a longer answer (Linux 6.18). */
#define KERNEL_COPY_FILE_RANGE_64 53

/* Notifications, in the error field of a header whose unique is 0. */
#define KERNEL_NOTIFY_INVAL_INODE 2
#define KERNEL_NOTIFY_INVAL_ENTRY 3
#define KERNEL_NOTIFY_RESEND 7    /* send all that was not answered again */
#define KERNEL_NOTIFY_INC_EPOCH 8 /* look every name up again */

#endif
