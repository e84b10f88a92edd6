/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a restarted daemon rests on: a request that must not be executed twice is
 * told of while its record is still live, and told of again by the mount that
 * finds it so; and inodes without a name outlive a mount that is asked to keep
 * them.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "daxfuse/base/bits.h"
#include "pool.h"

enum { UNITS = 16, UNIQUE = 4242 };

static struct {
	struct pmem *pm;       /* the pool; NULL: no snapshot is wanted */
	struct pmem *snapshot; /* as it was when told */
	unsigned count;
	uint64_t unique;
	uint32_t opcode;
	int64_t result;
} told;

static void tell(uint64_t unique, uint32_t opcode, int64_t result)
{
	told.count++;
	told.unique = unique;
	told.opcode = opcode;
	told.result = result;
	if (told.pm)
		memcpy(told.snapshot->base, told.pm->base, told.pm->size);
}

static void executed(const struct tx_request *request, int64_t result)
{
	tell(request->unique, request->opcode, result);
}

static void replayed(void *arg, uint64_t unique, uint32_t opcode, int64_t result)
{
	assert_ptr_equal(arg, &told);
	tell(unique, opcode, result);
}

static const struct fs_options options = {
	.keep_orphans = true,
	.replayed = replayed,
	.replayed_arg = &told,
};

static struct fs_request asked; /* of whom: root; as what: once_as() */

static void once_as(uint64_t unique, uint32_t opcode)
{
	asked.once = (struct tx_request){ unique, opcode, executed };
}

struct scene {
	struct pool pool;
	uint64_t dir, file, other;
};

static void scene_make(struct scene *s)
{
	memset(&told, 0, sizeof(told));
	pool_make(&s->pool, UNITS);
	s->dir = make_dir(&s->pool, ROOT, "dir");
	s->file = make_file(&s->pool, "file");
	s->other = make_file(&s->pool, "other");
	assert_int_equal(fs_fallocate(s->pool.fs, NULL, s->file, 0, 0, 20000), 0);
	assert_int_equal(fs_setxattr(s->pool.fs, NULL, s->file, "user.old", "x", 1, 0), 0);
	fs_unmount(s->pool.fs);
	assert_int_equal(fs_mount(s->pool.pm, &options, &s->pool.fs, NULL), 0);
	assert_int_equal(pmem_memory_new(UNITS * DXF_UNIT_SIZE, 0, &told.snapshot), 0);
	told.pm = s->pool.pm;
}

static void scene_free(struct scene *s)
{
	pool_free(&s->pool);
	pmem_memory_free(told.snapshot);
}

/* ---- the requests ----------------------------------------------------------- */

static struct fs_attr made;

static int do_mknod(struct scene *s)
{
	return fs_mknod(s->pool.fs, &asked, s->dir, "new", S_IFREG | 0600, 0, &made);
}

static int do_mkdir(struct scene *s)
{
	return fs_mkdir(s->pool.fs, &asked, s->dir, "new", 0700, &made);
}

static int do_symlink(struct scene *s)
{
	return fs_symlink(s->pool.fs, &asked, s->dir, "new", "target", &made);
}

static int do_tmpfile(struct scene *s)
{
	return fs_tmpfile(s->pool.fs, &asked, s->dir, 0600, &made);
}

static int do_link(struct scene *s)
{
	return fs_link(s->pool.fs, &asked, s->file, s->dir, "new", &made);
}

static int do_unlink(struct scene *s)
{
	return fs_unlink(s->pool.fs, &asked, ROOT, "file");
}

static int do_rmdir(struct scene *s)
{
	return fs_rmdir(s->pool.fs, &asked, ROOT, "dir");
}

static int do_rename(struct scene *s)
{
	return fs_rename(s->pool.fs, &asked, ROOT, "file", s->dir, "moved", 0);
}

static int do_exchange(struct scene *s)
{
	return fs_rename(s->pool.fs, &asked, ROOT, "file", ROOT, "other", RENAME_EXCHANGE);
}

static int do_setxattr(struct scene *s)
{
	return fs_setxattr(s->pool.fs, &asked, s->file, "user.new", "x", 1, 1 /* XATTR_CREATE */);
}

static int do_removexattr(struct scene *s)
{
	return fs_removexattr(s->pool.fs, &asked, s->file, "user.old");
}

static int do_collapse(struct scene *s)
{
	return fs_fallocate(s->pool.fs, &asked, s->file, FALLOC_FL_COLLAPSE_RANGE, 0, 4096);
}

static int do_insert(struct scene *s)
{
	return fs_fallocate(s->pool.fs, &asked, s->file, FALLOC_FL_INSERT_RANGE, 0, 4096);
}

