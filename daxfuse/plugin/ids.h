/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which mounts of a volume engines have told us of: an empty file FOLDER/POOL/VOLUME/ID for each,
 * in /run, so a reboot forgets them. They are a set: what is told twice is noted once. Nothing
 * depends on them, as engines that are killed forget to tell us of ends: they are only shown.
 */
#ifndef DAXFUSE_PLUGIN_IDS_H
#define DAXFUSE_PLUGIN_IDS_H

#include <stdbool.h>

#include "daxfuse/base/errint.h"

/*
 * Which mounts of a volume engines have told us of: an empty file FOLDER/POOL/VOLUME/ID for each,
 * in /run, so a reboot forgets them. They are a set: what is told twice is noted once. Nothing
 * depends on them, as engines that are killed forget to tell us of ends: they are only shown.
 */
errint_t ids_add(const char *folder, const char *pool, const char *volume, const char *id);
errint_t ids_remove(const char *folder, const char *pool, const char *volume, const char *id);
void ids_forget(const char *folder, const char *pool, const char *volume);
unsigned ids_count(const char *folder, const char *pool, const char *volume);
/* Whether an engine has told of a mount since the machine was started, and of no removal. */
bool ids_is_known(const char *folder, const char *pool, const char *volume);

#endif
