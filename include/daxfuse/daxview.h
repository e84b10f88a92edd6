/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause */
/*
 * What a daemon says to the kernel module daxview (contrib/dkms): /dev/daxview, for root.
 *
 * A session is an open file of /dev/daxview that was shown the descriptor of one device-dax. It
 * makes views: regular files without a name whose bytes are pieces of that device. A view's
 * descriptor can be mapped, read and written; it is meant as the backing of a FUSE file. The view
 * lives as long as anything has it open or mapped, also when its session's process has died, if
 * the session is held (DAXVIEW_IOC_HOLD); else it is revoked then, as nobody would answer.
 *
 * Each part of a view is a piece of the device, a hole, or unknown. A load or a read of what is
 * unknown, a store or a write to what is unknown or a hole, and a write past the end, or past the
 * end of its tail, wait for the daemon: read(2) from the session's descriptor gives the question,
 * DAXVIEW_IOC_SET or DAXVIEW_IOC_ANSWER ends it. poll(2) says POLLIN when there is one that was not
 * read. A question that was read and not answered is read again by the process that takes the
 * session over.
 *
 * Every struct begins with its size, as the caller was compiled with: a newer module takes an
 * older struct, the rest being 0. Offsets and lengths are bytes, and multiples of 4096 but for
 * file sizes. Flags that are not known are refused with EINVAL.
 */
#ifndef DAXFUSE_DAXVIEW_H
#define DAXFUSE_DAXVIEW_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define DAXVIEW_PATH "/dev/daxview"
#define DAXVIEW_VERSION 5

/* The first call on a descriptor: which device, and whose session. */
struct daxview_session {
	__u32 size;
	__u32 flags;
	__s32 device;  /* a device-dax, open for reading and writing */
	__u32 reason;  /* out, with EOPNOTSUPP: DAXVIEW_REASON_... */
	__u8 key[16];  /* names the session for DAXVIEW_ADOPT */
	__u64 length;  /* out: of the device */
	__u32 align;   /* out: of the device: 4096 or 2 MiB */
	__u32 version; /* out: DAXVIEW_VERSION of the module */
};

/*
 * ADOPT: take over the session with this key, whose process is gone: ENOENT if there is none,
 * EBUSY while it has a process. REVOKE: a new one, after all views of sessions without a process
 * on this device have been revoked. Neither: a new one; EEXIST if such views are left. In all cases
 * EBUSY if another session of this device has a process.
 */
#define DAXVIEW_ADOPT (1u << 0)
#define DAXVIEW_REVOKE (1u << 1)

/*
 * From now on this descriptor, one of /dev/daxview that is no session's, keeps the views of a
 * session from being revoked when its process dies, until it is closed, or holds another session:
 * a process that takes the session over may come. EINVAL: not a session's descriptor; EISCONN: this
 * one is.
 */
struct daxview_hold {
	__u32 size;
	__s32 session; /* the session's descriptor */
};

#define DAXVIEW_REASON_DEVICE 1u   /* not a device-dax that can be mapped */
#define DAXVIEW_REASON_READONLY 2u /* the descriptor is not for reading and writing */
#define DAXVIEW_REASON_ALIGN 3u    /* the device's alignment is 1 GiB */
#define DAXVIEW_REASON_LAYOUT 4u   /* its ranges are not where they are expected */

/* A new view, all of it unknown. */
struct daxview_create {
	__u32 size;
	__u32 flags;     /* 0 */
	__u64 cookie;    /* the caller's, given back in questions */
	__u64 file_size; /* as stat(2) says it */
	__u64 view;      /* out: its number */
	__s32 fd;        /* out: close-on-exec */
	__u32 padding;
	/* version 3 */
	__u64 times; /* on the device: see below; 0: nowhere */
};

