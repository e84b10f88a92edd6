/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A daemon with views over a module of our own (module.h), that may die and be followed by the next
 * one; and programs that open its file, ask, and close it.
 */
#ifndef VIEWS_SCENE_H
#define VIEWS_SCENE_H

#include <linux/falloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/views/internal.h"
#include "module.h"

enum { UNIT = 2 << 20, PAGE = 4096, FILE_UNITS = 3, BACKINGS = 4096, GIB = 1 << 30 };
enum { POOL_BYTES = 64 << 20 };

/* ---- a daemon ---------------------------------------------------------------------------------- */

/* What outlives a process. */
struct scene {
	char path[32];
	struct view_table *table;
	struct vfs_open_table *opens;
	_Atomic uint64_t next_handle;
	uint64_t ino;
	/* the kernel's registrations: view numbers; 0: free */
	pthread_mutex_t lock;
	uint64_t backing[BACKINGS];
	unsigned backings;
	unsigned ended_stored; /* views that have ended, after something was stored */
	bool fails;            /* the next registration */
	/* a process */
	struct device *dev;
	int holder, session, session_err; /* holder: -1: none */
	char reason[160];                 /* of the error */
	struct fs *fs;
	struct vfs *vfs;
	struct views *views;
};

static const struct vfs_request no_request;

static _Atomic unsigned forgotten; /* inodes whose attributes the kernel was made to forget */

static inline void count_forgotten(void *arg, uint64_t ino, bool data)
{
	atomic_fetch_add(&forgotten, 1);
}

static inline bool reclaim_nothing(void *arg)
{
	return false;
}

static inline int register_backing(void *arg, int fd)
{
	struct scene *s = arg;
	uint64_t number = fake_register(fd, s->fails);
	int backing = 0;

	pthread_mutex_lock(&s->lock);
	if (!s->fails) {
		assert_true(number && s->backings < BACKINGS - 1);
		backing = (int)++s->backings;
		s->backing[backing] = number;
	}
	s->fails = false;
	pthread_mutex_unlock(&s->lock);
	return backing;
}

static inline void ended(void *arg, uint64_t ino, int backing, bool stored)
{
	struct scene *s = arg;
	uint64_t number;

	pthread_mutex_lock(&s->lock);
	number = s->backing[backing];
	s->backing[backing] = 0;
	s->ended_stored += stored;
	pthread_mutex_unlock(&s->lock);
	assert_true(number);
	fake_use(number, false);
}

static inline unsigned registrations(struct scene *s)
{
	unsigned count = 0;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i <= s->backings; i++)
		count += s->backing[i] != 0;
	pthread_mutex_unlock(&s->lock);
	return count;
}

static inline void open_pool(struct scene *s, bool format)
{
	const struct fs_format how = { .hash_seed = 7, .dax = true };
	struct fs_options options = { .keep_orphans = !format };
	struct vfs_config vfs = {
		.life = 1,
		.forget = count_forgotten,
		.reclaim = reclaim_nothing,
		.next_handle = &s->next_handle,
		.opens = s->opens,
	};
	struct fs_busy *busy = NULL;
	unsigned count = 0;
	struct device_error error;
	struct pmem *pm;

	assert_int_equal(device_open(s->path, DEVICE_WRITE, &s->dev, &error), 0);
	assert_int_equal(device_map(s->dev, &pm, &error), 0);
	/* before anybody looks at the pool: files may be growing */
	s->session_err = session_begin(s->dev, s->table, s->holder, &s->session, s->reason,
				       sizeof(s->reason));
	if (format)
		assert_int_equal(fs_mkfs(pm, &how), 0);
	assert_int_equal(view_table_busy(s->table, &busy, &count), 0);
	options.busy = busy;
	options.busy_count = count;
	assert_int_equal(fs_mount(pm, &options, &s->fs, NULL), 0);
	free(busy);
	vfs.fs = s->fs;
	assert_int_equal(vfs_open(&vfs, &s->vfs), 0);
	vfs_allow_auto(s->vfs);
}

/* As far as it comes. */
static inline errint_t begin_views(struct scene *s)
{
	const struct views_config config = { s->vfs, s->dev, s, ended };
	int err = s->session_err;

	if (!err)
		err = views_start(&config, s->table, s->session, &s->views);
	if (err)
		return err;
	s->views->settle_ms = 20;
	assert_int_equal(views_serve(s->views), 0);
	views_begin(s->views);
	return 0;
}

static inline void close_pool(struct scene *s)
{
	vfs_close(s->vfs);
	fs_unmount(s->fs);
	device_close(s->dev);
}

static inline void end_process(struct scene *s, bool unmounted)
{
	views_stop(s->views, unmounted);
	s->views = NULL;
	fake_process_ends(s->holder < 0);
	close_pool(s);
}

/* It has no time to put anything away: what it does to the pool and to views when it ends is undone. */
static inline void kill_process(struct scene *s)
{
	char *memory = malloc(POOL_BYTES);
	struct fake_view *view = malloc(sizeof(fake.view));

	pthread_mutex_lock(&fake.lock);
	memcpy(memory, fake.memory, POOL_BYTES);
	memcpy(view, fake.view, sizeof(fake.view));
	pthread_mutex_unlock(&fake.lock);
	end_process(s, false);
	memcpy(fake.memory, memory, POOL_BYTES);
	memcpy(fake.view, view, sizeof(fake.view));
	free(memory);
	free(view);
}

