/* SPDX-License-Identifier: BSD-3-Clause */
/* Attributes, flags, ACLs and their inheritance, suid and sgid, times, xattrs. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "daxfuse/base/bits.h"
#include "pool.h"

#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

static int setup(void **state)
{
	*state = pool_new(12);
	return 0;
}

static struct fs_attr stat_of(struct pool *pool, uint64_t ino)
{
	struct fs_attr attr;

	assert_int_equal(fs_getattr(pool->fs, ino, &attr), 0);
	return attr;
}

static void chmod_to(struct pool *pool, uint64_t ino, uint32_t mode)
{
	struct fs_setattr set = { .valid = FS_SET_MODE, .mode = mode };

	assert_int_equal(fs_setattr(pool->fs, ino, &set, NULL), 0);
}

/* ---- ACLs ----------------------------------------------------------------- */

struct acl {
	struct posix_acl_xattr_header header;
	struct posix_acl_xattr_entry entry[5];
};

/* owner, one user, group, mask, other; without user and mask if count is 3 */
static struct acl acl_of(unsigned owner, unsigned user, unsigned group, unsigned mask,
			 unsigned other)
{
	return (struct acl){
		.header = {.a_version = POSIX_ACL_XATTR_VERSION},
		.entry = {
			{ACL_USER_OBJ, (uint16_t)owner, ACL_UNDEFINED_ID}, {ACL_USER, (uint16_t)user, 1000},
			{ACL_GROUP_OBJ, (uint16_t)group, ACL_UNDEFINED_ID},
			{ACL_MASK, (uint16_t)mask, ACL_UNDEFINED_ID}, {ACL_OTHER, (uint16_t)other, ACL_UNDEFINED_ID},
		},
	};
}

static struct acl minimal_acl(unsigned owner, unsigned group, unsigned other)
{
	struct acl acl = acl_of(owner, 0, group, 0, other);

	acl.entry[1] = acl.entry[2];
	acl.entry[2] = acl.entry[4];
	return acl;
}

enum { FULL = sizeof(struct acl), MINIMAL = FULL - 2 * sizeof(struct posix_acl_xattr_entry) };

static void test_acl_and_mode(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "file");
	struct acl acl = acl_of(7, 6, 5, 4, 1), got;
	char unaligned[FULL + 1];

	memcpy(unaligned + 1, &acl, FULL); /* as it lies in a request */
	assert_int_equal(fs_setxattr(pool->fs, NULL, ino, ACCESS, unaligned + 1, FULL, 0), 0);
	assert_int_equal(stat_of(pool, ino).mode, S_IFREG | 0741);
	chmod_to(pool, ino, 02620);
	assert_int_equal(stat_of(pool, ino).mode, S_IFREG | 02620);
	assert_int_equal(fs_getxattr(pool->fs, ino, ACCESS, &got, sizeof(got)), FULL);
	acl = acl_of(6, 6, 5, 2, 0); /* the mask follows the mode, the group entry stays */
	assert_memory_equal(&got, &acl, FULL);
	acl = minimal_acl(6, 4, 0);
	assert_int_equal(fs_setxattr(pool->fs, NULL, ino, ACCESS, &acl, MINIMAL, 0), 0);
	assert_int_equal(stat_of(pool, ino).mode, S_IFREG | 02640);
	assert_int_equal(fs_getxattr(pool->fs, ino, ACCESS, NULL, 0), -ENODATA);
	assert_int_equal(fs_removexattr(pool->fs, NULL, ino, ACCESS), 0);
	assert_int_equal(fs_setxattr(pool->fs, NULL, ino, DEFAULT, &acl, MINIMAL, 0), -EACCES);
}

static void test_acl_refused(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "file");
	struct acl good = acl_of(7, 6, 5, 4, 1), acl;

	for (size_t size = 0; size < FULL; size++)
		assert_int_equal(fs_setxattr(pool->fs, NULL, ino, ACCESS, &good, size, 0), -EINVAL);
