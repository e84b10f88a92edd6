/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A walk over the whole tree that reads everything, then a round of changes in
 * every directory that it found.
 */
#include "tests/fuzz/exercise.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/core/fs.h"

enum { ENTRIES_MAX = 1000, DIRECTORIES_MAX = 12, CHANGED_MAX = 3, BUFFER = 64 << 10 };

static const struct fs_request request = { .uid = 1000, .gid = 1000, .umask = 022 };

struct walk {
	struct fs *fs;
	uint64_t directory[DIRECTORIES_MAX]; /* found so far */
	unsigned directories, entries;
	int err; /* the first that means damage */
	char *buf;
};

static void note(struct walk *w, ssize_t err)
{
	if (!w->err && (err == -EUCLEAN || err == -EIO))
		w->err = (int)err;
}

/* ---- reading -------------------------------------------------------------- */

static void read_file(struct walk *w, uint64_t ino, const struct fs_attr *attr)
{
	const uint64_t places[] = { 0, attr->size / 2,
				    attr->size > BUFFER ? attr->size - BUFFER : 0,
				    UINT64_C(3) << 20 };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		struct fs_iomap iomap;

		note(w, fs_pread(w->fs, ino, w->buf, BUFFER, places[i]));
		note(w, fs_iomap(w->fs, ino, places[i], BUFFER, &iomap));
		note(w, fs_seek(w->fs, ino, places[i], i & 1 ? SEEK_HOLE : SEEK_DATA));
	}
}

static void read_attributes(struct walk *w, uint64_t ino)
{
	struct fs_xflags xflags;
	struct fs_statfs statfs;
	ssize_t length = fs_listxattr(w->fs, ino, w->buf, BUFFER / 2);

	note(w, length);
	for (ssize_t at = 0; at < length; at += (ssize_t)strlen(w->buf + at) + 1)
		note(w, fs_getxattr(w->fs, ino, w->buf + at, w->buf + BUFFER / 2, BUFFER / 2));
	note(w, fs_get_xflags(w->fs, ino, &xflags));
	note(w, fs_statfs(w->fs, ino, &statfs));
}

static void read_inode(struct walk *w, uint64_t ino)
{
	struct fs_attr attr;
	int err = fs_getattr(w->fs, ino, &attr);

	note(w, err);
	if (err)
		return;
	if (S_ISREG(attr.mode))
		read_file(w, ino, &attr);
	if (S_ISLNK(attr.mode))
		note(w, fs_readlink(w->fs, ino, w->buf, BUFFER));
	if (S_ISDIR(attr.mode) && w->directories < DIRECTORIES_MAX)
		w->directory[w->directories++] = ino;
	read_attributes(w, ino);
}

static int emit(const struct fs_dirent *entry, void *arg)
{
	struct walk *w = arg;

	if (++w->entries > ENTRIES_MAX)
		return 1;
	if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0)
		read_inode(w, entry->ino);
	return 0;
}

static void walk_tree(struct walk *w)
{
	read_inode(w, DXF_ROOT_INO);
	for (unsigned i = 0; i < w->directories; i++)
		note(w, fs_readdir(w->fs, w->directory[i], 0, emit, w));
}

/* ---- changing ------------------------------------------------------------- */

static void change_file(struct walk *w, uint64_t ino)
{
	struct fs_setattr set = { .valid = FS_SET_SIZE, .size = 10000 };
	struct fs_attr attr;

	note(w, fs_write(w->fs, NULL, ino, w->buf, 100, 0, 0));
	note(w, fs_write(w->fs, NULL, ino, w->buf, BUFFER, 5000, 0));
	note(w, fs_write(w->fs, NULL, ino, w->buf, 5000, UINT64_C(2) << 20, 0));
	note(w, fs_fallocate(w->fs, NULL, ino, 0, 0, UINT64_C(3) << 20));
	note(w, fs_fallocate(w->fs, NULL, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096,
			     65536));
	note(w, fs_fallocate(w->fs, NULL, ino, FALLOC_FL_COLLAPSE_RANGE, 8192, 4096));
	note(w, fs_setxattr(w->fs, NULL, ino, "user.fuzz", w->buf, 3000, 0));
	note(w, fs_setattr(w->fs, ino, &set, &attr));
	note(w, fs_removexattr(w->fs, NULL, ino, "user.fuzz"));
}

