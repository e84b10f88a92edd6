/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The room views over a module of our own (module.h): a file is mapped, changed and closed, with each
 * call of the module failing once; a process dies and the next one goes on, failing likewise; many
 * threads ask while their file is cut and devices use its memory.
 */
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
	bool fails; /* the next registration */
	/* a process */
	struct device *dev;
	struct fs *fs;
	struct vfs *vfs;
	struct views *views;
};

static const struct vfs_request no_request;

static void ignore_forget(void *arg, uint64_t ino, bool data)
{
}

static bool reclaim_nothing(void *arg)
{
	return false;
}

static int register_backing(void *arg, int fd)
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

static void ended(void *arg, uint64_t ino, int backing)
{
	struct scene *s = arg;
	uint64_t number;

	pthread_mutex_lock(&s->lock);
	number = s->backing[backing];
	s->backing[backing] = 0;
	pthread_mutex_unlock(&s->lock);
	assert_true(number);
	fake_use(number, false);
}

static unsigned registrations(struct scene *s)
{
	unsigned count = 0;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i <= s->backings; i++)
		count += s->backing[i] != 0;
	pthread_mutex_unlock(&s->lock);
	return count;
}

static void open_pool(struct scene *s, bool format)
{
	const struct fs_format how = { .hash_seed = 7, .dax = true };
	struct fs_options options = { .keep_orphans = !format };
	struct vfs_config vfs = {
		.life = 1,
		.forget = ignore_forget,
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
static errint_t begin_views(struct scene *s)
{
	const struct views_config config = { s->vfs, s->dev, s, ended };
	char reason[160];
	int session, err;

	err = session_begin(s->dev, s->table, &session, reason, sizeof(reason));
	if (!err)
		err = views_start(&config, s->table, session, &s->views);
	if (err)
		return err;
	s->views->settle_ms = 20;
	assert_int_equal(views_serve(s->views), 0);
	views_begin(s->views);
	return 0;
}

static void close_pool(struct scene *s)
{
	vfs_close(s->vfs);
	fs_unmount(s->fs);
	device_close(s->dev);
}

static void end_process(struct scene *s, bool unmounted)
{
	views_stop(s->views, unmounted);
	s->views = NULL;
	fake_process_ends();
	close_pool(s);
}

/* Dies, and the next one takes over. */
static void replace_process(struct scene *s)
{
	end_process(s, false);
	open_pool(s, false);
	assert_int_equal(begin_views(s), 0);
}

static uint64_t make_file(struct scene *s, const char *name)
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

static int scene_setup(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));
	int fd;

	strcpy(s->path, "/dev/shm/daxfuse-unit-XXXXXX");
	fd = mkstemp(s->path);
	assert_true(fd >= 0 && !ftruncate(fd, INT64_C(64) << 20));
	close(fd);
	s->table = calloc(1, sizeof(*s->table));
	s->opens = calloc(1, sizeof(*s->opens));
	pthread_mutex_init(&s->lock, NULL);
	open_pool(s, true);
	assert_int_equal(begin_views(s), 0);
	s->ino = make_file(s, "file");
	*state = s;
	return 0;
}

static unsigned records(const struct scene *s)
{
	unsigned count = 0;

	for (uint32_t i = 0; i < VIEW_RECORDS; i++)
		count += s->table->record[i].ino != 0;
	for (uint32_t i = 0; i < VIEW_BUSY_RECORDS; i++)
		count += s->table->busy[i].length != 0;
	return count;
}

