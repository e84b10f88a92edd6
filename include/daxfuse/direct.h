/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's control socket (AF_UNIX, SOCK_SEQPACKET; its path says DXF_IOC_DIRECT): where
 * a program gets the device, and is asked to let go of what it has mapped. One message is one
 * struct direct_message; integers are in host order.
 *
 *     program                                  daemon
 *     HELLO (version, session or 0)     ->
 *                                       <-     WELCOME (session, flags) + the device's descriptor
 *                                       <-     or REFUSED (error, text)
 *                                       <-     UNMAP (cookie, offset, length, grant)
 *     LET_GO (the same)                 ->
 *                                       <-     PROTECT (cookie, offset, length, grant)
 *     PROTECTED (the same)              ->
 *
 * Whoever has the descriptor can read and write the whole device, past all permissions: so
 * it is given by policy (-o direct=), by the credentials that the kernel has of the peer.
 *
 * UNMAP and PROTECT are questions that somebody waits for, up to a second: a thread of the
 * program that needs nothing else answers them. UNMAP is of all that was granted up to that
 * number, also of pieces that are still on their way; PROTECT makes the same read-only.
 *
 * The connection ends when the daemon is replaced. Pins live on: connect again, with HELLO of
 * the same session, and what was asked meanwhile is asked again. Pins end with the files that
 * they were made with, not with the connection.
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

enum {
	DIRECT_FLUSH = 1, /* WELCOME: CPU caches must be flushed for stores to be durable */
	DIRECT_MAP_SYNC = 2, /* WELCOME: map with MAP_SYNC */
	DIRECT_UNITS = 4, /* WELCOME: the device can be mapped in whole units only */
};

struct direct_message {
	uint32_t kind;
	uint32_t version; /* HELLO, WELCOME, REFUSED */
	uint64_t session; /* HELLO: 0 or an earlier one; WELCOME */
	uint64_t cookie;  /* of struct dxf_ioc_map */
	uint64_t offset;
	uint64_t length;  /* ~0: to the end */
	uint64_t grant;
	uint32_t flags;   /* WELCOME: DIRECT_* */
	int32_t error;    /* REFUSED: a positive errno */
	char text[192];   /* REFUSED: why, and what to do */
};

#endif