#define BREAK(change)                                                                     \
	do {                                                                              \
		acl = good;                                                               \
		change;                                                                   \
		assert_int_equal(fs_setxattr(pool->fs, NULL, ino, ACCESS, &acl, FULL, 0), \
				 -EINVAL);                                                \
	} while (0)
	BREAK(acl.header.a_version = 1);
	BREAK(acl.entry[0].e_tag = 0);
	BREAK(acl.entry[0].e_tag = ACL_USER);
	BREAK(acl.entry[3].e_tag = ACL_GROUP); /* named, without a mask */
	BREAK(acl.entry[4].e_tag = 0x40);
	BREAK(acl.entry[1].e_perm = 8);
	BREAK(acl.entry[1].e_tag = ACL_OTHER); /* out of order */
#undef BREAK
	assert_int_equal(stat_of(pool, ino).mode, S_IFREG | 0644);
}

static void test_acl_inherited(void **state)
{
	struct pool *pool = *state;
	struct fs_request request = { .uid = 1, .gid = 1, .umask = 077 };
	uint64_t dir = make_dir(pool, ROOT, "dir");
	struct acl acl = acl_of(7, 6, 5, 7, 4), want, got;
	struct fs_attr attr;

	assert_int_equal(fs_mknod(pool->fs, &request, dir, "before", S_IFREG | 0666, 0, &attr), 0);
	assert_int_equal(attr.mode, S_IFREG | 0600); /* the umask counts */
	assert_int_equal(fs_setxattr(pool->fs, NULL, dir, DEFAULT, &acl, FULL, 0), 0);
	assert_int_equal(fs_mknod(pool->fs, &request, dir, "file", S_IFREG | 0662, 0, &attr), 0);
	assert_int_equal(attr.mode, S_IFREG | 0660); /* it does not */
	assert_int_equal(fs_getxattr(pool->fs, attr.ino, ACCESS, &got, sizeof(got)), FULL);
	want = acl_of(6, 6, 5, 6, 0);
	assert_memory_equal(&got, &want, FULL);
	assert_int_equal(fs_getxattr(pool->fs, attr.ino, DEFAULT, NULL, 0), -ENODATA);
	assert_int_equal(fs_mkdir(pool->fs, &request, dir, "sub", 0777, &attr), 0);
	assert_int_equal(attr.mode, S_IFDIR | 0774);
	assert_int_equal(fs_getxattr(pool->fs, attr.ino, DEFAULT, &got, sizeof(got)), FULL);
	assert_memory_equal(&got, &acl, FULL);
	assert_int_equal(fs_symlink(pool->fs, &request, dir, "link", "to", &attr), 0);
	assert_int_equal(attr.mode, S_IFLNK | 0777);
	acl = minimal_acl(7, 5, 0);
	assert_int_equal(fs_setxattr(pool->fs, NULL, dir, DEFAULT, &acl, MINIMAL, 0), 0);
	assert_int_equal(fs_mknod(pool->fs, &request, dir, "other", S_IFREG | 0666, 0, &attr), 0);
	assert_int_equal(attr.mode, S_IFREG | 0640);
	assert_int_equal(fs_getxattr(pool->fs, attr.ino, ACCESS, NULL, 0), -ENODATA);
	assert_int_equal(fs_setxattr(pool->fs, NULL, dir, DEFAULT, &acl, sizeof(acl.header), 0),
			 0); /* none */
	assert_int_equal(fs_getxattr(pool->fs, dir, DEFAULT, NULL, 0), -ENODATA);
}

/* ---- owners and modes ----------------------------------------------------- */

static void test_sgid_directory(void **state)
{
	struct pool *pool = *state;
	struct fs_setattr set = { .valid = FS_SET_GID, .gid = 50 };
	struct fs_request request = { .uid = 1, .gid = 2 };
	uint64_t dir = make_dir(pool, ROOT, "dir");
	struct fs_attr attr;

	assert_int_equal(fs_setattr(pool->fs, dir, &set, NULL), 0);
	chmod_to(pool, dir, 02775);
	assert_int_equal(fs_mkdir(pool->fs, &request, dir, "sub", 0755, &attr), 0);
	assert_int_equal(attr.gid, 50);
	assert_int_equal(attr.mode, S_IFDIR | 02755);
	assert_int_equal(fs_mknod(pool->fs, &request, dir, "a", S_IFREG | 02755, 0, &attr), 0);
	assert_int_equal(attr.gid, 50);
	assert_int_equal(attr.mode, S_IFREG | 0755); /* not in the group */
	request.in_group = true;
	assert_int_equal(fs_mknod(pool->fs, &request, dir, "b", S_IFREG | 02755, 0, &attr), 0);
	assert_int_equal(attr.mode, S_IFREG | 02755);
}

