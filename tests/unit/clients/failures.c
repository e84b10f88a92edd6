/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operations on a mapped file that fail: each of them, with core failing at each of its steps,
 * before and after the step was made. What of it was made shall be as after success, and all
 * else as before: the file's pages, dirty tags, pins, what is held, what an fsync flushes.
 * Never a third thing.
 *
 * Core's functions are wrapped when this is linked: those that direct calls, and the
 * beginning and end of each transaction.
 */
#include <linux/falloc.h>

#include "pool.h"

#include "daxfuse/core/internal.h"
#include "daxfuse/map/map.h"

enum { UNIT = 2 << 20, PAGE = 4096, FILE_SIZE = 3 * UNIT, PAGES = FILE_SIZE / PAGE };

/* ---- failing ------------------------------------------------------------------------ */

/* The call of this number fails, counted from 1 over all wrapped functions; 0: none does. */
static struct {
	unsigned at, calls, step;
	int err;
	bool after; /* it was made all the same */
} fault;

static bool fails_before(bool *ret_after)
{
	bool now = fault.at && ++fault.calls == fault.at;

	*ret_after = now && fault.after;
	return now && !fault.after;
}

#define WRAP(type, name, parameters, arguments)    \
	type __real_##name parameters;             \
	type __wrap_##name parameters;             \
	type __wrap_##name parameters              \
	{                                          \
		bool after;                        \
		type result;                       \
                                                   \
		if (fails_before(&after))          \
			return fault.err;          \
		result = __real_##name arguments;  \
		return after ? fault.err : result; \
	}

WRAP(int, fs_setattr,
     (struct fs * fs, uint64_t ino, const struct fs_setattr *set, struct fs_attr *attr),
     (fs, ino, set, attr))
WRAP(int, fs_fallocate,
     (struct fs * fs, const struct fs_request *request, uint64_t ino, int mode, uint64_t offset,
      uint64_t length),
     (fs, request, ino, mode, offset, length))
WRAP(ssize_t, fs_write,
     (struct fs * fs, const struct fs_request *request, uint64_t ino, const void *buf,
      size_t length, uint64_t offset, unsigned flags),
     (fs, request, ino, buf, length, offset, flags))
WRAP(ssize_t, fs_copy_range,
     (struct fs * fs, const struct fs_request *request, uint64_t in, uint64_t in_offset,
      uint64_t out, uint64_t out_offset, size_t length),
     (fs, request, in, in_offset, out, out_offset, length))
WRAP(int, fs_map_promote, (struct fs * fs, uint64_t ino, uint64_t offset), (fs, ino, offset))
WRAP(int, fs_map_zero, (struct fs * fs, uint64_t ino, uint64_t offset, uint64_t length),
     (fs, ino, offset, length))
WRAP(int, fs_map_grown, (struct fs * fs, uint64_t ino, uint64_t old_size), (fs, ino, old_size))
WRAP(int, fs_set_xflags, (struct fs * fs, uint64_t ino, const struct fs_xflags *xflags),
     (fs, ino, xflags))

/* A hold that fails holds nothing. */
int __real_fs_busy_insert(struct fs *fs, uint64_t offset, uint64_t length);
int __wrap_fs_busy_insert(struct fs *fs, uint64_t offset, uint64_t length);
int __wrap_fs_busy_insert(struct fs *fs, uint64_t offset, uint64_t length)
{
	bool after;

	return fails_before(&after) || after ? fault.err
					     : __real_fs_busy_insert(fs, offset, length);
}

/* A transaction either is or is not: it fails before it begins, or instead of its end. */
int __real_edit_begin(struct fs *fs, struct inode *inode, struct tx **tx, struct dxf_inode **di);
int __wrap_edit_begin(struct fs *fs, struct inode *inode, struct tx **tx, struct dxf_inode **di);
int __wrap_edit_begin(struct fs *fs, struct inode *inode, struct tx **tx, struct dxf_inode **di)
{
	bool after;

	return fails_before(&after) || after ? fault.err : __real_edit_begin(fs, inode, tx, di);
}

int __real_edit_end(struct tx *tx, int err);
int __wrap_edit_end(struct tx *tx, int err);
int __wrap_edit_end(struct tx *tx, int err)
{
	bool after;

	return __real_edit_end(tx, fails_before(&after) || after ? fault.err : err);
}

