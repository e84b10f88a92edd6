/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names against a small model: random creations, links, removals and renames of
 * every kind in a tree of a few directories and names, so that most of them
 * collide. The expected error of each call is the model's, not the code's.
 */
#include <dirent.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "daxfuse/base/bits.h"
#include "pool.h"

enum { NODES = 64, NAMES = 6, STEPS = 6000 };

struct node {
	bool used;
	uint32_t type;    /* S_IFMT */
	unsigned links;   /* names */
	int parent;       /* directories */
	int child[NAMES]; /* directories: node or -1 */
	uint64_t ino;
};

struct tree {
	struct pool pool;
	uint64_t rng;
	struct node node[NODES]; /* 0 is the root */
};

/* Short, one slot to the brim, two slots, and as long as can be. */
static const char *name_of(int i)
{
	static char names[NAMES][DXF_NAME_MAX + 1];
	static const int length[NAMES] = {
		1, 3, DXF_SLOT_NAME, DXF_SLOT_NAME + 1, 108, DXF_NAME_MAX
	};

	memset(names[i], 'a' + i, (size_t)length[i]);
	return names[i];
}

static int pick(struct tree *t, int below)
{
	return (int)(next_random(&t->rng) % (unsigned)below);
}

static int pick_dir(struct tree *t)
{
	for (;;) {
		int i = pick(t, NODES);

		if (t->node[i].used && t->node[i].type == S_IFDIR)
			return i;
	}
}

static bool is_empty(const struct node *dir)
{
	for (int i = 0; i < NAMES; i++)
		if (dir->child[i] >= 0)
			return false;
	return true;
}

static bool is_above(struct tree *t, int a, int b)
{
	while (b != a && b != 0)
		b = t->node[b].parent;
	return a == b;
}

static int new_node(struct tree *t)
{
	for (int i = 1; i < NODES; i++)
		if (!t->node[i].used)
			return i;
	return -1;
}

static void add_node(struct tree *t, int node, uint32_t type, uint64_t ino, int dir, int name)
{
	struct node *n = &t->node[node];

	*n = (struct node){ .used = true, .type = type, .links = 1, .parent = dir, .ino = ino };
	memset(n->child, -1, sizeof(n->child));
	t->node[dir].child[name] = node;
}

/* A name of the node has gone. */
static void drop(struct tree *t, int node)
{
	struct node *n = &t->node[node];

	if (--n->links)
		return;
	assert_true(fs_is_orphan(t->pool.fs, n->ino));
	fs_forget(t->pool.fs, n->ino);
	n->used = false;
}

static void do_make(struct tree *t)
{
	static const uint32_t types[] = { S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFDIR };
	static const char target[] = "to";
	int dir = pick_dir(t), name = pick(t, NAMES), node = new_node(t), err;
	uint32_t type = types[pick(t, ARRAY_SIZE(types))];
	struct fs *fs = t->pool.fs;
	uint64_t parent = t->node[dir].ino;
	struct fs_attr attr;

	if (node < 0)
		return;
	if (type == S_IFDIR)
		err = fs_mkdir(fs, &root_request, parent, name_of(name), 0755, &attr);
	else if (type == S_IFLNK)
		err = fs_symlink(fs, &root_request, parent, name_of(name), target, &attr);
	else
		err = fs_mknod(fs, &root_request, parent, name_of(name), type | 0644, 0, &attr);
	assert_int_equal(err, t->node[dir].child[name] >= 0 ? -EEXIST : 0);
	if (!err)
		add_node(t, node, type, attr.ino, dir, name);
}

static void do_tmpfile(struct tree *t)
{
	int dir = pick_dir(t), name = pick(t, NAMES), node = new_node(t);
	struct fs_attr attr;

	if (node < 0)
		return;
	assert_int_equal(fs_tmpfile(t->pool.fs, &root_request, t->node[dir].ino, 0600, &attr), 0);
	assert_int_equal(attr.nlink, 0);
	if (t->node[dir].child[name] >= 0 || pick(t, 2)) {
		fs_forget(t->pool.fs, attr.ino);
		return;
	}
	assert_int_equal(
		fs_link(t->pool.fs, NULL, attr.ino, t->node[dir].ino, name_of(name), &attr), 0);
	assert_int_equal(attr.nlink, 1);
	add_node(t, node, S_IFREG, attr.ino, dir, name);
}