static void test_kill_suidgid(void **state)
{
	struct pool *pool = *state;
	struct fs_setattr set = { .valid = FS_SET_SIZE | FS_SET_KILL_SUIDGID, .size = 3 };
	uint64_t ino = make_file(pool, "file");

	chmod_to(pool, ino, 06755);
	assert_int_equal(fs_write(pool->fs, NULL, ino, "x", 1, 0, 0), 1);
	assert_int_equal(stat_of(pool, ino).mode, S_IFREG | 06755);
	assert_int_equal(fs_write(pool->fs, NULL, ino, "x", 1, 0, FS_WRITE_KILL_SUIDGID), 1);
	assert_int_equal(stat_of(pool, ino).mode, S_IFREG | 0755);
	chmod_to(pool, ino, 06744); /* sgid without execution: mandatory locking, stays */
	assert_int_equal(fs_setattr(pool->fs, ino, &set, NULL), 0);
	assert_int_equal(stat_of(pool, ino).mode, S_IFREG | 02744);
	set.valid |= FS_SET_KILL_SGID; /* but not for strangers */
	assert_int_equal(fs_setattr(pool->fs, ino, &set, NULL), 0);
	assert_int_equal(stat_of(pool, ino).mode, S_IFREG | 0744);
	chmod_to(pool, ino, 02644);
	assert_int_equal(fs_write(pool->fs, NULL, ino, "x", 1, 0,
				  FS_WRITE_KILL_SUIDGID | FS_WRITE_KILL_SGID),
			 1);
	assert_int_equal(stat_of(pool, ino).mode, S_IFREG | 0644);
}

static void set_capability(struct pool *pool, uint64_t ino)
{
	assert_int_equal(fs_setxattr(pool->fs, NULL, ino, "security.capability", "all", 3, 0), 0);
	assert_int_equal(fs_setxattr(pool->fs, NULL, ino, "user.other", "x", 1, 0), 0);
}

static bool has_capability(struct pool *pool, uint64_t ino)
{
	assert_int_equal(fs_getxattr(pool->fs, ino, "user.other", NULL, 0), 1);
	return fs_getxattr(pool->fs, ino, "security.capability", NULL, 0) != -ENODATA;
}

/* In one transaction, and without one if there is nothing. */
static void test_drop_privileges(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "file");
	struct fs_counters before, after;
	bool dropped;

	chmod_to(pool, ino, 06755);
	set_capability(pool, ino);
	assert_int_equal(fs_write(pool->fs, NULL, ino, "x", 1, 0, 0), 1);
	assert_false(has_capability(pool, ino));
	assert_int_equal(stat_of(pool, ino).mode, S_IFREG | 06755);
	set_capability(pool, ino);
	fs_get_counters(pool->fs, &before);
	assert_int_equal(fs_drop_privileges(pool->fs, ino, FS_WRITE_KILL_SUIDGID, &dropped), 0);
	fs_get_counters(pool->fs, &after);
	assert_true(dropped);
	assert_int_equal(after.transactions, before.transactions + 1);
	assert_false(has_capability(pool, ino));
	assert_int_equal(stat_of(pool, ino).mode, S_IFREG | 0755);
	assert_int_equal(fs_drop_privileges(pool->fs, ino, FS_WRITE_KILL_SUIDGID, &dropped), 0);
	fs_get_counters(pool->fs, &before);
	assert_false(dropped);
	assert_int_equal(after.transactions, before.transactions);
}

/* ---- flags ---------------------------------------------------------------- */

static void set_flags(struct pool *pool, uint64_t ino, uint32_t flags)
{
	struct fs_xflags xflags = { .flags = flags };

	assert_int_equal(fs_set_xflags(pool->fs, ino, &xflags), 0);
}