/* Of all that there was nothing is left. */
static int scene_teardown(void **state)
{
	struct scene *s = *state;

	fake_fail(0, 0);
	fake_busy(0, 0);
	end_process(s, true);
	assert_int_equal(registrations(s), 0);
	assert_int_equal(fake_views(), 0);
	unlink(s->path);
	free(s->table);
	free(s->opens);
	free(s);
	fake.exists = false;
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

static struct program program_open(struct scene *s)
{
	struct program p = { .views = s->views, .how = VIEWS_OPEN_PLAIN };
	int backing;

	assert_int_equal(vfs_open_inode(s->vfs, &no_request, s->ino, O_RDWR, false, &p.opened), 0);
	backing = views_enter(s->views, &p.opened, true, register_backing, s);
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

static void program_close(struct scene *s, const struct program *p)
{
	if (p->view)
		fake_use(p->view, false);
	vfs_release(s->vfs, s->ino, p->opened.handle);
	views_leave(s->views, s->ino, p->opened.handle, p->how);
}

static bool has_ended(struct scene *s)
{
	return atomic_load(&s->views->count) == 0;
}

/* States that other threads bring about; a test that waits for ever is ended from outside. */
#define WAIT_FOR(condition)           \
	do {                          \
		while (!(condition))  \
			usleep(1000); \
	} while (0)

static errint_t cut(struct scene *s, uint64_t size)
{
	const struct fs_setattr set = { .valid = FS_SET_SIZE, .size = size };
	struct fs_attr attr;

	return vfs_setattr(s->vfs, &no_request, s->ino, &set, &attr);
}

static uint64_t device_of(struct scene *s, uint64_t offset)
{
	struct fs_iomap extent;

	assert_int_equal(fs_iomap(s->fs, s->ino, offset, PAGE, &extent), 0);
	return extent.kind == FS_IOMAP_HOLE ? 0 : extent.device_offset;
}

/* ---- tests -------------------------------------------------------------------------------------- */

static void a_file_is_mapped(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);

	assert_true(p.view != 0);
	assert_int_equal(records(s), 1);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, 0, UNIT), 0);
	assert_int_equal(fake_page(p.view, PAGE), device_of(s, PAGE) | FAKE_PIECE);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, 0, UNIT), 0);
	assert_int_equal(fake_page(p.view, PAGE), device_of(s, PAGE) | FAKE_PIECE | FAKE_WRITES);
	assert_int_equal(vfs_fsync(s->vfs, s->ino), 0);
	assert_int_equal(fake_page(p.view, PAGE), FAKE_UNKNOWN);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	assert_int_equal(cut(s, PAGE), 0);
	assert_int_equal(fake_page(p.view, UNIT), FAKE_UNKNOWN);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), -ENXIO);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_EXTEND, UNIT, UNIT), -EIO);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
	assert_int_equal(records(s), 0);
}

/* All that a mount does with a view. Errors are what programs get; nothing may be left. */
static void do_all(struct scene *s)
{
	struct program p = program_open(s), again = program_open(s);

	assert_int_equal(p.view, again.view);
	if (p.view) {
		ask(p.view, DAXVIEW_ASK_READ, 0, UNIT);
		ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT);
	}
	vfs_fsync(s->vfs, s->ino);
	if (p.view)
		ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT);
	assert_int_equal(cut(s, PAGE), 0);
	assert_int_equal(cut(s, FILE_UNITS * UNIT), 0);
	if (p.view)
		ask(p.view, DAXVIEW_ASK_WRITE, 2 * UNIT, UNIT);
	program_close(s, &p);
	program_close(s, &again);
}

/* An answer that fails would leave its asker waiting, which no daemon can help. */
static bool all_calls_were_made(unsigned at)
{
	bool made;

	pthread_mutex_lock(&fake.lock);
	made = fake.calls < at;
	pthread_mutex_unlock(&fake.lock);
	return made;
}

static void each_call_fails(void **state)
{
	static const int errors[] = { ENOMEM, EIO };
	struct scene *s = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
		for (unsigned at = 1;; at++) {
			bool all;

			fake_fail(at, errors[i]);
			do_all(s);
			all = all_calls_were_made(at);
			fake_fail(0, 0);
			viewed_check_all(s->views);
			WAIT_FOR(has_ended(s));
			assert_int_equal(registrations(s), 0);
			assert_int_equal(records(s), 0);
			if (all)
				break;
		}
	}
	do_all(s);
	WAIT_FOR(has_ended(s));
}

