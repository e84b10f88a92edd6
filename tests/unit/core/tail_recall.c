/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whatever is done with a file that has a tail sees what was appended to it, and whatever needs its
 * size or data, or changes it, ends the tail. The table below has every function of fs.h, which is
 * read to see that: a new one has to say which kind it is.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <regex.h>

#include "daxfuse/base/bits.h"
#include "tail.h"

enum { UNITS = 40, BEFORE = 3000, APPENDED = 7000 };
#define SIZE ((uint64_t)(BEFORE + APPENDED))

/* "f" has a tail and is open; "other" is a file beside it, "d" a directory. */
struct scene {
	struct pool *pool;
	struct holder *holder;
	uint64_t ino, other, dir;
};

static struct fs_attr attr;
static struct fs_xflags xflags;
static struct fs_iomap map;
static uint64_t number;
static bool truth;
static char buf[PAGE];

static ssize_t emit(const struct iovec *iov, int count, size_t bytes, void *arg)
{
	assert_int_equal(bytes, SIZE);
	return (ssize_t)bytes;
}

/* ---- what ends it ------------------------------------------------------------------------ */

static int64_t call_setattr(struct scene *s)
{
	const struct fs_setattr set = { .valid = FS_SET_MODE, .mode = 0600 };

	return fs_setattr(s->pool->fs, s->ino, &set, &attr);
}

static int64_t call_link(struct scene *s)
{
	return fs_link(s->pool->fs, NULL, s->ino, s->dir, "linked", &attr);
}

static int64_t call_unlink(struct scene *s)
{
	return fs_unlink(s->pool->fs, NULL, ROOT, "f");
}

static int64_t call_rename(struct scene *s)
{
	return fs_rename(s->pool->fs, NULL, ROOT, "f", s->dir, "renamed", 0);
}

static int64_t call_rename_over(struct scene *s)
{
	return fs_rename(s->pool->fs, NULL, ROOT, "other", ROOT, "f", 0);
}

static int64_t call_rmdir(struct scene *s)
{
	return fs_rmdir(s->pool->fs, NULL, ROOT, "f") == -ENOTDIR ? 0 : -1;
}

static int64_t call_readlink(struct scene *s)
{
	return fs_readlink(s->pool->fs, s->ino, buf, sizeof(buf)) == -EINVAL ? 0 : -1;
}

static int64_t call_release(struct scene *s)
{
	fs_release(s->pool->fs, s->ino);
	return 0;
}

static int64_t call_unhold(struct scene *s)
{
	int err = fs_hold(s->pool->fs, s->ino, &attr);

	assert_true(s->holder->given);
	fs_unhold(s->pool->fs, s->ino);
	return err;
}

static int64_t call_forget(struct scene *s)
{
	fs_forget(s->pool->fs, s->ino);
	return 0;
}

static int64_t call_read(struct scene *s)
{
	return fs_read(s->pool->fs, s->ino, 0, 2 * SIZE, emit, NULL) - (ssize_t)SIZE;
}

static int64_t call_read_noatime(struct scene *s)
{
	return fs_read_noatime(s->pool->fs, s->ino, 0, 2 * SIZE, emit, NULL) - (ssize_t)SIZE;
}

static int64_t call_pread(struct scene *s)
{
	return fs_pread(s->pool->fs, s->ino, buf, 10, SIZE - 1) - 1;
}

static int64_t call_write(struct scene *s)
{
	return fs_write(s->pool->fs, NULL, s->ino, "w", 1, 0, 0) - 1;
}

static int64_t call_drop_privileges(struct scene *s)
{
	return fs_drop_privileges(s->pool->fs, s->ino, 0, &truth);
}

static int64_t call_fallocate(struct scene *s)
{
	return fs_fallocate(s->pool->fs, NULL, s->ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			    0, 100);
}

static int64_t call_insert(struct scene *s)
{
	return fs_fallocate(s->pool->fs, NULL, s->ino, FALLOC_FL_INSERT_RANGE, 0, PAGE);
}

/* The range is in the file only with what was appended. */
static int64_t call_may_fallocate(struct scene *s)
{
	return fs_may_fallocate(s->pool->fs, s->ino, FALLOC_FL_INSERT_RANGE, 2 * PAGE, PAGE);
}

static int64_t call_seek(struct scene *s)
{
	return fs_seek(s->pool->fs, s->ino, SIZE - 1, SEEK_DATA) - (off_t)(SIZE - 1);
}

