/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several threads on one filesystem: names and data, in directories of their own
 * and in shared ones. Any error must be one that a race explains; the checker
 * judges what is left. Run under TSan, it finds what is shared without a lock.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "pool.h"

/* Directories are locked in the order of the tree, and the tree changes: what was
 * below may come to lie above. TSan takes orders for constant, and would warn. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "detect_deadlocks=0";
}

enum { THREADS = 4, NAMES = 5, DIRS = 4, STEPS = 12000, BYTES = 600 << 10 };

struct job {
	struct pool *pool;
	uint64_t rng;
	uint64_t own;   /* a directory of its own */
	uint64_t *dirs; /* shared ones */
	char *buf;
};

static uint64_t pick(struct job *job, uint64_t below)
{
	return next_random(&job->rng) % below;
}

static const char *pick_name(struct job *job)
{
	static const char *const names[NAMES] = { "a", "b", "c",
						  "a longer name that takes two slots of a bucket",
						  "e" };

	return names[pick(job, NAMES)];
}

static uint64_t pick_dir(struct job *job)
{
	return pick(job, 3) ? job->dirs[pick(job, DIRS)] : job->own;
}

/* What others may have caused. */
static void allow(int err)
{
	switch (err) {
	case 0:
	case -ENOENT:
	case -EEXIST:
	case -ENOTDIR:
	case -EISDIR:
	case -ENOTEMPTY:
	case -EINVAL:
	case -ESTALE:
	case -EPERM:
	case -ENODATA:
	case -EXDEV:
	case -ENOSPC:
	case -EDQUOT:
		return;
	}
	fprintf(stderr, "unexpected: %s\n", strerror(-err));
	abort();
}

/* A file somewhere, with what readers and writers do to it. */
static void use_file(struct job *job)
{
	struct fs *fs = job->pool->fs;
	struct fs_setattr set = { .valid = FS_SET_SIZE | FS_SET_MODE, .mode = 0600 };
	struct fs_attr attr;
	uint64_t at = pick(job, BYTES), n = 1 + pick(job, pick(job, 4) ? 9000 : BYTES - at);
	int err = fs_lookup(fs, pick_dir(job), pick_name(job), &attr);

	allow(err);
	if (err || !S_ISREG(attr.mode) || fs_open(fs, attr.ino, O_RDWR, &attr))
		return;
	switch (pick(job, 6)) {
	case 0 ... 1:
		allow((int)MIN(fs_write(fs, NULL, attr.ino, job->buf, n, at, 0), 0));
		break;
	case 2:
		assert_true(fs_pread(fs, attr.ino, job->buf, n, at) >= 0);
		break;
	case 3:
		set.size = at;
		allow(fs_setattr(fs, attr.ino, &set, &attr));
		break;
	case 4:
		allow(fs_fallocate(fs, NULL, attr.ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   at, n));
		break;
	case 5:
		allow(fs_setxattr(fs, NULL, attr.ino, "user.x", job->buf, pick(job, 600), 0));
		allow((int)MIN(fs_getxattr(fs, attr.ino, "user.x", NULL, 0), 0));
		break;
	}
	fs_release(fs, attr.ino);
}

static int ignore_entry(const struct fs_dirent *entry, void *arg)
{
	return 0;
}

/* As a transport does: the thread that removed the last name says that it forgets. */
static void forget(struct job *job, const struct fs_attr *attr)
{
	if (fs_is_orphan(job->pool->fs, attr->ino))
		fs_forget(job->pool->fs, attr->ino);
}

static void remove_name(struct job *job, uint64_t dir, const char *name)
{
	struct fs *fs = job->pool->fs;
	struct fs_attr attr;
	int err = fs_lookup(fs, dir, name, &attr);

	if (!err)
		err = (S_ISDIR(attr.mode) ? fs_rmdir : fs_unlink)(fs, NULL, dir, name);
	if (!err)
		forget(job, &attr);
	allow(err);
}

