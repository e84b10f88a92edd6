/* SPDX-License-Identifier: BSD-3-Clause */
/* What users say of an export, in words: options of `daxfuse export`, and -o export= of the daemon.
 * One table reads and checks both. */
#ifndef DAXFUSE_DAEMON_EXPORT_WORDS_H
#define DAXFUSE_DAEMON_EXPORT_WORDS_H

#include "daxfuse/base/errint.h"
#include "daxfuse/ioctl.h"

/* An export, as it is to be asked for: the socket as it was said, from wherever that is. */
struct export_words {
	struct dxf_ioc_export call;
	const char *directory; /* of the mount; "": all of it */
};

/* One of "socket", "tag", "subdir", "cache", "window", "vmm"; "readonly" and "ro" take no value
 * (NULL). `value` must stay for `directory`. NULL, or what is wrong with it. */
const char *export_words_set(struct export_words *words, const char *name, const char *value);
/* SOCKET:TAG[:DIR[:ro][:NAME=VALUE]...], which is cut up. NULL, or what is wrong with it. */
const char *export_words_parse(char *text, struct export_words *ret_words);
/* Why it may have been refused with this error, and what to do; "": it is said by the error. */
const char *export_words_advice(const struct dxf_ioc_export *call, int err);

#endif