/* ---- what there is ------------------------------------------------------------------ */

/* The file: two units and one in blocks. A program that answers has the first unit and stores to
 * it, one that does not has the second one; a part of the third is pinned for long. */
struct scene {
	struct pool *pool;
	uint64_t ino;
	struct vfs_open_file silent, pinner;
	uint64_t device[PAGES]; /* where each page was at the beginning */
};

struct page {
	uint64_t device; /* 0: a hole */
	bool dirty, held;
};

static void write_pages(struct scene *s, unsigned first, unsigned count)
{
	char *bytes = malloc((size_t)count * PAGE);

	memset(bytes, 'x', (size_t)count * PAGE);
	assert_int_equal(fs_write(s->pool->fs, NULL, s->ino, bytes, (size_t)count * PAGE,
				  (uint64_t)first * PAGE, 0),
			 count * PAGE);
	free(bytes);
}

static void map_pages(struct scene *s, const struct vfs_open_file *file, unsigned first,
		      unsigned count)
{
	struct dxf_ioc_map *map = calloc(1, sizeof(*map));

	*map = (struct dxf_ioc_map){
		.session = 1,
		.cookie = file->handle,
		.offset = (uint64_t)first * PAGE,
		.length = (uint64_t)count * PAGE,
		.end = UINT64_MAX,
		.access = DXF_ACCESS_WRITE,
		.pages = count < 512,
	};
	assert_int_equal(clients_map(s->pool->clients, file, map), 0);
	free(map);
}

static uint64_t device_of(struct scene *s, unsigned page)
{
	struct fs_iomap map;

	assert_int_equal(fs_iomap(s->pool->fs, s->ino, (uint64_t)page * PAGE, PAGE, &map), 0);
	return map.kind == FS_IOMAP_HOLE ? 0 : map.device_offset;
}

static struct scene *scene_new(void)
{
	struct scene *s = calloc(1, sizeof(*s));
	struct vfs_open_file mapper;
	struct fs_setattr size = { .valid = FS_SET_SIZE, .size = FILE_SIZE };
	struct dxf_ioc_pin pin = { (uint64_t)(2 * 512 + 8) * PAGE, 8 * PAGE };

	s->pool = pool_new();
	map_engine_set_answer_ms(s->pool->vfs->engine, 1);
	s->ino = make_file(s->pool, "f", 0);
	write_pages(s, 0, 1024);
	assert_int_equal(fs_setattr(s->pool->fs, s->ino, &size, NULL), 0);
	for (unsigned i = 0; i < 512; i += 16) /* too few to be gathered */
		assert_int_equal(fs_fallocate(s->pool->fs, NULL, s->ino, 0,
					      (uint64_t)(1024 + i) * PAGE, PAGE),
				 0);
	mapper = open_file(s->pool, s->ino);
	map_pages(s, &mapper, 0, 512);
	clients_unmap(s->pool->clients, &mapper, &(struct dxf_ioc_unmap){ 0, UNIT, UINT64_MAX });
	s->silent = open_file(s->pool, s->ino);
	map_pages(s, &s->silent, 512, 512);
	map_pages(s, &s->silent, 1024 + 20, 4);
	s->pinner = open_file(s->pool, s->ino);
	assert_int_equal(clients_pin(s->pool->clients, &no_request, &s->pinner, &pin), 0);
	for (unsigned i = 0; i < PAGES; i++)
		s->device[i] = device_of(s, i);
	return s;
}

static void scene_free(struct scene *s)
{
	release(s->pool, s->silent.handle);
	release(s->pool, s->pinner.handle);
	fault.at = 0;
	pool_teardown((void **)&s->pool);
	free(s);
}

static bool is_pinned(struct scene *s, const struct vfs_open_file *file, unsigned page)
{
	struct holder *h = holder_of_handle(s->pool->clients, file->handle);
	bool pinned;

	for (struct holder *at = s->pool->clients->holders[file->handle % HOLDER_BUCKETS]; !h && at;
	     at = at->next) {
		if (at->handle == file->handle) {
			at->refs++;
			h = at;
		}
	}
	if (!h)
		return false;
	pinned = map_view_pins(h->view, (uint64_t)page * PAGE, PAGE);
	holder_put(h);
	return pinned;
}