static void test_immutable(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "file"), dir = make_dir(pool, ROOT, "dir");
	struct fs_setattr set = { .valid = FS_SET_MODE };
	struct fs_attr attr;

	assert_int_equal(fs_mknod(pool->fs, &root_request, dir, "in", S_IFREG, 0, &attr), 0);
	set_flags(pool, ino, DXF_FLAG_IMMUTABLE);
	set_flags(pool, dir, DXF_FLAG_IMMUTABLE);
	assert_int_equal(fs_open(pool->fs, ino, O_RDWR, NULL), -EPERM);
	assert_int_equal(fs_open(pool->fs, ino, O_RDONLY, NULL), 0);
	fs_release(pool->fs, ino);
	assert_int_equal(fs_write(pool->fs, NULL, ino, "x", 1, 0, 0), -EPERM);
	assert_int_equal(fs_fallocate(pool->fs, NULL, ino, 0, 0, 1), -EPERM);
	assert_int_equal(fs_fallocate(pool->fs, NULL, ino, FALLOC_FL_COLLAPSE_RANGE, 0, 4096),
			 -EPERM);
	assert_int_equal(fs_setattr(pool->fs, ino, &set, NULL), -EPERM);
	assert_int_equal(fs_setxattr(pool->fs, NULL, ino, "user.a", "x", 1, 0), -EPERM);
	assert_int_equal(fs_unlink(pool->fs, NULL, ROOT, "file"), -EPERM);
	assert_int_equal(fs_link(pool->fs, NULL, ino, ROOT, "other", &attr), -EPERM);
	assert_int_equal(fs_rename(pool->fs, &root_request, ROOT, "file", ROOT, "other", 0),
			 -EPERM);
	make_file(pool, "third");
	assert_int_equal(fs_rename(pool->fs, &root_request, ROOT, "third", ROOT, "file", 0),
			 -EPERM);
	assert_int_equal(fs_mknod(pool->fs, &root_request, dir, "x", S_IFREG, 0, &attr), -EPERM);
	assert_int_equal(fs_tmpfile(pool->fs, &root_request, dir, 0600, &attr), -EPERM);
	assert_int_equal(fs_unlink(pool->fs, NULL, dir, "in"), -EPERM);
	set_flags(pool, ino, 0);
	assert_int_equal(fs_unlink(pool->fs, NULL, ROOT, "file"), 0);
	fs_forget(pool->fs, ino);
}

static void test_append(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "file"), dir = make_dir(pool, ROOT, "dir");
	struct fs_setattr set = { .valid = FS_SET_SIZE };
	struct fs_attr attr;

	set_flags(pool, ino, DXF_FLAG_APPEND);
	set_flags(pool, dir, DXF_FLAG_APPEND);
	assert_int_equal(fs_open(pool->fs, ino, O_WRONLY, NULL), -EPERM);
	assert_int_equal(fs_open(pool->fs, ino, O_WRONLY | O_APPEND | O_TRUNC, NULL), -EPERM);
	assert_int_equal(fs_open(pool->fs, ino, O_WRONLY | O_APPEND, NULL), 0);
	assert_int_equal(fs_write(pool->fs, NULL, ino, "ab", 2, 0, FS_WRITE_APPEND), 2);
	assert_int_equal(fs_setattr(pool->fs, ino, &set, NULL), -EPERM);
	assert_int_equal(fs_fallocate(pool->fs, NULL, ino,
				      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1),
			 -EPERM);
	fs_release(pool->fs, ino);
	assert_int_equal(fs_mknod(pool->fs, &root_request, dir, "x", S_IFREG, 0, &attr), 0);
	assert_int_equal(fs_unlink(pool->fs, NULL, dir, "x"), -EPERM);
}