static void do_link(struct tree *t)
{
	int dir = pick_dir(t), name = pick(t, NAMES), node = pick(t, NODES), want = 0;
	struct fs_attr attr;

	if (!t->node[node].used)
		return;
	if (t->node[node].type == S_IFDIR)
		want = -EPERM;
	else if (t->node[dir].child[name] >= 0)
		want = -EEXIST;
	assert_int_equal(fs_link(t->pool.fs, NULL, t->node[node].ino, t->node[dir].ino,
				 name_of(name), &attr),
			 want);
	if (want)
		return;
	t->node[dir].child[name] = node;
	assert_int_equal(attr.nlink, ++t->node[node].links);
}

static void do_remove(struct tree *t)
{
	int dir = pick_dir(t), name = pick(t, NAMES), node = t->node[dir].child[name], want = 0;
	bool directory = pick(t, 2);

	if (node < 0)
		want = -ENOENT;
	else if (directory && t->node[node].type != S_IFDIR)
		want = -ENOTDIR;
	else if (!directory && t->node[node].type == S_IFDIR)
		want = -EISDIR;
	else if (directory && !is_empty(&t->node[node]))
		want = -ENOTEMPTY;
	assert_int_equal((directory ? fs_rmdir : fs_unlink)(t->pool.fs, NULL, t->node[dir].ino,
							    name_of(name)),
			 want);
	if (want)
		return;
	t->node[dir].child[name] = -1;
	drop(t, node);
}

/* What rename(2) says for it; 1: nothing happens. */
static int want_rename(struct tree *t, int from, int source, int to, int target, unsigned flags)
{
	const struct node *s = &t->node[source], *d = &t->node[target];

	if (source < 0)
		return -ENOENT;
	if (target < 0 && (flags & RENAME_EXCHANGE))
		return -ENOENT;
	if (target >= 0 && (flags & RENAME_NOREPLACE))
		return -EEXIST;
	if (source == target)
		return 1;
	if (s->type == S_IFDIR && is_above(t, source, to))
		return -EINVAL;
	if (target >= 0 && d->type == S_IFDIR && is_above(t, target, from))
		return flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
	if (target < 0 || (flags & RENAME_EXCHANGE))
		return 0;
	if (s->type == S_IFDIR && d->type != S_IFDIR)
		return -ENOTDIR;
	if (s->type != S_IFDIR && d->type == S_IFDIR)
		return -EISDIR;
	return d->type == S_IFDIR && !is_empty(d) ? -ENOTEMPTY : 0;
}

static void moved(struct tree *t, int node, int to)
{
	if (node >= 0 && t->node[node].type == S_IFDIR)
		t->node[node].parent = to;
}

static void add_whiteout(struct tree *t, int dir, int name)
{
	struct fs_attr attr;

	assert_int_equal(fs_lookup(t->pool.fs, t->node[dir].ino, name_of(name), &attr), 0);
	assert_int_equal(attr.mode & S_IFMT, S_IFCHR);
	assert_int_equal(attr.rdev, 0);
	add_node(t, new_node(t), S_IFCHR, attr.ino, dir, name);
}

static void do_rename(struct tree *t)
{
	static const unsigned all_flags[] = {
		0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE, RENAME_WHITEOUT
	};
	unsigned flags = all_flags[pick(t, ARRAY_SIZE(all_flags))];
	int from = pick_dir(t), to = pick(t, 3) ? pick_dir(t) : from;
	int name = pick(t, NAMES), new_name = pick(t, NAMES);
	int source = t->node[from].child[name], target = t->node[to].child[new_name];
	int want = want_rename(t, from, source, to, target, flags);

	if (new_node(t) < 0)
		return;
	assert_int_equal(fs_rename(t->pool.fs, &root_request, t->node[from].ino, name_of(name),
				   t->node[to].ino, name_of(new_name), flags),
			 want > 0 ? 0 : want);
	if (want)
		return;
	t->node[to].child[new_name] = source;
	moved(t, source, to);
	if (flags & RENAME_EXCHANGE) {
		t->node[from].child[name] = target;
		moved(t, target, from);
		return;
	}
	t->node[from].child[name] = -1;
	if (target >= 0)
		drop(t, target);
	if (flags & RENAME_WHITEOUT)
		add_whiteout(t, from, name);
}

/* ---- judging -------------------------------------------------------------- */