static void change_directory(struct walk *w, uint64_t dir)
{
	struct fs_attr attr;
	int err = fs_mknod(w->fs, &request, dir, "fuzz", S_IFREG | 0600, 0, &attr);

	note(w, err);
	if (!err && dir == DXF_ROOT_INO)
		change_file(w, attr.ino);
	if (!err)
		note(w, fs_link(w->fs, NULL, attr.ino, dir, "fuzz-link", &attr));
	note(w, fs_mkdir(w->fs, &request, dir, "fuzz-directory", 0700, &attr));
	note(w, fs_rename(w->fs, &request, dir, "fuzz", dir, "fuzz-link", 0));
	note(w, fs_rename(w->fs, &request, dir, "fuzz-link", dir, "fuzz-renamed", 0));
	if (fs_lookup(w->fs, dir, "fuzz-renamed", &attr) == 0) {
		note(w, fs_unlink(w->fs, NULL, dir, "fuzz-renamed"));
		fs_forget(w->fs, attr.ino);
	}
	if (fs_lookup(w->fs, dir, "fuzz-directory", &attr) == 0) {
		note(w, fs_rmdir(w->fs, NULL, dir, "fuzz-directory"));
		fs_forget(w->fs, attr.ino);
	}
}

static errint_t accept(void *arg, void *cookie, const struct fs_tail *tail)
{
	*(struct fs_tail *)cookie = *tail;
	return 0;
}

static void ignore(void *arg, void *cookie)
{
}

/* As a holder does, which believes what it is told: all of the tail. */
static void append_past(struct walk *w, uint64_t ino)
{
	const struct fs_tail_holder holder = { .give = accept, .take = ignore };
	const struct pmem *pm = fs_pmem(w->fs);
	struct fs_tail tail;
	struct fs_attr attr;
	int err = fs_getattr(w->fs, ino, &attr);

	fs_set_tail_holder(w->fs, &holder);
	if (!err)
		err = fs_tail_begin(w->fs, ino, attr.size, BUFFER, &tail);
	note(w, err);
	if (err)
		return;
	if (tail.last_page)
		pmem_zero_nt(pm, pmem_at(pm, tail.last_page + tail.size % DXF_BLOCK_SIZE),
			     DXF_BLOCK_SIZE - tail.size % DXF_BLOCK_SIZE);
	for (unsigned i = 0; i < tail.count; i++)
		pmem_zero_nt(pm, pmem_at(pm, tail.extent[i].device_offset), tail.extent[i].length);
	pmem_store64(pm, pmem_at(pm, tail.size_word), tail.end);
	note(w, fs_tail_end(w->fs, ino));
}

/* What was there before goes, too. */
static void empty_root(struct walk *w)
{
	static const char *const names[] = {
		"units",  "inline", "table",     "empty",      "direct",
		"sparse", "far",    "hole",      "short-link", "long-link",
		"fifo",   "device", "allocated", "hard-link",  "tail",
	};
	struct fs_attr attr;
	unsigned changed = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (fs_lookup(w->fs, DXF_ROOT_INO, names[i], &attr) != 0)
			continue;
		if (S_ISREG(attr.mode))
			append_past(w, attr.ino);
		if (S_ISREG(attr.mode) && changed++ < CHANGED_MAX)
			change_file(w, attr.ino);
		note(w, fs_unlink(w->fs, NULL, DXF_ROOT_INO, names[i]));
		fs_forget(w->fs, attr.ino);
	}
}

int exercise(const struct pmem *pm)
{
	struct fs_options options = { 0 };
	struct walk w = { 0 };
	int err = fs_mount(pm, &options, &w.fs, NULL);

	if (err)
		return err;
	w.buf = calloc(1, BUFFER);
	if (!w.buf)
		abort();
	walk_tree(&w);
	for (unsigned i = 0; i < w.directories; i++)
		change_directory(&w, w.directory[i]);
	empty_root(&w);
	fs_unmount(w.fs);
	free(w.buf);
	return w.err;
}