static const struct {
	int (*run)(struct scene *s);
	bool makes; /* the result names an inode */
	int again;  /* what a second execution would say */
} requests[] = {
	{ do_mknod, true, -EEXIST },
	{ do_mkdir, true, -EEXIST },
	{ do_symlink, true, -EEXIST },
	{ do_tmpfile, true, 0 },
	{ do_link, false, -EEXIST },
	{ do_unlink, false, -ENOENT },
	{ do_rmdir, false, -ENOENT },
	{ do_rename, false, -ENOENT },
	{ do_exchange, false, 0 },
	{ do_setxattr, false, -EEXIST },
	{ do_removexattr, false, -ENODATA },
	{ do_collapse, false, 0 },
	{ do_insert, false, 0 },
};

static void expect_told(unsigned i)
{
	assert_int_equal(told.count, 1);
	assert_int_equal(told.unique, UNIQUE);
	assert_int_equal(told.opcode, i + 1);
	assert_int_equal(told.result, requests[i].makes ? FS_RESULT(made.ino, made.generation) : 0);
}

static void test_told_once(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
		struct scene s;

		scene_make(&s);
		once_as(UNIQUE, i + 1);
		assert_int_equal(requests[i].run(&s), 0);
		once_as(0, 0);
		expect_told(i);
		scene_free(&s);
	}
}

/* The daemon dies just after it has told, in its last instant before: the next
 * mount completes the transaction and tells, and it has indeed happened. */
static void test_told_by_recovery(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
		struct fs_report report;
		struct scene s, after;

		scene_make(&s);
		once_as(UNIQUE, i + 1);
		assert_int_equal(requests[i].run(&s), 0);
		once_as(0, 0);
		told.count = 0;
		told.pm = NULL;
		after = s;
		after.pool.pm = told.snapshot;
		assert_int_equal(fs_mount(told.snapshot, &options, &after.pool.fs, &report), 0);
		assert_int_equal(report.replayed, 1);
		expect_told(i);
		assert_int_equal(requests[i].run(&after), requests[i].again);
		fs_unmount(after.pool.fs);
		scene_free(&s);
	}
}

/* What no request asked for is not told of, and an error is none either. */
static void test_not_told(void **state)
{
	struct scene s;

	scene_make(&s);
	assert_int_equal(do_mknod(&s), 0);
	assert_int_equal(told.count, 0);
	once_as(UNIQUE, 1);
	assert_int_equal(do_mknod(&s), -EEXIST);
	assert_int_equal(fs_write(s.pool.fs, NULL, s.file, "data", 4, 0, 0), 4);
	assert_int_equal(fs_write(s.pool.fs, NULL, s.file, "data", 4, 1 << 20, 0), 4);
	once_as(0, 0);
	assert_int_equal(told.count, 0);
	scene_free(&s);
}

/* ---- inodes without a name -------------------------------------------------- */

struct found {
	uint64_t ino[8];
	unsigned count;
};

static int remember(uint64_t ino, void *arg)
{
	struct found *found = arg;

	assert_true(found->count < ARRAY_SIZE(found->ino));
	found->ino[found->count++] = ino;
	return 0;
}

static void test_keep_orphans(void **state)
{
	struct found found = { .count = 0 };
	struct fs_report report;
	struct fs_attr tmpfile;
	struct scene s;
	struct fs *fs;
	char byte;

	scene_make(&s);
	assert_int_equal(fs_write(s.pool.fs, NULL, s.file, "data", 4, 0, 0), 4);
	assert_int_equal(do_unlink(&s), 0);
	assert_int_equal(fs_tmpfile(s.pool.fs, &root_request, ROOT, 0600, &tmpfile), 0);
	fs_unmount(s.pool.fs);
	assert_int_equal(fs_mount(s.pool.pm, &options, &s.pool.fs, &report), 0);
	fs = s.pool.fs;
	assert_int_equal(report.orphans, 0);
	assert_int_equal(fs_for_each_orphan(fs, remember, &found), 0);
	assert_int_equal(found.count, 2);
	/* as good as before: read, written, linked */
	assert_true(fs_is_orphan(fs, s.file));
	assert_int_equal(fs_pread(fs, s.file, &byte, 1, 2), 1);
	assert_int_equal(byte, 't');
	assert_int_equal(fs_link(fs, NULL, tmpfile.ino, ROOT, "named", &tmpfile), 0);
	assert_false(fs_is_orphan(fs, tmpfile.ino));
	/* a close of an open that this process has not seen */
	fs_release(fs, s.file);
	assert_true(fs_is_orphan(fs, s.file));
	fs_forget(fs, s.file);
	assert_int_equal(fs_getattr(fs, s.file, &tmpfile), -ESTALE);
	found.count = 0;
	assert_int_equal(fs_for_each_orphan(fs, remember, &found), 0);
	assert_int_equal(found.count, 0);
	scene_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_told_once),
		cmocka_unit_test(test_told_by_recovery),
		cmocka_unit_test(test_not_told),
		cmocka_unit_test(test_keep_orphans),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