static void a_registration_fails(void **state)
{
	struct scene *s = *state;
	struct program p, later;

	s->fails = true;
	p = program_open(s);
	assert_int_equal(p.view, 0);
	assert_int_equal(fake_views(), 0);
	later = program_open(s);
	assert_int_equal(later.view, 0); /* beside one without */
	program_close(s, &p);
	program_close(s, &later);
	p = program_open(s);
	assert_true(p.view != 0);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* Full, with records of other inodes. */
static void the_table_is_full(void **state)
{
	struct scene *s = *state;
	struct view_slots saved = s->views->view_slots;
	uint32_t used = s->table->used;
	struct program p;

	s->views->view_slots.count = 0;
	s->table->used = VIEW_RECORDS;
	p = program_open(s);
	assert_int_equal(p.view, 0);
	assert_int_equal(registrations(s), 0);
	program_close(s, &p);
	s->table->used = used;
	s->views->view_slots = saved;
}

/* Its mapping is all that is left of the file that it has had open. */
static void a_view_outlives_the_process(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s), other;
	uint64_t view = p.view;

	assert_int_equal(ask(view, DAXVIEW_ASK_WRITE, 0, UNIT), 0);
	replace_process(s);
	assert_int_equal(fake_page(view, 0), FAKE_UNKNOWN);
	assert_int_equal(ask(view, DAXVIEW_ASK_WRITE, 0, UNIT), 0);
	assert_int_equal(fake_page(view, 0), device_of(s, 0) | FAKE_PIECE | FAKE_WRITES);
	other = program_open(s);
	assert_int_equal(other.view, view);
	/* of an earlier life: not counted, and so not counted down */
	program_close(s, &p);
	replace_process(s);
	assert_int_equal(atomic_load(&s->views->count), 1);
	assert_int_equal(ask(view, DAXVIEW_ASK_READ, 0, UNIT), 0);
	program_close(s, &other);
	WAIT_FOR(has_ended(s));
	assert_int_equal(records(s), 0);
}

/* The kernel has it open without a view, though this process does not know by whom. */
static void an_open_without_a_view_outlives_the_process(void **state)
{
	struct scene *s = *state;
	struct program p, other;

	s->fails = true;
	p = program_open(s);
	replace_process(s);
	other = program_open(s);
	assert_int_equal(other.view, 0);
	program_close(s, &p);
	program_close(s, &other);
	other = program_open(s);
	assert_true(other.view != 0);
	program_close(s, &other);
	WAIT_FOR(has_ended(s));
}

/* Each call that the next process makes fails; it ends, and the one after it goes on. */
static void the_next_process_fails(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	bool all = false;

	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, 0, UNIT), 0);
	fake_busy(device_of(s, 0), device_of(s, 0) + PAGE);
	for (unsigned at = 1; !all; at++) {
		end_process(s, false);
		open_pool(s, false);
		fake_fail(at, ENOMEM);
		if (begin_views(s)) {
			fake_fail(0, 0);
			fake_process_ends();
			close_pool(s);
			open_pool(s, false);
			assert_int_equal(begin_views(s), 0);
		}
		all = all_calls_were_made(at);
		fake_fail(0, 0);
		assert_int_equal(registrations(s), 1);
	}
	fake_busy(0, 0);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, 0, UNIT), 0);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* What is left between two stores of one that is killed. */
