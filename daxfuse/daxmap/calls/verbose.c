/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each line is one write, so that those of several processes do not mix. At exit what is still
 * mapped is reported, too.
 */
#include "verbose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/daxmap.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/regions/region.h"
#include "daxfuse/daxmap/session/daemon.h"
#include "daxfuse/daxmap/session/object.h"
#include "daxfuse/daxmap/sys.h"
#include "daxfuse/ioctl.h"

enum { RANGES = 64, REASONS = 16, LINE = 512 };

static bool is_wanted(void)
{
	const char *value = getenv("DAXMAP_VERBOSE");

	return value && *value && strcmp(value, "0");
}

struct tally {
	size_t bytes[DXM_HUGE + 1];
	size_t reason[REASONS];
};

static void count_range(const struct dxm_range *range, struct tally *tally)
{
	tally->bytes[range->kind] += range->length;
	if (range->kind == DXM_PAGES)
		tally->reason[range->reason % REASONS] += range->length;
}

static void count_region(uintptr_t start, uintptr_t end, struct tally *ret_tally)
{
	struct dxm_range range[RANGES];

	memset(ret_tally, 0, sizeof(*ret_tally));
	while (start < end) {
		ssize_t n = dxm_query((void *)start, end - start, range, RANGES);

		for (ssize_t i = 0; i < n; i++)
			count_range(&range[i], ret_tally);
		if (n < RANGES)
			return;
		start = (uintptr_t)range[n - 1].addr + range[n - 1].length;
	}
}

static void name_of(int fd, char *ret_name, size_t size)
{
	char path[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, ret_name, size - 1);
	ret_name[n < 0 ? 0 : n] = '\0';
}

static void print_region(const struct region *region)
{
	char name[256], line[LINE];
	struct tally tally;
	int n;

	count_region(region->start, region->end, &tally);
	name_of(region->object->fd, name, sizeof(name));
	n = snprintf(line, sizeof(line),
		     "daxmap: %s offset %llu length %zu: huge %zu pages %zu zero %zu absent %zu",
		     name, (unsigned long long)region->offset,
		     (size_t)(region->end - region->start), tally.bytes[DXM_HUGE],
		     tally.bytes[DXM_PAGES], tally.bytes[DXM_ZERO], tally.bytes[DXM_ABSENT]);
	for (unsigned i = 0; i < REASONS && n < LINE - 64; i++) {
		if (tally.reason[i])
			n += snprintf(line + n, LINE - n, " %s=%zu", dxm_reason_name(i),
				      tally.reason[i]);
	}
	dprintf(STDERR_FILENO, "%s\n", line);
}

void report_regions(uintptr_t start, uintptr_t end)
{
	while (is_wanted() && start < end) {
		struct region region;

		if (!region_copy(start, end, &region))
			return;
		print_region(&region);
		start = region.end;
		object_put(region.object);
	}
}

/* What to do about it; else what the error is called. */
static const char *advice(int err)
{
	switch (err) {
	case -EOPNOTSUPP:
		return "this file may not be mapped directly, or no unit is free; daxfuse map -u FILE says why";
	case -ETXTBSY:
		return "the page cache has the file; open it for reading and writing, and let nobody have it "
		       "open for reading from before";
	case -EACCES:
	case -EPERM:
		return "the device is given to others only; see direct= in daxfuse(8)";
	case -EINVAL:
		return "private, executable or with flags of the kernel; map it MAP_SHARED";
	case -EUSERS:
		return "too many pieces are pinned; unmap some";
	case -ENOTCONN:
	case -ECONNREFUSED:
		return "no daemon answers; daxfuse status -u";
	default:
		return strerror(-err);
	}
}

void report_kernel(int fd, size_t length, int err)
{
	char name[256];

	/* Files of other filesystems are none of ours. */
	if (!is_wanted() || err == -ENOTTY)
		return;
	name_of(fd, name, sizeof(name));
	dprintf(STDERR_FILENO, "daxmap: %s length %zu: through the kernel (%s)\n", name, length,
		advice(err));
}

void report_unsuited(int fd, size_t length)
{
	char path[sizeof(((struct dxf_ioc_direct *)0)->socket)];

	if (fd >= 0 && is_wanted() && daemon_direct(fd, path) != -ENOTTY)
		report_kernel(fd, length, -EINVAL);
}

__attribute__((destructor)) static void report_all(void)
{
	report_regions(0, UINTPTR_MAX);
}