static void test_xflags(void **state)
{
	struct pool *pool = *state;
	uint64_t dir = make_dir(pool, ROOT, "dir"), ino = make_file(pool, "file");
	struct fs_xflags got, x = {
		.flags = DXF_FLAG_DAX | DXF_FLAG_PROJINHERIT | DXF_FLAG_EXTSZINHERIT |
			 DXF_FLAG_NODUMP,
		.project = 9,
		.extsize = 2 << 20,
	};
	struct fs_attr attr;

	assert_int_equal(fs_set_xflags(pool->fs, dir, &x), 0);
	assert_int_equal(fs_mknod(pool->fs, &root_request, dir, "a", S_IFREG | 0600, 0, &attr), 0);
	assert_true(attr.dax);
	assert_int_equal(attr.project, 9);
	assert_int_equal(attr.extsize, 2 << 20);
	assert_int_equal(attr.flags, DXF_FLAG_DAX | DXF_FLAG_EXTSIZE | DXF_FLAG_NODUMP);
	/* the hint: a unit from the first byte on */
	assert_int_equal(fs_write(pool->fs, NULL, attr.ino, "x", 1, 10, 0), 1);
	assert_int_equal(fs_get_xflags(pool->fs, attr.ino, &got), 0);
	assert_int_equal(got.extents, 0); /* so small that it lies in the inode */
	assert_int_equal(fs_write(pool->fs, NULL, attr.ino, "x", 1, 9000, 0), 1);
	assert_int_equal(stat_of(pool, attr.ino).blocks, DXF_UNIT_SIZE / 512);
	assert_int_equal(fs_get_xflags(pool->fs, attr.ino, &got), 0);
	assert_int_equal(got.extents, 1);
	assert_int_equal(fs_mkdir(pool->fs, &root_request, dir, "sub", 0755, &attr), 0);
	assert_int_equal(attr.flags, x.flags);
	x = (struct fs_xflags){ .flags = DXF_FLAG_TRUNCATING };
	assert_int_equal(fs_set_xflags(pool->fs, ino, &x), -EOPNOTSUPP);
	x.flags = 0x10000;
	assert_int_equal(fs_set_xflags(pool->fs, ino, &x), -EOPNOTSUPP);
	x.flags = DXF_FLAG_PROJINHERIT;
	assert_int_equal(fs_set_xflags(pool->fs, ino, &x), -EINVAL);
	x.flags = DXF_FLAG_EXTSIZE;
	assert_int_equal(fs_set_xflags(pool->fs, dir, &x), -EINVAL);
	x.extsize = 5;
	assert_int_equal(fs_set_xflags(pool->fs, ino, &x), -EINVAL);
}

/* ---- times and names ------------------------------------------------------ */

static int64_t now = INT64_C(1700000000123456789);

static int64_t test_clock(void)
{
	return now;
}

static void test_times(void **state)
{
	struct pool *pool = *state;
	int64_t (*clock)(void) = fs_clock;
	struct fs_setattr set = { .valid = FS_SET_ATIME | FS_SET_MTIME,
				  .atime = -5,
				  .mtime = INT64_MAX };
	struct fs_attr attr;
	uint64_t ino;
	char byte;

	fs_clock = test_clock;
	ino = make_file(pool, "file");
	attr = stat_of(pool, ino);
	assert_true(attr.btime == now && attr.atime == now && attr.mtime == now &&
		    attr.ctime == now);
	now += 10;
	assert_int_equal(fs_write(pool->fs, NULL, ino, "x", 1, 0, 0), 1);
	attr = stat_of(pool, ino);
	assert_true(attr.mtime == now && attr.ctime == now && attr.atime == now - 10);
	now += 10;
	assert_int_equal(fs_pread(pool->fs, ino, &byte, 1, 0), 1);
	assert_true(stat_of(pool, ino).atime == now); /* relatime: older than mtime */
	now += 10;
	assert_int_equal(fs_pread(pool->fs, ino, &byte, 1, 0), 1);
	assert_true(stat_of(pool, ino).atime == now - 10);
	now += INT64_C(86400000000000);
	assert_int_equal(fs_pread(pool->fs, ino, &byte, 1, 0), 1);
	assert_true(stat_of(pool, ino).atime == now); /* a day has passed */
	assert_int_equal(fs_setattr(pool->fs, ino, &set, &attr), 0);
	assert_true(attr.atime == -5 && attr.mtime == INT64_MAX && attr.ctime == now);
	now += 10;
	assert_true(stat_of(pool, ROOT).mtime < now);
	assert_int_equal(fs_rename(pool->fs, &root_request, ROOT, "file", ROOT, "new", 0), 0);
	assert_true(stat_of(pool, ROOT).mtime == now && stat_of(pool, ino).ctime == now);
	pool_remount(pool);
	attr = stat_of(pool, ino);
	assert_true(attr.atime == -5 && attr.mtime == INT64_MAX && attr.ctime == now);
	fs_clock = clock;
}