static void records_are_compared(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	struct view_record *record = s->table->record;
	uint32_t backing = record[0].backing;
	struct daxview_create nobodys = { .cookie = 99 };

	record[1] = (struct view_record){ 77, 12345, 9 };                /* its view has ended */
	record[2] = (struct view_record){ 78, (uint32_t)p.view, 9 };     /* it is another inode's */
	record[3] = (struct view_record){ s->ino, (uint32_t)p.view, 9 }; /* that has one */
	record[4] = (struct view_record){ 79, (uint32_t)p.view, 0 };
	record[5] = (struct view_record){ 79, (uint32_t)p.view, UINT32_MAX };
	s->table->used = UINT32_MAX;
	s->table->busy[0] = (struct view_busy_record){ 3, 1, 5, 7 };
	s->table->busy_used = UINT32_MAX;
	end_process(s, false);
	s->table->busy[0].length = 0; /* core would not mount it */
	assert_int_equal(fake_create_locked(&nobodys), 0);
	close(nobodys.fd);
	open_pool(s, false);
	assert_int_equal(begin_views(s), 0);
	assert_int_equal(records(s), 1);
	assert_int_equal(record[0].backing, backing);
	assert_int_equal(atomic_load(&s->views->count), 1);
	assert_true(fake_find_locked(nobodys.view)->revoked);
	fake_use(nobodys.view, false);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
	assert_int_equal(records(s), 0);
}

/* The last process had revoked it, and was about to end its registration. */
static void an_end_is_completed(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	const struct daxview_revoke revoke = { .view = p.view };

	fake_use(p.view, false);
	pthread_mutex_lock(&fake.lock);
	assert_int_equal(fake_revoke_locked(&revoke), 0);
	pthread_mutex_unlock(&fake.lock);
	replace_process(s);
	assert_true(has_ended(s));
	assert_int_equal(registrations(s), 0);
	assert_int_equal(records(s), 0);
	vfs_release(s->vfs, s->ino, p.opened.handle);
	p = program_open(s);
	assert_true(p.view != 0);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, 0, UNIT), 0);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

static uint64_t busy_blocks(struct scene *s)
{
	struct fs_space space;

	fs_get_space(s->fs, &space);
	return space.busy_blocks;
}

/* Memory that a device uses when its file is cut is nobody's until it has been let go of, in
 * whatever life. */