static int64_t call_copy_from(struct scene *s)
{
	return fs_copy_range(s->pool->fs, NULL, s->ino, 0, s->other, 0, SIZE) - (ssize_t)SIZE;
}

static int64_t call_copy_to(struct scene *s)
{
	return fs_copy_range(s->pool->fs, NULL, s->other, 0, s->ino, 0, 5) - 5;
}

static int64_t call_iomap(struct scene *s)
{
	int err = fs_iomap(s->pool->fs, s->ino, SIZE - 1, 1, &map);

	return err ? err : map.kind == FS_IOMAP_MAPPED ? 0 : -1;
}

static int64_t call_iomap_steps(struct scene *s)
{
	return fs_iomap_steps(s->pool->fs, s->ino, &number);
}

static int64_t call_map_allocate(struct scene *s)
{
	return fs_map_allocate(s->pool->fs, s->ino, 2 * PAGE, PAGE);
}

static int64_t call_map_promote(struct scene *s)
{
	return fs_map_promote(s->pool->fs, s->ino, 0);
}

static int64_t call_realign(struct scene *s)
{
	number = 0;
	return fs_realign(s->pool->fs, s->ino, &number, &truth);
}

static int64_t call_find_scattered(struct scene *s)
{
	number = 0;
	return fs_find_scattered(s->pool->fs, s->ino, &number, &truth);
}

static int64_t call_keep_layout(struct scene *s)
{
	int err = fs_keep_layout(s->pool->fs, s->ino, true);

	return err ? err : fs_keep_layout(s->pool->fs, s->ino, false);
}

static int64_t call_stay(struct scene *s)
{
	return fs_stay(s->pool->fs, s->ino, 0, true) == -EINVAL ? 0 : -1;
}

static int64_t call_map_zero(struct scene *s)
{
	return fs_map_zero(s->pool->fs, s->ino, SIZE, UINT64_MAX);
}

static int64_t call_map_grown(struct scene *s)
{
	return fs_map_grown(s->pool->fs, s->ino, BEFORE);
}

static int64_t call_map_touch(struct scene *s)
{
	return fs_map_touch(s->pool->fs, s->ino);
}

static int64_t call_tail_begin(struct scene *s)
{
	unsigned taken = s->holder->taken;
	int err = fs_tail_begin(s->pool->fs, s->ino, 0, 1, s->holder);

	assert_int_equal(s->holder->taken, taken + 1);
	assert_int_equal(s->holder->tail.size, SIZE);
	return err ? err : fs_tail_end(s->pool->fs, s->ino);
}

static int64_t call_tail_end(struct scene *s)
{
	return fs_tail_end(s->pool->fs, s->ino);
}

static int64_t call_tail_end_all(struct scene *s)
{
	assert_true(fs_tail_end_all(s->pool->fs));
	return fs_tail_end_all(s->pool->fs);
}

static int64_t call_set_tail_holder(struct scene *s)
{
	fs_set_tail_holder(s->pool->fs, NULL);
	return 0;
}

static int64_t call_setxattr(struct scene *s)
{
	return fs_setxattr(s->pool->fs, NULL, s->ino, "user.x", "y", 1, 0);
}

static int64_t call_removexattr(struct scene *s)
{
	return fs_removexattr(s->pool->fs, NULL, s->ino, "user.x") == -ENODATA ? 0 : -1;
}

static int64_t call_get_xflags(struct scene *s)
{
	return fs_get_xflags(s->pool->fs, s->ino, &xflags);
}

static int64_t call_set_xflags(struct scene *s)
{
	xflags = (struct fs_xflags){ .flags = DXF_FLAG_NODUMP };
	return fs_set_xflags(s->pool->fs, s->ino, &xflags);
}

static int64_t call_set_mode(struct scene *s)
{
	int err = fs_set_mode(s->pool->fs, true, FS_ATIME_RELATIVE);

	return err ? err : fs_set_mode(s->pool->fs, false, FS_ATIME_RELATIVE);
}

/* ---- what only looks ---------------------------------------------------------------------- */

static int64_t is_whole(int err)
{
	assert_int_equal(attr.size, SIZE);
	return err;
}

static int64_t call_lookup(struct scene *s)
{
	return is_whole(fs_lookup(s->pool->fs, ROOT, "f", &attr));
}

