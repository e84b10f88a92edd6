/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What lies on a device, without mounting it: a pool of ours, something that
 * libblkid knows, data that nobody knows, or nothing.
 */
#ifndef DAXFUSE_TOOLS_SIGNATURE_H
#define DAXFUSE_TOOLS_SIGNATURE_H

#include "daxfuse/base/errint.h"
#include "daxfuse/format.h"
#include "daxfuse/pmem/device.h"

enum signature_kind {
	SIGNATURE_BLANK,   /* zeroes at both ends */
	SIGNATURE_POOL,    /* a pool of ours, perhaps not mountable */
	SIGNATURE_FOREIGN, /* a filesystem, partition table, ... of others */
	SIGNATURE_UNKNOWN, /* not zeroes, and no known signature */
};

struct signature {
	enum signature_kind kind;
	char type[64]; /* "daxfuse", "xfs", ...; empty if none */
	char uuid[37]; /* text; empty if none */
	char label[65];
	struct dxf_super super; /* POOL: one valid copy, if state is 0 */
	bool spare;             /* POOL: the first copy is damaged */
	int state;              /* POOL: 0, or why it can't be mounted: see super_check() */
};

/* Look at an open device (DEVICE_NO_LOCK suffices). */
errint_t signature_read(struct device *dev, struct signature *ret_signature);

/* Open the device at path for a look, and close it. Fills ret_error on failure. */
errint_t signature_of(const char *path, struct signature *ret_signature,
		      struct device_info *ret_info, struct device_error *ret_error);

/* What to do before it is overwritten, one line. */
const char *signature_advice(const struct signature *signature);
/* "holds an xfs filesystem", for messages. */
const char *signature_text(const struct signature *signature, char *buf, size_t size);

#endif