static void memory_in_use_is_held(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	uint64_t device = device_of(s, UNIT);

	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	fake_busy(device, device + PAGE);
	assert_int_equal(cut(s, PAGE), 0);
	assert_int_equal(records(s), 2);
	assert_true(busy_blocks(s) > 0);
	replace_process(s);
	assert_int_equal(records(s), 2);
	assert_true(busy_blocks(s) > 0);
	fake_busy(0, 0);
	WAIT_FOR(busy_blocks(s) == 0 && records(s) == 1);
	replace_process(s);
	assert_int_equal(busy_blocks(s), 0);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* What lies at its place in the file by then is another matter: cut, too, it goes alone. */
static void cut_once_more(struct scene *s, const struct program *p, uint64_t held)
{
	assert_int_equal(cut(s, 4 * UNIT), 0);
	assert_int_equal(ask(p->view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	assert_int_equal(cut(s, PAGE), 0);
	usleep(20000);
	assert_true(busy_blocks(s) >= held);
	assert_int_equal(cut(s, PAGE), 0);
	assert_true(busy_blocks(s) >= held);
}

static void memory_in_use_is_held_beside_others(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	uint64_t device = device_of(s, UNIT), held;

	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	fake_busy(device, device + PAGE);
	assert_int_equal(cut(s, PAGE), 0);
	held = busy_blocks(s);
	assert_true(held > 0);
	cut_once_more(s, &p, held);
	replace_process(s);
	held = busy_blocks(s);
	assert_true(held > 0);
	cut_once_more(s, &p, held);
	replace_process(s);
	assert_true(busy_blocks(s) >= held);
	fake_busy(0, 0);
	WAIT_FOR(busy_blocks(s) == 0 && records(s) == 1);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

/* So many bytes are not to be had; 0: all are. */
static _Atomic size_t missing;

void *__wrap_malloc(size_t size)
{
	return size && size == atomic_load(&missing) ? NULL : __real_malloc(size);
}

/* Nobody remembers what is in use: nothing of the file is let go of in this life, and the next
 * process, which has the record, looks after it. */
static void memory_in_use_is_held_without_memory(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	uint64_t device = device_of(s, UNIT), held;

	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	fake_busy(device, device + PAGE);
	atomic_store(&missing, sizeof(struct busy_piece));
	assert_int_equal(cut(s, PAGE), 0);
	atomic_store(&missing, 0);
	held = busy_blocks(s);
	assert_true(held > 0);
	cut_once_more(s, &p, held);
	WAIT_FOR(atomic_load(&s->views->later) == 0); /* what is listed was looked at again */
	usleep(20000);
	assert_true(busy_blocks(s) >= held);
	replace_process(s);
	assert_true(busy_blocks(s) > 0);
	fake_busy(0, 0);
	WAIT_FOR(busy_blocks(s) == 0 && records(s) == 1);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* It is cut in the next life only. */
static void memory_in_use_is_pinned_again(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	uint64_t device = device_of(s, UNIT);

	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	fake_busy(device, device + PAGE);
	replace_process(s);
	assert_int_equal(records(s), 1);
	assert_int_equal(cut(s, PAGE), 0);
	assert_true(busy_blocks(s) > 0);
	assert_int_equal(records(s), 2);
	fake_busy(0, 0);
	WAIT_FOR(busy_blocks(s) == 0 && records(s) == 1);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

static void failed_memory_is_known(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	uint64_t bad = device_of(s, UNIT) + 3 * PAGE;

	pthread_mutex_lock(&fake.lock);
	fake_put_locked(DAXVIEW_POISON, NULL, bad, PAGE);
	pthread_mutex_unlock(&fake.lock);
	WAIT_FOR(pmem_is_bad(fs_pmem(s->fs), bad, 1));
	WAIT_FOR(atomic_load(&s->views->failed) == 1);
	replace_process(s);
	assert_true(pmem_is_bad(fs_pmem(s->fs), bad, 1));
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, UNIT + 3 * PAGE, PAGE), -EIO);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, UNIT, PAGE), 0);
	s->table->failed_count = UINT32_MAX;
	replace_process(s);
	assert_int_equal(fs_pmem(s->fs)->bad_count, 1);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* The others of its unit are reached, also by a thread that asks about all of it. */
static void a_failed_page_is_one_page(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	uint64_t device = device_of(s, UNIT);

	assert_int_equal(pmem_add_bad(fs_pmem(s->fs), device, PAGE), 0);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, UNIT, UNIT), 0);
	assert_int_equal(fake_page(p.view, UNIT), FAKE_UNKNOWN);
	WAIT_FOR(fake_page(p.view, 2 * UNIT - PAGE) == ((device + UNIT - PAGE) | FAKE_PIECE));
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, UNIT, PAGE), -EIO);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, PAGE), -EIO);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, 0, UNIT), 0);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* A question that nobody has answered is answered by the next process. */
static void *ask_for_unit(void *arg)
{
	struct program *p = arg;

	return (void *)(intptr_t)ask(p->view, DAXVIEW_ASK_WRITE, 2 * UNIT, UNIT);
}

static void questions_wait_for_the_next(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	pthread_t thread;
	void *err;

	end_process(s, false);
	assert_int_equal(pthread_create(&thread, NULL, ask_for_unit, &p), 0);
	usleep(10000);
	open_pool(s, false);
	assert_int_equal(begin_views(s), 0);
	pthread_join(thread, &err);
	assert_null(err);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* In order: what is ahead is answered, too, but not over what stores were granted. */
static void answers_ahead(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);

	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, 2 * UNIT, UNIT), 0);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, 0, UNIT), 0);
	WAIT_FOR(fake_page(p.view, UNIT) == (device_of(s, UNIT) | FAKE_PIECE));
	assert_true(fake_page(p.view, 2 * UNIT) & FAKE_WRITES);
	assert_int_equal(vfs_fsync(s->vfs, s->ino), 0);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, 0, UNIT), 0);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	WAIT_FOR(fake_page(p.view, 2 * UNIT) & FAKE_WRITES);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* As questions in order are answered. */