/*
 * A write(2) and, from version 4 on, a store that makes a page of a mapping dirty, stores
 * CLOCK_REALTIME in ns in two words of 8 bytes at `times`, a multiple of 8, that lie in one page;
 * they are durable as the bytes are: when the write returns, or after DAXVIEW_IOC_SYNC or fsync(2).
 */

struct daxview_piece {
	__u64 offset; /* in the file */
	__u64 length;
	__u64 device; /* where on the device, or DAXVIEW_HOLE */
	__u32 flags;  /* of a piece of the device: DAXVIEW_PIECE_READ */
	__u32 padding;
};

#define DAXVIEW_HOLE (~0ull)
/* Stores and writes to it ask WRITE. That it may be stored to later takes no mapping away. */
#define DAXVIEW_PIECE_READ (1u << 0)
#define DAXVIEW_PIECES_MAX 65536u

/*
 * What lies in a range from now on; what no piece covers is unknown. Mappings of what has changed
 * are gone when the call returns, and stores to it are durable; the rest is not touched. ESTALE:
 * revoked. After ENOMEM any part of the range may be set: set it again, or revoke the view.
 *
 * A size is set alone with a length of 0, or after the range. When the call returns no read gives,
 * and no mapping has, a byte behind it, and threads that have asked about what lies there look
 * again.
 */
struct daxview_set {
	__u32 size;
	__u32 flags; /* DAXVIEW_SET_SIZE: file_size is meant; DAXVIEW_SET_... */
	__u64 view;
	__u64 offset;
	__u64 length;
	__u64 file_size;
	__u64 pieces; /* struct daxview_piece *, ascending */
	__u32 count;
	__u32 padding;
};

#define DAXVIEW_SET_SIZE (1u << 0)
/* Its file has a set-user-ID bit, or what else goes when it is written to by somebody without
 * CAP_FSETID: such a write asks STRIP first. Or it has not. Alone, with a length of 0, or after the
 * range. */
#define DAXVIEW_SET_PRIVILEGED (1u << 1)
#define DAXVIEW_SET_PLAIN (1u << 2)

/*
 * The view may grow by itself: a write past its end, up to `end`, asks nobody. The module stores
 * the bytes, and zeroes from there to the end of the page; then, after a fence, the view has the
 * new size; then it stores the times, and the size into the word at size_word, and fences. A write
 * that begins further behind the end zeroes what lies between. A write that fails, or a machine
 * that does, may leave any bytes behind the size, but zeroes to the end of its page.
 *
 * The pieces lie on the device, one behind the other, from the page that the size lies in, or from
 * the next one, to the end of the page that `end` lies in. Only reads and writes reach them,
 * mappings ask as of what is unknown: so to take a tail needs to wait for nobody. (If the first
 * page is known and may be written to it stays as it is.)
 *
 * It ends by DAXVIEW_TAIL_TAKE, and by a call that sets the size, that gives another one, or takes
 * the session over; what lay there is unknown then, and the size stays what it has become. A write
 * that has asked for it waits still, until its question is answered. EINVAL: it ends before the
 * size, or the pieces do not cover it. ESTALE: revoked. ENOMEM of TAKE: revoke the view.
 */
struct daxview_tail {
	__u32 size;
	__u32 flags; /* DAXVIEW_TAIL_TAKE: there is none from now on; the rest is not looked at */
	__u64 view;
	__u64 end;       /* in bytes of the file */
	__u64 size_word; /* on the device, a multiple of 8 */
	__u64 pieces;    /* struct daxview_piece * */
	__u32 count;
	__u32 padding;
	__u64 file_size; /* out */
};

#define DAXVIEW_TAIL_TAKE (1u << 0)

/*
 * DAXVIEW_IOC_SYNC: stores to the range that were made before the call are durable after it. What
 * may be stored to may still be.
 * DAXVIEW_IOC_PROTECT: also tells which pages may have been stored to since the last time (one bit
 * for 4 KiB, the lowest of the first byte is the page at offset), and will see the next store.
 */
