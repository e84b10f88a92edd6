/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's control socket: where a program gets the device, and is asked to return what it has
 * mapped of it. The rest of the protocol, and what a client does step by step, is in ioctl.h, at
 * "direct mappings".
 *
 * The socket is AF_UNIX, SOCK_SEQPACKET, at the path that DXF_IOC_DIRECT says. A message is one
 * struct direct_message, always 248 bytes; integers are in host order; fields that a kind does not
 * use are 0. A process that has the device's descriptor can read and write all of it, past all
 * permissions: so the daemon gives it by policy (-o direct=) to the credentials that the kernel has
 * of the peer, and a program should look itself whom it has connected to (SO_PEERCRED: root,
 * itself, or the user_id= of the mount) before it believes pieces that it is told.
 *
 * Pieces come from the mount that the file is on, the device from the daemon that is connected. Any
 * user may have a mount whose server names the socket of somebody else's daemon, and pieces of its
 * choice: so WELCOME says which mount the daemon serves (DIRECT_MOUNT), and a program compares
 * that with the st_dev of its file. A daemon that does not say it can't be told from another one:
 * then the mount must be root's, the program's own user's, or the peer's.
 *
 *     program                                   daemon
 *     HELLO (version, session or 0)      ->
 *                                        <-     WELCOME (version, session, flags, cookie), and the
 *                                               device's descriptor (SCM_RIGHTS)
 *                                        <-     or REFUSED (version, error, text), and the end
 *
 *                                        <-     UNMAP (cookie, offset, length, grant)
 *     LET_GO (the same)                  ->
 *                                        <-     PROTECT (cookie, offset, length, grant)
 *     PROTECTED (the same)               ->
 *
 * HELLO is the first message, WELCOME or REFUSED its answer, and the first message that comes back.
 * A session is a program: one process has one for each mount, and one connection of it. In the
 * first HELLO it is 0, and WELCOME has its number, which DXF_IOC_MAP wants. REFUSED:
 * EPROTONOSUPPORT, another version; EACCES, the device is not for this user; EBUSY, another process
 * is connected with that session; or any other errno: the daemon lacks something.
 *
 * UNMAP is a recall: of [offset, offset + length) of the file that DXF_IOC_MAP has called `cookie`,
 * all that was granted up to the number `grant`, also pieces that are still on their way. A thread
 * that needs nothing else unmaps it and says LET_GO, with the numbers as they came; from there on
 * it is not the program's. Pieces with higher numbers are not meant, but it does no harm to drop
 * them. PROTECT makes the same range read-only: the answer promises that from now on a store
 * faults, and asks (DXF_ACCESS_WRITE). Both are answered in any case, also if nothing is mapped
 * there, or the file was closed meanwhile; but not if something had to stay mapped. Of a range that
 * has a long-term pin (DXF_IOC_PIN) nothing is unmapped, and the answer is LET_GO.
 *
 * Somebody waits for the answer, up to a second. A program that has not answered by then is not
 * waited for again until it says something; neither is one that is stopped, or not connected. It
 * keeps its pins, and with them the space. An answer that comes late counts all the same.
 *
 * The connection ends when the daemon is replaced; pins live on. The program connects again at the
 * same path, until it succeeds, with HELLO of the same session, and whatever was recalled meanwhile
 * is recalled again: UNMAP of whole files. Pins end with the open files that they were made with,
 * not with the connection. The descriptor that comes with another WELCOME is of the same device: a
 * client may close it.
 *
 * The daemon ends a connection on which a message has another length, comes before HELLO, or is
 * none of a program's. A program ignores kinds that it does not know, and flags.
 *
 * Versions. DIRECT_VERSION grows when anything else changes; both sides must have the same one.
 * `kind` and `version` lie where they are in all of them, and so do `error` and `text` of REFUSED,
 * so that a program can say which version the daemon has, and why it was refused.
 */
#ifndef DAXFUSE_DIRECT_H
#define DAXFUSE_DIRECT_H

#include <stdint.h>

#define DIRECT_VERSION UINT32_C(1)

enum direct_kind {
	DIRECT_HELLO = 1,
	DIRECT_WELCOME,
	DIRECT_REFUSED,
	DIRECT_UNMAP,
	DIRECT_LET_GO,
	DIRECT_PROTECT,
	DIRECT_PROTECTED,
};

/* Of WELCOME. */
enum {
	DIRECT_FLUSH = 1,    /* the CPU's caches must be flushed for stores to be durable */
	DIRECT_MAP_SYNC = 2, /* map the descriptor with MAP_SHARED_VALIDATE | MAP_SYNC */
	/* The device can be mapped in whole units only: addresses, offsets and lengths of its
	 * mappings are multiples of 2 MiB. */
	DIRECT_UNITS = 4,
	/* .cookie is the mount's device number, as statx() has it of the mount's files:
	 * stx_dev_major << 32 | stx_dev_minor. Without it .cookie is 0. */
	DIRECT_MOUNT = 8,
};

struct direct_message {
	uint32_t kind;    /* enum direct_kind */
	uint32_t version; /* HELLO, WELCOME, REFUSED: DIRECT_VERSION of the sender */
	uint64_t session; /* HELLO: 0 or an earlier one; WELCOME */
	/* UNMAP, PROTECT, and their answers: */
	uint64_t cookie; /* of struct dxf_ioc_map; WELCOME: see DIRECT_MOUNT */
	uint64_t offset; /* in the file: bytes, as is the */
	uint64_t length; /* ~0: to the end */
	uint64_t grant;  /* of struct dxf_ioc_piece */
	uint32_t flags;  /* WELCOME: DIRECT_FLUSH and so on */
	int32_t error;   /* REFUSED: a positive errno */
	char text[192];  /* REFUSED: why, and what to do; NUL-terminated */
};

#ifdef __cplusplus
static_assert(sizeof(struct direct_message) == 248, "a message has no padding");
#else
_Static_assert(sizeof(struct direct_message) == 248, "a message has no padding");
#endif

#endif