static unsigned ask_in_order(const struct program *p, uint64_t units)
{
	unsigned questions = 0;

	for (uint64_t at = 0; at < units * UNIT; at += UNIT) {
		uint64_t last = atomic_load(&p->views->asked);

		if (fake_page(p->view, at) != FAKE_UNKNOWN)
			continue;
		questions++;
		assert_int_equal(ask(p->view, DAXVIEW_ASK_READ, at, UNIT), 0);
		WAIT_FOR(atomic_load(&p->views->asked) > last); /* all of the answer is there */
	}
	return questions;
}

/* A gibibyte of holes and whole units takes three questions. */
static void loads_in_order_ask_thrice(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);

	assert_int_equal(cut(s, GIB), 0);
	assert_int_equal(ask_in_order(&p, GIB / UNIT), 3);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* One that knows less than we rely on: it is said, and none is had. */
static void an_older_module(void **state)
{
	struct scene *s = *state;
	char reason[160] = "";
	int session, err;

	end_process(s, true);
	open_pool(s, false);
	memset(s->table, 0, sizeof(*s->table));
	fake.older = 1;
	err = session_begin(s->dev, s->table, &session, reason, sizeof(reason));
	assert_int_equal(err, -EPROTO);
	assert_non_null(strstr(reason, "older"));
	assert_false(s->table->agreed);
	fake.older = 0;
	fake_process_ends();
	assert_int_equal(begin_views(s), 0);
}

/* ---- sizes and times ------------------------------------------------------------------------------ */

static errint_t write_at(struct scene *s, uint64_t offset, size_t length)
{
	const struct vfs_open_file file = { .ino = s->ino, .may = VFS_MAY_WRITE };
	char *bytes = calloc(1, length);
	ssize_t n = vfs_write(s->vfs, &no_request, &file, bytes, length, offset, 0);

	free(bytes);
	return n < 0 ? (int)n : 0;
}

static errint_t change_range(struct scene *s, int mode, uint64_t offset, uint64_t length)
{
	return vfs_fallocate(s->vfs, &no_request, s->ino, mode, offset, length);
}

static uint64_t size_of(struct scene *s)
{
	struct fs_attr attr;

	assert_int_equal(fs_getattr(s->fs, s->ino, &attr), 0);
	return attr.size;
}

static void change_the_size(struct scene *s, const struct program *p)
{
	assert_int_equal(fake_size(p->view), FILE_UNITS * UNIT);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(write_at(s, FILE_UNITS * UNIT - 5, 17), 0);
		assert_int_equal(fake_size(p->view), FILE_UNITS * UNIT + 12);
		assert_int_equal(cut(s, UNIT + 77), 0);
		assert_int_equal(fake_size(p->view), UNIT + 77);
		assert_int_equal(write_at(s, 3, 5), 0);
		assert_int_equal(cut(s, UNIT + 99), 0);
		assert_int_equal(fake_size(p->view), UNIT + 99);
		assert_int_equal(change_range(s, 0, UNIT, UNIT), 0);
		assert_int_equal(fake_size(p->view), 2 * UNIT);
		assert_int_equal(change_range(s, FALLOC_FL_KEEP_SIZE, 2 * UNIT, UNIT), 0);
		assert_int_equal(change_range(s, FALLOC_FL_COLLAPSE_RANGE, UNIT, PAGE), 0);
		assert_int_equal(fake_size(p->view), 2 * UNIT - PAGE);
		assert_int_equal(change_range(s, FALLOC_FL_INSERT_RANGE, UNIT, PAGE), 0);
		assert_int_equal(fake_size(p->view), 2 * UNIT);
		assert_int_equal(cut(s, FILE_UNITS * UNIT), 0);
		assert_int_equal(fake_size(p->view), size_of(s));
		/* the second time it is mapped */
		assert_int_equal(ask(p->view, DAXVIEW_ASK_READ, UNIT, UNIT), 0);
	}
}