struct daxview_range {
	__u32 size;
	__u32 flags; /* 0 */
	__u64 view;
	__u64 offset;
	__u64 length;
	__u64 bitmap; /* PROTECT: length / 4096 bits, in whole 64-bit words */
};

/* EBUSY: somebody still uses that range of the device after timeout_ms, other than by a mapping. */
struct daxview_busy {
	__u32 size;
	__u32 flags; /* 0 */
	__u64 device;
	__u64 length;
	__u64 where; /* out, with EBUSY: of the first such page */
	__u32 timeout_ms;
	__u32 padding;
};

/* Nobody reaches the device through the view any more: EIO, SIGBUS. All: of this session. */
struct daxview_revoke {
	__u32 size;
	__u32 flags;
	__u64 view;
};

#define DAXVIEW_REVOKE_ALL (1u << 0)

/* Ends a question with an error (ENOSPC: SIGBUS for a store); with 0 its asker looks again. */
struct daxview_answer {
	__u32 size;
	__u32 error; /* a positive errno, 0 */
	__u64 question;
};

/* Of a view; DAXVIEW_STAT_NEXT: of the session's first view with a larger number, or ENOENT. */
struct daxview_stat {
	__u32 size;
	__u32 flags;
	__u64 view;
	__u64 cookie;
	__u64 file_size;
	__u64 stored; /* CLOCK_REALTIME in ns of the last write, or store that was noticed; or 0 */
	__u64 faults_huge;
	__u64 faults_page;
	__u64 faults_hole;
	__u64 questions;
	__u64 reads;
	__u64 writes;
	__u64 flushed; /* pages of 4 KiB */
	__u64 files;   /* open files and mappings of it, a FUSE backing's one included */
	/* version 2 */
	__u64 read; /* as stored, of the last read(2) by a file without O_NOATIME; or 0 */
};

#define DAXVIEW_STAT_NEXT (1u << 0)

/* What read(2) gives. */
struct daxview_question {
	__u64 question;
	__u64 view;
	__u64 cookie;
	__u64 offset; /* POISON: on the device */
	__u64 length;
	__u32 kind;
	__u32 padding;
};

#define DAXVIEW_ASK_READ 1u  /* where does this range lie? */
#define DAXVIEW_ASK_WRITE 2u /* the same, and it must be no hole */
/* A write is to begin here, behind the end; some of this range (in bytes) must lie in the file, or
 * in a tail. */
#define DAXVIEW_ASK_EXTEND 3u
/* No questions, but told until they are answered: memory has failed; all files of the view but
 * one, as a FUSE backing has it, were closed. */
#define DAXVIEW_POISON 4u
#define DAXVIEW_CLOSED 5u
/* A question: set-user-ID bits are to go, and the view to be set plain. No range. */
#define DAXVIEW_ASK_STRIP 6u

#define DAXVIEW_IOC_SESSION _IOWR(0xda, 1, struct daxview_session)
#define DAXVIEW_IOC_CREATE _IOWR(0xda, 2, struct daxview_create)
#define DAXVIEW_IOC_SET _IOWR(0xda, 3, struct daxview_set)
#define DAXVIEW_IOC_SYNC _IOWR(0xda, 4, struct daxview_range)
#define DAXVIEW_IOC_PROTECT _IOWR(0xda, 5, struct daxview_range)
#define DAXVIEW_IOC_BUSY _IOWR(0xda, 6, struct daxview_busy)
#define DAXVIEW_IOC_REVOKE _IOWR(0xda, 7, struct daxview_revoke)
#define DAXVIEW_IOC_ANSWER _IOWR(0xda, 8, struct daxview_answer)
#define DAXVIEW_IOC_STAT _IOWR(0xda, 9, struct daxview_stat)
#define DAXVIEW_IOC_TAIL _IOWR(0xda, 10, struct daxview_tail)
#define DAXVIEW_IOC_HOLD _IOWR(0xda, 11, struct daxview_hold)

#endif
