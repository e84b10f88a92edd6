/* SPDX-License-Identifier: BSD-3-Clause */
/* How far the large files of a pool lie in whole units, and what realigning makes of it. */
#ifndef BENCH_AGING_WHOLE_H
#define BENCH_AGING_WHOLE_H

#include <json-c/json.h>

#include "daxfuse/core/fs.h"

/*
 * Look, fs_realign() all files of 2 MiB and more, look again:
 * {"before": LOOK, "after": LOOK, "gathered": units, "errors": of -ENOSPC, "seconds"}.
 * A LOOK has "files" of 2 MiB and more; their "units", the 2 MiB parts they have, and
 * "units_whole", those of them that are whole units; "bytes" of their data and
 * "bytes_whole"; "free_units" and "split_units" of the pool; and a "map", a letter for
 * each unit of it:
 *   . free   w whole, of one file   b split   l split, with blocks of large files
 *   s inodes, or the pool's own
 */
struct json_object *whole_realign(struct fs *fs);

#endif