/* All that changes a size sets the view's, before it is answered. */
static void sizes_are_told(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s), again;

	change_the_size(s, &p);
	assert_int_equal(vfs_open_inode(s->vfs, &no_request, s->ino, O_RDWR | O_TRUNC, false,
					&again.opened),
			 0);
	assert_int_equal(fake_size(p.view), 0);
	vfs_release(s->vfs, s->ino, again.opened.handle);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* Also where the module can't: then nothing is reached by the view any more. */
static void a_size_cannot_be_set(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);

	fake_fail(1, ENOMEM);
	assert_int_equal(cut(s, UNIT), 0);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, 0, UNIT), -EIO);
	fake_fail(0, 0);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

static struct scene *watched;
static unsigned cuts;

/* A file is cut: nobody is to see what core zeroes, or frees. */
static void look_at_cut(const struct fake_view *view)
{
	if (view->size != UNIT + PAGE + 5 || size_of(watched) == view->size)
		return;
	cuts++;
	for (uint64_t page = UNIT / PAGE; page < FILE_UNITS * UNIT / PAGE; page++)
		assert_int_equal(view->page[page], FAKE_UNKNOWN);
}

static void a_view_is_cut_first(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);

	for (uint64_t at = 0; at < FILE_UNITS * UNIT; at += UNIT)
		assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, at, UNIT), 0);
	watched = s;
	cuts = 0;
	fake.resized = look_at_cut;
	assert_int_equal(cut(s, UNIT + PAGE + 5), 0);
	fake.resized = NULL;
	assert_int_equal(cuts, 1);
	assert_int_equal(fake_size(p.view), UNIT + PAGE + 5);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* It dies before or after core's transaction. */
static void a_size_outlives_the_process(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);

	end_process(s, false);
	fake_find_locked(p.view)->size = 5;
	open_pool(s, false);
	assert_int_equal(begin_views(s), 0);
	assert_int_equal(fake_size(p.view), FILE_UNITS * UNIT);
	assert_int_equal(cut(s, UNIT), 0);
	fake_find_locked(p.view)->size = VIEW_BYTES;
	replace_process(s);
	assert_int_equal(fake_size(p.view), UNIT);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, UNIT, UNIT), -ENXIO);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, 0, UNIT), 0);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

static int64_t atime_of(struct scene *s)
{
	struct fs_attr attr;

	assert_int_equal(vfs_getattr(s->vfs, s->ino, &attr), 0);
	return attr.atime;
}

static void set_atime(struct scene *s, int64_t when)
{
	const struct fs_setattr set = { .valid = FS_SET_ATIME, .atime = when };
	struct fs_attr attr;

	assert_int_equal(vfs_setattr(s->vfs, &no_request, s->ino, &set, &attr), 0);
}

/* A read that went to the view moves the time as one that came to us; what somebody has set since
 * stays. */
static void reads_are_seen(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	int64_t when;

	when = fs_clock();
	fake_read(p.view, (uint64_t)when);
	assert_true(atime_of(s) < when); /* no file's reads go there */
	assert_true(views_pass_reads(s->views, &p.opened));
	assert_int_equal(atime_of(s), when);
	assert_int_equal(write_at(s, 0, 1), 0);
	fake_read(p.view, (uint64_t)(when = fs_clock()));
	set_atime(s, 1000);
	assert_int_equal(atime_of(s), 1000);
	replace_process(s);
	assert_int_equal(atime_of(s), 1000);
	end_process(s, false);
	fake_read(p.view, (uint64_t)(when = fs_clock()));
	open_pool(s, false);
	assert_int_equal(begin_views(s), 0);
	assert_int_equal(atime_of(s), when);
	assert_int_equal(write_at(s, 0, 1), 0);
	fake_read(p.view, (uint64_t)(when = fs_clock()));
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
	assert_int_equal(atime_of(s), when);
}