static int64_t call_getattr(struct scene *s)
{
	return is_whole(fs_getattr(s->pool->fs, s->ino, &attr));
}

static int64_t call_find_times(struct scene *s)
{
	uint64_t place;

	return fs_find_times(s->pool->fs, s->ino, &place);
}

static int64_t call_open(struct scene *s)
{
	int64_t err = is_whole(fs_open(s->pool->fs, s->ino, O_RDONLY, &attr));

	fs_release(s->pool->fs, s->ino); /* not the last one */
	return err;
}

static int64_t call_hold(struct scene *s)
{
	return is_whole(fs_hold(s->pool->fs, s->ino, &attr));
}

static int64_t call_may_setattr(struct scene *s)
{
	const struct fs_setattr set = { .valid = FS_SET_MODE };

	return fs_may_setattr(s->pool->fs, s->ino, &set);
}

static int64_t call_is_orphan(struct scene *s)
{
	return fs_is_orphan(s->pool->fs, s->ino);
}

static errint_t no_orphan(uint64_t ino, void *arg)
{
	return -1;
}

static int64_t call_for_each_orphan(struct scene *s)
{
	return fs_for_each_orphan(s->pool->fs, no_orphan, NULL);
}

static int64_t call_was_read(struct scene *s)
{
	fs_was_read(s->pool->fs, s->ino, fs_clock());
	return 0;
}

static int64_t call_getxattr(struct scene *s)
{
	return fs_getxattr(s->pool->fs, s->ino, "user.x", buf, 1) == -ENODATA ? 0 : -1;
}

static int64_t call_listxattr(struct scene *s)
{
	return fs_listxattr(s->pool->fs, s->ino, buf, sizeof(buf));
}

static int64_t call_statfs(struct scene *s)
{
	struct fs_statfs statfs;

	return fs_statfs(s->pool->fs, s->ino, &statfs);
}

/* ---- the table ------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	int64_t (*call)(struct scene *s); /* 0, if it went well; NULL: it is about no file */
	bool ends;
} table[] = {
	{ "fs_setattr", call_setattr, true },
	{ "fs_link", call_link, true },
	{ "fs_unlink", call_unlink, true },
	{ "fs_rmdir", call_rmdir, true },
	{ "fs_rename", call_rename, true },
	{ "fs_rename", call_rename_over, true },
	{ "fs_readlink", call_readlink, true },
	{ "fs_release", call_release, true },
	{ "fs_unhold", call_unhold, true },
	{ "fs_forget", call_forget, true },
	{ "fs_read", call_read, true },
	{ "fs_read_noatime", call_read_noatime, true },
	{ "fs_pread", call_pread, true },
	{ "fs_write", call_write, true },
	{ "fs_drop_privileges", call_drop_privileges, true },
	{ "fs_fallocate", call_fallocate, true },
	{ "fs_fallocate", call_insert, true },
	{ "fs_may_fallocate", call_may_fallocate, true },
	{ "fs_seek", call_seek, true },
	{ "fs_copy_range", call_copy_from, true },
	{ "fs_copy_range", call_copy_to, true },
	{ "fs_iomap", call_iomap, true },
	{ "fs_iomap_steps", call_iomap_steps, true },
	{ "fs_map_allocate", call_map_allocate, true },
	{ "fs_map_promote", call_map_promote, true },
	{ "fs_realign", call_realign, true },
	{ "fs_find_scattered", call_find_scattered, true },
	{ "fs_keep_layout", call_keep_layout, true },
	{ "fs_stay", call_stay, true },
	{ "fs_map_zero", call_map_zero, true },
	{ "fs_map_grown", call_map_grown, true },
	{ "fs_map_touch", call_map_touch, true },
	{ "fs_tail_begin", call_tail_begin, true },
	{ "fs_tail_end", call_tail_end, true },
	{ "fs_tail_end_all", call_tail_end_all, true },
	{ "fs_set_tail_holder", call_set_tail_holder, true },
	{ "fs_setxattr", call_setxattr, true },
	{ "fs_removexattr", call_removexattr, true },
	{ "fs_get_xflags", call_get_xflags, true },
	{ "fs_set_xflags", call_set_xflags, true },
	{ "fs_set_mode", call_set_mode, true },

	{ "fs_lookup", call_lookup, false },
	{ "fs_getattr", call_getattr, false },
	{ "fs_find_times", call_find_times, false },
	{ "fs_open", call_open, false },
	{ "fs_hold", call_hold, false },
	{ "fs_may_setattr", call_may_setattr, false },
	{ "fs_is_orphan", call_is_orphan, false },
	{ "fs_for_each_orphan", call_for_each_orphan, false },
	{ "fs_was_read", call_was_read, false },
	{ "fs_getxattr", call_getxattr, false },
	{ "fs_listxattr", call_listxattr, false },
	{ "fs_statfs", call_statfs, false },

	/* unmounting is tested with holders (tail.c) */
	{ .name = "fs_unmount" },
	{ .name = "fs_set_label" },
	{ .name = "fs_mknod" },
	{ .name = "fs_mkdir" },
	{ .name = "fs_symlink" },
	{ .name = "fs_tmpfile" },
	{ .name = "fs_readdir" },
	{ .name = "fs_get_space" },
	{ .name = "fs_busy_insert" },
	{ .name = "fs_busy_clear" },
	{ .name = "fs_quota_set" },
	{ .name = "fs_quota_get" },
	{ .name = "fs_quota_list" },
	{ .name = "fs_get_counters" },
};