struct seen {
	struct tree *tree;
	const struct node *dir;
	unsigned names, dots;
	uint64_t last;
};

static int see(const struct fs_dirent *entry, void *arg)
{
	struct seen *seen = arg;
	int i;

	assert_true(entry->next > seen->last);
	seen->last = entry->next;
	if (entry->name[0] == '.') {
		seen->dots++;
		return 0;
	}
	i = entry->name[0] - 'a';
	assert_in_range(i, 0, NAMES - 1);
	assert_string_equal(entry->name, name_of(i));
	assert_true(seen->dir->child[i] >= 0);
	assert_int_equal(entry->ino, seen->tree->node[seen->dir->child[i]].ino);
	assert_int_equal(entry->type, IFTODT(seen->tree->node[seen->dir->child[i]].type));
	seen->names++;
	return 0;
}

static void judge_dir(struct tree *t, const struct node *dir)
{
	struct seen seen = { .tree = t, .dir = dir };
	unsigned subdirs = 0, names = 0;
	struct fs_attr attr;

	for (int i = 0; i < NAMES; i++) {
		int child = dir->child[i];
		int err = fs_lookup(t->pool.fs, dir->ino, name_of(i), &attr);

		assert_int_equal(err, child < 0 ? -ENOENT : 0);
		if (child < 0)
			continue;
		assert_int_equal(attr.ino, t->node[child].ino);
		names++;
		subdirs += t->node[child].type == S_IFDIR;
	}
	assert_int_equal(fs_readdir(t->pool.fs, dir->ino, 0, see, &seen), 0);
	assert_int_equal(seen.names, names);
	assert_int_equal(seen.dots, 2);
	assert_int_equal(fs_getattr(t->pool.fs, dir->ino, &attr), 0);
	assert_int_equal(attr.nlink, 2 + subdirs);
	assert_int_equal(fs_lookup(t->pool.fs, dir->ino, "..", &attr), 0);
	assert_int_equal(attr.ino, t->node[dir->parent].ino);
}

static void judge(struct tree *t)
{
	for (int i = 0; i < NODES; i++) {
		const struct node *n = &t->node[i];
		struct fs_attr attr;

		if (!n->used)
			continue;
		assert_int_equal(fs_getattr(t->pool.fs, n->ino, &attr), 0);
		assert_int_equal(attr.mode & S_IFMT, n->type);
		if (n->type == S_IFDIR)
			judge_dir(t, n);
		else
			assert_int_equal(attr.nlink, n->links);
	}
}

static void remove_all(struct tree *t, int dir)
{
	for (int i = 0; i < NAMES; i++) {
		int child = t->node[dir].child[i];

		if (child < 0)
			continue;
		if (t->node[child].type == S_IFDIR) {
			remove_all(t, child);
			assert_int_equal(fs_rmdir(t->pool.fs, NULL, t->node[dir].ino, name_of(i)),
					 0);
		} else {
			assert_int_equal(fs_unlink(t->pool.fs, NULL, t->node[dir].ino, name_of(i)),
					 0);
		}
		t->node[dir].child[i] = -1;
		drop(t, child);
	}
}

static void test_random(void **state)
{
	struct tree *t = calloc(1, sizeof(*t));
	struct fs_space before, after;

	t->rng = 88172645463325252u;
	pool_make(&t->pool, 16);
	fs_get_space(t->pool.fs, &before);
	t->node[0] = (struct node){ .used = true, .type = S_IFDIR, .links = 2, .ino = ROOT };
	memset(t->node[0].child, -1, sizeof(t->node[0].child));
	for (int i = 0; i < STEPS; i++) {
		static void (*const steps[])(struct tree *) = { do_make,   do_make,   do_link,
								do_remove, do_rename, do_rename,
								do_tmpfile };

		steps[pick(t, ARRAY_SIZE(steps))](t);
		if (i % 16 == 0)
			judge(t);
		if (i % 500 == 0)
			pool_remount(&t->pool);
	}
	judge(t);
	remove_all(t, 0);
	fs_get_space(t->pool.fs, &after);
	assert_int_equal(after.inodes, before.inodes);
	assert_int_equal(after.free_units * DXF_UNIT_BLOCKS + after.free_blocks,
			 before.free_units * DXF_UNIT_BLOCKS + before.free_blocks);
	pool_free(&t->pool);
	free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