static void test_xattr_names(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "file");
	struct fs_attr link;
	char list[100];

	assert_int_equal(fs_setxattr(pool->fs, NULL, ino, "user.", "x", 1, 0), -EINVAL);
	assert_int_equal(fs_setxattr(pool->fs, NULL, ino, "users.a", "x", 1, 0), -EOPNOTSUPP);
	assert_int_equal(fs_setxattr(pool->fs, NULL, ino, "system.other", "x", 1, 0), -EOPNOTSUPP);
	assert_int_equal(fs_setxattr(pool->fs, NULL, ino, "user.a", NULL, 0, 0), 0);
	assert_int_equal(fs_setxattr(pool->fs, NULL, ino, "trusted.b", "x", 1, 0), 0);
	assert_int_equal(fs_setxattr(pool->fs, NULL, ino, "security.c", "x", 1, XATTR_CREATE), 0);
	assert_int_equal(fs_listxattr(pool->fs, ino, list, sizeof(list)), 7 + 10 + 11);
	assert_int_equal(fs_getxattr(pool->fs, ino, "user.a", list, 5), 0);
	assert_int_equal(fs_removexattr(pool->fs, NULL, ino, "user.x"), -ENODATA);
	assert_int_equal(fs_symlink(pool->fs, &root_request, ROOT, "link", "to", &link), 0);
	assert_int_equal(fs_setxattr(pool->fs, NULL, link.ino, "user.a", "x", 1, 0), -EPERM);
	assert_int_equal(fs_setxattr(pool->fs, NULL, link.ino, "trusted.a", "x", 1, 0), 0);
}

static void test_symlinks(void **state)
{
	struct pool *pool = *state;
	char target[DXF_BLOCK_SIZE + 1], got[DXF_BLOCK_SIZE + 1], name[16];

	for (size_t length = 1; length < DXF_BLOCK_SIZE; length += length < 200 ? 1 : 97) {
		struct fs_attr attr;

		memset(target, 't', length);
		target[length] = '\0';
		snprintf(name, sizeof(name), "l%zu", length);
		assert_int_equal(fs_symlink(pool->fs, &root_request, ROOT, name, target, &attr), 0);
		assert_int_equal(attr.size, length);
		assert_int_equal(fs_readlink(pool->fs, attr.ino, got, sizeof(got)), length);
		assert_memory_equal(got, target, length);
		assert_int_equal(fs_readlink(pool->fs, attr.ino, got, 1), 1);
	}
	memset(target, 't', DXF_BLOCK_SIZE);
	target[DXF_BLOCK_SIZE] = '\0';
	assert_int_equal(fs_symlink(pool->fs, &root_request, ROOT, "x", target, NULL),
			 -ENAMETOOLONG);
	assert_int_equal(fs_symlink(pool->fs, &root_request, ROOT, "x", "", NULL), -ENOENT);
	assert_int_equal(fs_readlink(pool->fs, ROOT, got, 10), -EINVAL);
}