static void use_names(struct job *job)
{
	static const unsigned flags[] = { 0, 0, RENAME_EXCHANGE, RENAME_NOREPLACE,
					  RENAME_WHITEOUT };
	struct fs *fs = job->pool->fs;
	uint64_t dir = pick_dir(job), other = pick_dir(job);
	const char *name = pick_name(job), *new_name = pick_name(job);
	struct fs_attr attr, victim;
	bool had = fs_lookup(fs, dir, name, &attr) == 0;
	bool replaces = fs_lookup(fs, other, new_name, &victim) == 0;

	switch (pick(job, 9)) {
	case 0 ... 1:
		allow(fs_mknod(fs, &root_request, dir, name, S_IFREG | 0644, 0, &attr));
		break;
	case 2:
		allow(fs_mkdir(fs, &root_request, dir, name, 0755, &attr));
		break;
	case 3 ... 4:
		remove_name(job, dir, name);
		break;
	case 5 ... 6:
		allow(fs_rename(fs, &root_request, dir, name, other, new_name,
				flags[pick(job, ARRAY_SIZE(flags))]));
		if (replaces)
			forget(job, &victim);
		break;
	case 7:
		if (had)
			allow(fs_link(fs, NULL, attr.ino, other, new_name, &attr));
		break;
	case 8:
		allow(fs_readdir(fs, dir, 0, ignore_entry, NULL));
		break;
	}
}

/* A child directory of a shared one, so that renames meet ancestors. */
static void use_depth(struct job *job)
{
	struct fs_attr attr, moved;
	struct fs *fs = job->pool->fs;
	uint64_t dir = pick_dir(job);

	if (fs_lookup(fs, dir, pick_name(job), &attr) || !S_ISDIR(attr.mode))
		return;
	switch (pick(job, 5)) {
	case 0:
		allow(fs_mkdir(fs, &root_request, attr.ino, pick_name(job), 0755, &moved));
		break;
	case 1:
		allow(fs_rename(fs, &root_request, attr.ino, pick_name(job), pick_dir(job),
				pick_name(job), 0));
		break;
	default:
		remove_name(job, attr.ino, pick_name(job));
	}
}

static void *work(void *arg)
{
	struct job *job = arg;

	for (int i = 0; i < STEPS; i++) {
		struct fs_statfs statfs;

		switch (pick(job, 8)) {
		case 0 ... 2:
			use_file(job);
			break;
		case 3 ... 5:
			use_names(job);
			break;
		case 6:
			use_depth(job);
			break;
		case 7:
			assert_int_equal(fs_statfs(job->pool->fs, ROOT, &statfs), 0);
			break;
		}
	}
	return NULL;
}

/* Two of the shared directories belong to projects, one of them with a limit. */
static void set_project(struct pool *pool, uint64_t dir, uint32_t project, uint64_t limit)
{
	struct fs_xflags xflags = { .flags = DXF_FLAG_PROJINHERIT, .project = project };

	assert_int_equal(fs_set_xflags(pool->fs, dir, &xflags), 0);
	assert_int_equal(fs_quota_set(pool->fs, project, limit, 0), 0);
}

static void run(unsigned units)
{
	struct pool pool;
	struct job job[THREADS];
	pthread_t thread[THREADS];
	struct fs_counters counters;
	uint64_t dirs[DIRS];
	char name[16];

	pool_make(&pool, units);
	for (int i = 0; i < DIRS; i++) {
		snprintf(name, sizeof(name), "dir%d", i);
		dirs[i] = make_dir(&pool, ROOT, name);
	}
	set_project(&pool, dirs[1], 7, 0);
	set_project(&pool, dirs[2], 8, 300);
	for (int i = 0; i < THREADS; i++) {
		snprintf(name, sizeof(name), "own%d", i);
		job[i] = (struct job){ .pool = &pool,
				       .rng = 77 + (uint64_t)i,
				       .dirs = dirs,
				       .own = make_dir(&pool, ROOT, name),
				       .buf = calloc(1, BYTES) };
		assert_int_equal(pthread_create(&thread[i], NULL, work, &job[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		free(job[i].buf);
	}
	fs_get_counters(pool.fs, &counters);
	assert_true(counters.transactions > THREADS * STEPS / 8); /* they did not only fail */
	pool_remount(&pool);
	pool_free(&pool);
}

static void test_threads(void **state)
{
	run(64);
}

/* The same with hardly any space: half of it is error paths. */
static void test_full(void **state)
{
	run(9);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_threads),
					    cmocka_unit_test(test_full) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