/* Dies, and the next one takes over. */
static inline void replace_process(struct scene *s)
{
	end_process(s, false);
	open_pool(s, false);
	assert_int_equal(begin_views(s), 0);
}

static inline uint64_t make_file(struct scene *s, const char *name)
{
	static const struct fs_request root = { .uid = 0 };
	char *bytes = malloc(FILE_UNITS * UNIT);
	struct fs_attr attr;

	memset(bytes, 'x', FILE_UNITS * UNIT);
	assert_int_equal(fs_mknod(s->fs, &root, DXF_ROOT_INO, name, 0100644, 0, &attr), 0);
	assert_int_equal(fs_write(s->fs, NULL, attr.ino, bytes, FILE_UNITS * UNIT, 0, 0),
			 FILE_UNITS * UNIT);
	free(bytes);
	return attr.ino;
}

static inline int scene_setup(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));
	int fd;

	strcpy(s->path, "/dev/shm/daxfuse-unit-XXXXXX");
	fd = mkstemp(s->path);
	assert_true(fd >= 0 && !ftruncate(fd, POOL_BYTES));
	fake.memory = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(fake.memory != MAP_FAILED);
	close(fd);
	s->table = calloc(1, sizeof(*s->table));
	s->opens = calloc(1, sizeof(*s->opens));
	pthread_mutex_init(&s->lock, NULL);
	s->holder = eventfd(0, EFD_CLOEXEC);
	open_pool(s, true);
	assert_int_equal(begin_views(s), 0);
	s->ino = make_file(s, "file");
	*state = s;
	return 0;
}

static inline unsigned records(const struct scene *s)
{
	unsigned count = 0;

	for (uint32_t i = 0; i < VIEW_RECORDS; i++)
		count += s->table->record[i].ino != 0;
	for (uint32_t i = 0; i < VIEW_BUSY_RECORDS; i++)
		count += s->table->busy[i].length != 0;
	return count;
}

/* Of all that there was nothing is left. */
static inline int scene_teardown(void **state)
{
	struct scene *s = *state;

	fake_fail(0, 0);
	fake_busy(0, 0);
	end_process(s, true);
	assert_int_equal(registrations(s), 0);
	assert_int_equal(fake_views(), 0);
	unlink(s->path);
	munmap(fake.memory, POOL_BYTES);
	free(s->table);
	free(s->opens);
	if (s->holder >= 0)
		close(s->holder);
	free(s);
	fake.exists = fake.held = false;
	memset(fake.question, 0, sizeof(fake.question));
	return 0;
}

/* ---- programs ----------------------------------------------------------------------------------- */

struct program {
	struct vfs_opened opened;
	struct views *views;
	uint64_t view; /* 0: it has none */
	enum views_open how;
};

static inline struct program program_open(struct scene *s)
{
	struct program p = { .views = s->views, .how = VIEWS_OPEN_PLAIN };
	int backing;

	assert_int_equal(vfs_open_inode(s->vfs, &no_request, s->ino, O_RDWR, false, &p.opened), 0);
	backing = views_enter(s->views, &p.opened, O_RDWR, register_backing, s);
	assert_true(backing >= 0);
	if (backing) {
		pthread_mutex_lock(&s->lock);
		p.view = s->backing[backing];
		pthread_mutex_unlock(&s->lock);
		p.how = VIEWS_OPEN_VIEWED;
		fake_use(p.view, true);
	}
	return p;
}

static inline void program_close(struct scene *s, const struct program *p)
{
	if (p->view)
		fake_use(p->view, false);
	vfs_release(s->vfs, s->ino, p->opened.handle);
	views_leave(s->views, s->ino, p->opened.handle, p->how);
}

static inline bool has_ended(struct scene *s)
{
	return atomic_load(&s->views->count) == 0;
}

/* States that other threads bring about; a test that waits for ever is ended from outside. */
#define WAIT_FOR(condition)           \
	do {                          \
		while (!(condition))  \
			usleep(1000); \
	} while (0)

static inline errint_t cut(struct scene *s, uint64_t size)
{
	const struct fs_setattr set = { .valid = FS_SET_SIZE, .size = size };
	struct fs_attr attr;

	return vfs_setattr(s->vfs, &no_request, s->ino, &set, &attr);
}

static inline uint64_t device_of(struct scene *s, uint64_t offset)
{
	struct fs_iomap extent;

	assert_int_equal(fs_iomap(s->fs, s->ino, offset, PAGE, &extent), 0);
	return extent.kind == FS_IOMAP_HOLE ? 0 : extent.device_offset;
}

static inline errint_t write_at(struct scene *s, uint64_t offset, size_t length)
{
	const struct vfs_open_file file = { .ino = s->ino, .may = VFS_MAY_WRITE };
	char *bytes = calloc(1, length);
	ssize_t n = vfs_write(s->vfs, &no_request, &file, bytes, length, offset, 0);

	free(bytes);
	return n < 0 ? (int)n : 0;
}

static inline uint64_t size_of(struct scene *s)
{
	struct fs_attr attr;

	assert_int_equal(fs_getattr(s->fs, s->ino, &attr), 0);
	return attr.size;
}

static inline uint64_t busy_blocks(struct scene *s)
{
	struct fs_space space;

	fs_get_space(s->fs, &space);
	return space.busy_blocks;
}

#define scene_test(test) cmocka_unit_test_setup_teardown(test, scene_setup, scene_teardown)

#endif