static void test_names(void **state)
{
	struct pool *pool = *state;
	char name[DXF_NAME_MAX + 2];
	struct fs_attr attr;
	uint64_t ino = make_file(pool, "file");

	memset(name, 'n', sizeof(name));
	name[DXF_NAME_MAX + 1] = '\0';
	assert_int_equal(fs_mknod(pool->fs, &root_request, ROOT, name, S_IFREG, 0, &attr),
			 -ENAMETOOLONG);
	assert_int_equal(fs_lookup(pool->fs, ROOT, name, &attr), -ENAMETOOLONG);
	assert_int_equal(fs_mknod(pool->fs, &root_request, ROOT, "", S_IFREG, 0, &attr), -EINVAL);
	assert_int_equal(fs_mknod(pool->fs, &root_request, ROOT, "a/b", S_IFREG, 0, &attr),
			 -EINVAL);
	assert_int_equal(fs_mkdir(pool->fs, &root_request, ROOT, "..", 0755, &attr), -EEXIST);
	assert_int_equal(fs_rename(pool->fs, &root_request, ROOT, "file", ROOT, ".", 0), -EBUSY);
	assert_int_equal(fs_rename(pool->fs, &root_request, ROOT, "file", ROOT, "x",
				   RENAME_EXCHANGE | RENAME_NOREPLACE),
			 -EINVAL);
	assert_int_equal(fs_rename(pool->fs, &root_request, ROOT, "file", ROOT, "x", 8), -EINVAL);
	assert_int_equal(fs_lookup(pool->fs, ino, "x", &attr), -ENOTDIR);
	assert_int_equal(fs_lookup(pool->fs, ino, "..", &attr), -ENOTDIR);
	assert_int_equal(fs_lookup(pool->fs, ino, ".", &attr), 0);
	assert_int_equal(attr.ino, ino);
	assert_int_equal(fs_lookup(pool->fs, 12345, ".", &attr), -ESTALE);
	assert_int_equal(fs_lookup(pool->fs, UINT64_MAX, ".", &attr), -ESTALE);
	assert_int_equal(fs_mknod(pool->fs, &root_request, ino, "x", S_IFREG, 0, &attr), -ENOTDIR);
	assert_int_equal(fs_mknod(pool->fs, &root_request, ROOT, "x", S_IFDIR, 0, &attr), -EINVAL);
	assert_int_equal(
		fs_mknod(pool->fs, &root_request, ROOT, "x", S_IFBLK | 0600, 0x800005, &attr), 0);
	assert_int_equal(attr.rdev, 0x800005);
	assert_int_equal(fs_getattr(pool->fs, 12345, &attr), -ESTALE);
	assert_int_equal(fs_getattr(pool->fs, UINT64_MAX, &attr), -ESTALE);
}

/* The close may come before or after the last word that nobody knows the inode. */
static void test_open_orphan(void **state)
{
	struct pool *pool = *state;
	char byte;

	for (int order = 0; order < 2; order++) {
		uint64_t before = free_space(pool), ino = make_file(pool, "file");
		struct fs_attr attr;

		before -= order == 0; /* the root's bucket comes with its first name */
		assert_int_equal(fs_write(pool->fs, NULL, ino, "data", 4, 5000, 0), 4);
		assert_int_equal(fs_open(pool->fs, ino, O_RDWR, NULL), 0);
		assert_int_equal(fs_open(pool->fs, ino, O_RDONLY, NULL), 0);
		make_file(pool, order ? "b" : "a");
		assert_int_equal(fs_unlink(pool->fs, NULL, ROOT, "file"), 0);
		fs_release(pool->fs, ino);
		if (order)
			fs_forget(pool->fs, ino);
		assert_int_equal(fs_pread(pool->fs, ino, &byte, 1, 5000), 1);
		assert_int_equal(byte, 'd');
		fs_release(pool->fs, ino);
		if (!order)
			fs_forget(pool->fs, ino);
		assert_int_equal(fs_getattr(pool->fs, ino, &attr), -ESTALE);
		fs_release(pool->fs, ino); /* once too often: harmless */
		assert_int_equal(free_space(pool), before);
	}
}

/* A number together with its generation never means another inode. */
static void test_generations(void **state)
{
	struct pool *pool = *state;
	int64_t (*clock)(void) = fs_clock;
	struct fs_attr attr, first = { 0 };

	fs_clock = test_clock; /* it stands still */
	for (unsigned i = 0; i < 2 * DXF_CHUNK_INODES; i++) {
		assert_int_equal(fs_tmpfile(pool->fs, &root_request, ROOT, 0600, &attr), 0);
		if (!first.ino)
			first = attr;
		else if (attr.ino == first.ino)
			assert_int_not_equal(attr.generation, first.generation);
		fs_forget(pool->fs, attr.ino);
	}
	assert_int_not_equal(first.generation, 0);
	fs_clock = clock;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, pool_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_acl_and_mode),   TEST(test_acl_refused),  TEST(test_acl_inherited),
		TEST(test_sgid_directory), TEST(test_kill_suidgid), TEST(test_drop_privileges),
		TEST(test_immutable),      TEST(test_append),       TEST(test_xflags),
		TEST(test_times),          TEST(test_xattr_names),  TEST(test_symlinks),
		TEST(test_names),          TEST(test_open_orphan),  TEST(test_generations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