static void look(struct scene *s, struct page *pages)
{
	struct vfs_file *file = vfs_file_find(s->pool->vfs, s->ino);
	struct fs_attr attr;

	assert_int_equal(fs_getattr(s->pool->fs, s->ino, &attr), 0);
	for (unsigned i = 0; i < PAGES; i++)
		pages[i] = (struct page){
			.device = (uint64_t)i * PAGE < attr.size ? device_of(s, i) : 0,
			.dirty = map_is_dirty(file->map, (uint64_t)i * PAGE, PAGE),
			.held = is_pinned(s, &s->silent, i) || is_pinned(s, &s->pinner, i),
		};
	vfs_file_put(file);
}

/* ---- what is tried -------------------------------------------------------------------- */

static int truncate_to(struct scene *s, uint64_t size)
{
	struct fs_setattr set = { .valid = FS_SET_SIZE, .size = size };

	return vfs_setattr(s->pool->vfs, &no_request, s->ino, &set, NULL);
}

static int allocate(struct scene *s, int mode, uint64_t offset, uint64_t length)
{
	return vfs_fallocate(s->pool->vfs, &no_request, s->ino, mode, offset, length);
}

static int cut_off(struct scene *s)
{
	return truncate_to(s, 5 * PAGE + 7);
}
static int cut_in_unit(struct scene *s)
{
	return truncate_to(s, UNIT + 9 * PAGE);
}
static int cut_all(struct scene *s)
{
	return truncate_to(s, 0);
}
static int extend(struct scene *s)
{
	return truncate_to(s, FILE_SIZE + UNIT / 2);
}

static int punch_all(struct scene *s)
{
	return allocate(s, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, FILE_SIZE);
}

static int punch_some(struct scene *s)
{
	return allocate(s, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * PAGE + 1,
			2 * UNIT + 17 * PAGE);
}

static int collapse(struct scene *s)
{
	return allocate(s, FALLOC_FL_COLLAPSE_RANGE, PAGE, PAGE);
}
static int insert(struct scene *s)
{
	return allocate(s, FALLOC_FL_INSERT_RANGE, PAGE, PAGE);
}
static int insert_unaligned(struct scene *s)
{
	return allocate(s, FALLOC_FL_INSERT_RANGE, 1, PAGE);
}
static int reserve(struct scene *s)
{
	return allocate(s, 0, 0, FILE_SIZE + UNIT / 2);
}
static int zero(struct scene *s)
{
	return allocate(s, FALLOC_FL_ZERO_RANGE, 100, 2 * UNIT);
}

static int write_on(struct scene *s)
{
	char bytes[3 * PAGE] = "new";
	ssize_t n = vfs_write(s->pool->vfs, &no_request, &(struct vfs_open_file){ .ino = s->ino },
			      bytes, sizeof(bytes), FILE_SIZE - PAGE, 0);

	return n < 0 ? (int)n : 0;
}

static int copy_on(struct scene *s)
{
	ssize_t n = vfs_copy_range(s->pool->vfs, &no_request, s->ino, 0,
				   &(struct vfs_open_file){ .ino = s->ino }, FILE_SIZE - PAGE,
				   3 * PAGE);

	return n < 0 ? (int)n : 0;
}

static int promote_first(struct scene *s)
{
	struct dxf_ioc_promote promote = { 0, FILE_SIZE };

	return clients_promote(s->pool->clients, &s->pinner, &promote);
}

static int set_nodump(struct scene *s)
{
	struct fs_xflags xflags = { .flags = DXF_FLAG_DAX | DXF_FLAG_NODUMP };

	return vfs_set_xflags(s->pool->vfs, &no_request, s->ino, &xflags);
}

struct attempt {
	const char *name;
	int (*run)(struct scene *s);
	bool refused; /* always, before anything is done */
};

static const struct attempt attempts[] = {
	{ "cut_off", cut_off, false },
	{ "cut_in_unit", cut_in_unit, false },
	{ "cut_all", cut_all, false },
	{ "extend", extend, false },
	{ "punch_all", punch_all, false },
	{ "punch_some", punch_some, false },
	{ "collapse", collapse, true }, /* somebody does not let go */
	{ "insert", insert, true },
	{ "insert_unaligned", insert_unaligned, true },
	{ "reserve", reserve, false },
	{ "zero", zero, false },
	{ "write_on", write_on, false },
	{ "copy_on", copy_on, false },
	{ "promote_first", promote_first, true },
	{ "set_nodump", set_nodump, false },
};

