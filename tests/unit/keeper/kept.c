/* SPDX-License-Identifier: BSD-3-Clause */
/* What an earlier process has kept, in a memory of the size that its version has. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/clients/pins.h"
#include "daxfuse/vfs/opens.h"
#include "daxfuse/views/table.h"
#include "daxfuse/keeper/kept.h"

enum {
	ENOUGH = sizeof(struct kept) + sizeof(struct pin_table) + sizeof(struct vfs_open_table) +
		 sizeof(struct view_table) + 3 * 4096
};

static int map_kept(uint32_t magic, uint32_t version, uint32_t bytes, off_t size)
{
	const uint32_t start[] = { magic, version, bytes };
	CLEANUP_FD int fd = memfd_create("kept", MFD_CLOEXEC);
	struct kept *kept;
	int err;

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, start, sizeof(start), 0), sizeof(start));
	assert_int_equal(ftruncate(fd, size), 0);
	err = kept_map(fd, &kept);
	if (!err)
		munmap(kept, sizeof(*kept));
	return err;
}

static void test_ours(void **state)
{
	assert_int_equal(map_kept(KEPT_MAGIC, KEPT_VERSION, sizeof(struct kept), ENOUGH), 0);
}

/* It is told apart from what is not ours, though it is shorter. */
static void test_another_version(void **state)
{
	assert_int_equal(map_kept(KEPT_MAGIC, KEPT_VERSION - 1, sizeof(struct kept) - 128,
				  sizeof(struct kept) - 128),
			 -EOPNOTSUPP);
	assert_int_equal(map_kept(KEPT_MAGIC, KEPT_VERSION + 1, sizeof(struct kept) + 64,
				  2 * ENOUGH),
			 -EOPNOTSUPP);
	assert_int_equal(map_kept(KEPT_MAGIC, KEPT_VERSION, sizeof(struct kept) + 64, ENOUGH),
			 -EOPNOTSUPP);
}

static void test_not_ours(void **state)
{
	assert_int_equal(map_kept(1, KEPT_VERSION, sizeof(struct kept), ENOUGH), -EINVAL);
	assert_int_equal(map_kept(KEPT_MAGIC, KEPT_VERSION, sizeof(struct kept),
				  sizeof(struct kept)),
			 -EINVAL);
	assert_int_equal(map_kept(KEPT_MAGIC, KEPT_VERSION, sizeof(struct kept), 0), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ours),
		cmocka_unit_test(test_another_version),
		cmocka_unit_test(test_not_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
