/* SPDX-License-Identifier: BSD-3-Clause */
/* Space that is lent to somebody who appends past us (core's tails) is not missing to others. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daxfuse/pmem/memory.h"
#include "daxfuse/vfs/internal.h"

enum { UNITS = 16, UNIT = 2 << 20, PAGE = 4096 };

static const struct fs_request root;
static unsigned asked, taken;

static bool reclaim_nothing(void *transport)
{
	asked++;
	return false;
}

static void ignore_forget(void *transport, uint64_t ino, bool data)
{
}

static errint_t accept(void *arg, void *cookie, const struct fs_tail *tail)
{
	return 0;
}

static void note(void *arg, void *cookie)
{
	taken++;
}

static uint64_t make_file(struct fs *fs, const char *name)
{
	struct fs_attr attr;

	assert_int_equal(fs_mknod(fs, &root, DXF_ROOT_INO, name, 0100644, 0, &attr), 0);
	return attr.ino;
}

static void fill(struct fs *fs)
{
	uint64_t ino = make_file(fs, "filler"), offset = 0;

	for (uint64_t length = UNIT; length >= PAGE;) {
		if (fs_fallocate(fs, NULL, ino, 0, offset, length))
			length /= 2;
		else
			offset += length;
	}
}

static void test_tails(void **state)
{
	const struct fs_tail_holder holder = { .give = accept, .take = note };
	const struct fs_format format = { .hash_seed = 7 };
	const struct vfs_request request = { .who = { .uid = 0 } };
	struct vfs_config config = { .life = 1,
				     .forget = ignore_forget,
				     .reclaim = reclaim_nothing };
	struct vfs_open_file file = { .may = VFS_MAY_WRITE };
	static char bytes[100 * PAGE];
	struct pmem *pm;
	struct vfs *v;
	uint64_t ino;

	assert_int_equal(pmem_memory_new(UNITS * (uint64_t)UNIT, 0, &pm), 0);
	assert_int_equal(fs_mkfs(pm, &format), 0);
	assert_int_equal(fs_mount(pm, NULL, &config.fs, NULL), 0);
	assert_int_equal(vfs_open(&config, &v), 0);
	fs_set_tail_holder(config.fs, &holder);
	ino = make_file(config.fs, "tail");
	file.ino = make_file(config.fs, "file");
	assert_int_equal(fs_tail_begin(config.fs, ino, 0, UNIT, NULL), 0);
	fill(config.fs);
	assert_int_equal(taken, 0);
	assert_int_equal(vfs_write(v, &request, &file, bytes, sizeof(bytes), 0, 0), sizeof(bytes));
	assert_int_equal(taken, 1);
	assert_int_equal(asked, 0);
	/* nothing is lent any more: the transport is asked, and then it is an error */
	assert_int_equal(vfs_fallocate(v, &request, file.ino, 0, 0, 2 * UNIT), -ENOSPC);
	assert_int_equal(asked, 1);
	vfs_close(v);
	fs_unmount(config.fs);
	pmem_memory_free(pm);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_tails) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