/* ---- the rule ------------------------------------------------------------------------- */

static bool is_same(const struct page *a, const struct page *b)
{
	return !a->device == !b->device && a->dirty == b->dirty && a->held == b->held;
}

/* Whatever is held on the device ends with its holders: all space is there again, or in the
 * file. */
static void check_space(const struct attempt *attempt, struct scene *s, uint64_t free_before)
{
	struct fs_setattr none = { .valid = FS_SET_SIZE, .size = 0 };
	struct fs_space space;

	release(s->pool, s->silent.handle);
	release(s->pool, s->pinner.handle);
	fault.at = 0;
	assert_int_equal(vfs_setattr(s->pool->vfs, &no_request, s->ino, &none, NULL), 0);
	fs_get_space(s->pool->fs, &space);
	if (space.free_units * 512 + space.free_blocks != free_before)
		fail_msg("%s, step %u %s: %d blocks are lost", attempt->name, fault.step,
			 fault.after ? "after" : "before",
			 (int)(free_before - space.free_units * 512 - space.free_blocks));
}

static uint64_t space_of_empty_pool(void)
{
	struct pool *pool = pool_new();
	struct fs_space space;

	make_file(pool, "f", 0);
	fs_get_space(pool->fs, &space);
	pool_teardown((void **)&pool);
	return space.free_units * 512 + space.free_blocks;
}

/* What is dirty still, fsync flushes; a page that was dirty, has stayed where it is and is clean
 * now was flushed. */
static void check_tags(struct scene *s, const struct page *before, const struct page *now)
{
	uint64_t flushed = map_engine_count(s->pool->vfs->engine, MAP_COUNT_FLUSHED);

	for (unsigned i = 0; i < PAGES; i++) {
		if (before[i].dirty && !now[i].dirty && now[i].device == before[i].device)
			assert_true(flushed > 0);
	}
}

static void check_pages(const struct attempt *attempt, const struct page *before,
			const struct page *made, const struct page *now)
{
	for (unsigned i = 0; i < PAGES; i++) {
		bool moved = now[i].device != before[i].device;

		if (is_same(&now[i], &before[i]) || is_same(&now[i], &made[i]))
			continue;
		/* flushed rather than kept is as good */
		if (!moved && before[i].dirty && !now[i].dirty && before[i].held == now[i].held)
			continue;
		fail_msg("%s, step %u %s: page %u: device %d %d %d, dirty %d %d %d, held %d %d %d",
			 attempt->name, fault.step, fault.after ? "after" : "before", i,
			 before[i].device != 0, made[i].device != 0, now[i].device != 0,
			 before[i].dirty, made[i].dirty, now[i].dirty, before[i].held, made[i].held,
			 now[i].held);
	}
}

/* Whether there was a step of that number. */
static bool try(const struct attempt *attempt, unsigned at, bool after, int err, uint64_t space)
{
	static struct page before[PAGES], made[PAGES], now[PAGES];
	struct scene *s = scene_new();
	unsigned calls;
	int got;

	look(s, before);
	fault.at = 0;
	got = attempt->run(s);
	if (attempt->refused != (got < 0))
		fail_msg("%s: %d", attempt->name, got);
	look(s, made);
	scene_free(s);

	s = scene_new();
	fault.at = fault.step = at;
	fault.calls = 0;
	fault.after = after;
	fault.err = err;
	got = attempt->run(s);
	calls = fault.calls;
	look(s, now);
	if (calls >= at) {
		check_pages(attempt, before, attempt->refused ? before : made, now);
		check_tags(s, before, now);
	}
	check_space(attempt, s, space);
	scene_free(s);
	return calls >= at;
}

static void test_each_step(void **state)
{
	static const int errors[] = { -ENOSPC, -EIO };
	uint64_t space = space_of_empty_pool();

	for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
		for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
			for (unsigned at = 1; try(&attempts[i], at, false, errors[e], space) &&
					      try(&attempts[i], at, true, errors[e], space);
			     at++)
				;
		}
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