/* ---- many at once -------------------------------------------------------------------------------- */

struct crowd {
	struct scene *s;
	atomic_bool stop;
};

static void *open_and_ask(void *arg)
{
	struct crowd *crowd = arg;
	unsigned seed = 1;

	while (!atomic_load(&crowd->stop)) {
		struct program p = program_open(crowd->s);

		for (unsigned i = 0; i < 20; i++)
			ask(p.view, i % 3 ? DAXVIEW_ASK_WRITE : DAXVIEW_ASK_READ,
			    (uint64_t)(rand_r(&seed) % FILE_UNITS) * UNIT, UNIT);
		program_close(crowd->s, &p);
	}
	return NULL;
}

static void *use_and_change(void *arg)
{
	struct crowd *crowd = arg;
	unsigned seed = 2;

	while (!atomic_load(&crowd->stop)) {
		uint64_t device = device_of(crowd->s, 0);

		fake_busy(device, device + (rand_r(&seed) % 2) * UNIT);
		cut(crowd->s, (uint64_t)(rand_r(&seed) % (FILE_UNITS * UNIT)));
		cut(crowd->s, FILE_UNITS * UNIT);
		vfs_fsync(crowd->s->vfs, crowd->s->ino);
		fake_busy(0, 0);
	}
	return NULL;
}

static void *grow_and_look(void *arg)
{
	struct crowd *crowd = arg;
	unsigned seed = 3;
	struct fs_attr attr;

	while (!atomic_load(&crowd->stop)) {
		write_at(crowd->s, (uint64_t)(rand_r(&seed) % (FILE_UNITS * UNIT - PAGE)), PAGE);
		assert_int_equal(vfs_getattr(crowd->s->vfs, crowd->s->ino, &attr), 0);
	}
	return NULL;
}

static void many_threads(void **state)
{
	static void *(*const run[])(void *arg) = {
		open_and_ask, open_and_ask, open_and_ask, use_and_change, grow_and_look,
	};
	struct crowd crowd = { .s = *state };
	struct program p = program_open(crowd.s);
	pthread_t thread[5];

	for (int i = 0; i < 5; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, run[i], &crowd), 0);
	usleep(1500000);
	atomic_store(&crowd.stop, true);
	for (int i = 0; i < 5; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(fake_size(p.view), size_of(crowd.s));
	program_close(crowd.s, &p);
	WAIT_FOR(has_ended(crowd.s) && busy_blocks(crowd.s) == 0 && records(crowd.s) == 0);
}

#define scene_test(test) cmocka_unit_test_setup_teardown(test, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		scene_test(a_file_is_mapped),
		scene_test(each_call_fails),
		scene_test(a_registration_fails),
		scene_test(the_table_is_full),
		scene_test(a_view_outlives_the_process),
		scene_test(an_open_without_a_view_outlives_the_process),
		scene_test(the_next_process_fails),
		scene_test(records_are_compared),
		scene_test(an_end_is_completed),
		scene_test(memory_in_use_is_held),
		scene_test(memory_in_use_is_held_beside_others),
		scene_test(memory_in_use_is_held_without_memory),
		scene_test(memory_in_use_is_pinned_again),
		scene_test(failed_memory_is_known),
		scene_test(a_failed_page_is_one_page),
		scene_test(questions_wait_for_the_next),
		scene_test(answers_ahead),
		scene_test(loads_in_order_ask_thrice),
		scene_test(an_older_module),
		scene_test(sizes_are_told),
		scene_test(a_size_cannot_be_set),
		scene_test(a_view_is_cut_first),
		scene_test(a_size_outlives_the_process),
		scene_test(reads_are_seen),
		scene_test(many_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