static void make_scene(struct scene *s, struct pool *pool)
{
	*s = (struct scene){ .pool = pool };
	s->ino = make_file(pool, "f");
	s->other = make_file(pool, "other");
	s->dir = make_dir(pool, ROOT, "d");
	s->holder = holder_set(pool);
	memset(buf, 'w', sizeof(buf));
	assert_int_equal(fs_write(pool->fs, NULL, s->other, "other", 5, 0, 0), 5);
	assert_int_equal(fs_write(pool->fs, NULL, s->ino, buf, BEFORE, 0, 0), BEFORE);
	assert_int_equal(fs_open(pool->fs, s->ino, O_RDWR, &attr), 0);
	assert_int_equal(fs_tail_begin(pool->fs, s->ino, BEFORE, APPENDED, s->holder), 0);
	holder_append(s->holder, BEFORE, APPENDED, 'a');
}

/* Nothing that was appended is lost; a call may have moved it by a page. */
static void look_at_end(struct scene *s)
{
	char byte = 0;

	if (fs_getattr(s->pool->fs, s->ino, &attr))
		return;
	assert_int_equal(attr.size % PAGE, SIZE % PAGE);
	assert_int_equal(fs_pread(s->pool->fs, s->ino, &byte, 1, attr.size - 1), 1);
	assert_int_equal(byte, 'a');
	assert_false(s->holder->given);
}

static void test_each(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct pool *pool;
		struct scene s;

		if (!table[i].call)
			continue;
		pool = pool_new(UNITS);
		make_scene(&s, pool);
		if (table[i].call(&s))
			fail_msg("%s does not say what it must", table[i].name);
		if (s.holder->given == table[i].ends)
			fail_msg("%s %s the tail", table[i].name,
				 table[i].ends ? "does not end" : "ends");
		look_at_end(&s);
		pool_free(pool);
		free(pool);
	}
}

static bool is_in_table(const char *name, size_t length)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (strlen(table[i].name) == length && !strncmp(table[i].name, name, length))
			return true;
	return false;
}

/* A function that changes the filesystem, or that asks it, begins so. */
static void test_all_are_there(void **state)
{
	static const char here[] = __FILE__, tail[] = "tests/unit/core/tail_recall.c";
	char path[PATH_MAX], *text = NULL;
	regex_t regex;
	regmatch_t match[2];
	size_t size = 0;
	unsigned count = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%.*sdaxfuse/core/fs.h", (int)(sizeof(here) - sizeof(tail)),
		 here);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_true(getdelim(&text, &size, '\0', file) > 0);
	fclose(file);
	assert_int_equal(regcomp(&regex, "(fs_[a-z_]+)\\(struct fs \\*fs", REG_EXTENDED), 0);
	for (const char *at = text; regexec(&regex, at, 2, match, 0) == 0; at += match[1].rm_eo) {
		const char *name = at + match[1].rm_so;
		size_t length = (size_t)(match[1].rm_eo - match[1].rm_so);

		if (!is_in_table(name, length))
			fail_msg("%.*s is not in the table", (int)length, name);
		count++;
	}
	assert_true(count > 60);
	regfree(&regex);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each),
		cmocka_unit_test(test_all_are_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
