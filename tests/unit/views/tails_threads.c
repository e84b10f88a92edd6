/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs append to a file through its view: what is in it, whatever else happens to the file, to
 * the pool, to the calls of the module, and to the process. */
#include "scene.h"

enum { AREA = 4 * UNIT };

/* A file, and what is to be in it. */
struct flat {
	struct scene *scene;
	struct program program;
	uint64_t size;
	char *bytes;
	unsigned state;
};

static struct flat open_flat(struct scene *s)
{
	struct flat f = { s, program_open(s), FILE_UNITS * UNIT, calloc(1, 2 * AREA), 5 };

	memset(f.bytes, 'x', f.size);
	return f;
}

static void close_flat(struct flat *f)
{
	program_close(f->scene, &f->program);
	WAIT_FOR(has_ended(f->scene));
	free(f->bytes);
}

static unsigned any(struct flat *f, unsigned below)
{
	f->state = f->state * 1103515245 + 12345;
	return (f->state >> 8) % below;
}

static void check_flat(const struct flat *f)
{
	char *bytes = malloc(2 * AREA);

	assert_int_equal(size_of(f->scene), f->size);
	assert_int_equal(fs_pread(f->scene->fs, f->scene->ino, bytes, 2 * AREA, 0), f->size);
	assert_memory_equal(bytes, f->bytes, f->size);
	free(bytes);
}

static int try_append(struct flat *f, uint64_t offset, uint64_t length)
{
	char *bytes = malloc(length);
	int err;

	memset(bytes, 'a' + (char)any(f, 26), length);
	err = append(f->program.view, bytes, offset, length);
	if (!err) {
		memcpy(f->bytes + offset, bytes, length);
		f->size = offset + length > f->size ? offset + length : f->size;
	}
	free(bytes);
	return err;
}

static uint64_t questions(const struct scene *s)
{
	return atomic_load(&s->views->asked);
}

/* One question in 2 MiB, and the size is known to all. */
static void appends_ask_nobody(void **state)
{
	struct scene *s = *state;
	struct flat f = open_flat(s);
	uint64_t before = questions(s);

	for (int i = 0; i < UNIT / 5000; i++) {
		assert_int_equal(try_append(&f, f.size, 5000), 0);
		assert_int_equal(size_of(s), f.size);
	}
	assert_int_equal(questions(s), before + 1);
	check_flat(&f); /* which ends the tail */
	before = questions(s);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(try_append(&f, f.size, 100), 0);
		assert_int_equal(vfs_fsync(s->vfs, s->ino), 0);
	}
	assert_int_equal(questions(s), before + 1);
	close_flat(&f);
}

static void change_something(struct flat *f)
{
	struct scene *s = f->scene;
	uint64_t at = any(f, AREA), length = 1 + any(f, UNIT);
	struct fs_attr attr;

	switch (any(f, 8)) {
	case 0:
		assert_int_equal(cut(s, at), 0);
		if (at < f->size)
			memset(f->bytes + at, 0, f->size - at);
		f->size = at;
		break;
	case 1:
		assert_int_equal(write_at(s, at, length), 0);
		memset(f->bytes + at, 0, length);
		f->size = at + length > f->size ? at + length : f->size;
		break;
	case 2:
		assert_int_equal(vfs_fallocate(s->vfs, &no_request, s->ino,
					       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
					       length),
				 0);
		if (at < f->size)
			memset(f->bytes + at, 0, at + length > f->size ? f->size - at : length);
		break;
	case 3:
		assert_int_equal(vfs_fallocate(s->vfs, &no_request, s->ino, FALLOC_FL_KEEP_SIZE, at,
					       length),
				 0);
		break;
	case 4:
		assert_int_equal(vfs_fsync(s->vfs, s->ino), 0);
		break;
	case 5:
		if (at < f->size)
			assert_int_equal(
				ask(f->program.view, DAXVIEW_ASK_WRITE, at / PAGE * PAGE, PAGE), 0);
		break;
	default:
		assert_int_equal(fs_getattr(s->fs, s->ino, &attr), 0);
		assert_int_equal(attr.size, f->size);
	}
}

static void append_or_change(struct flat *f, int steps)
{
	for (int i = 0; i < steps; i++) {
		if (any(f, 2))
			change_something(f);
		else
			assert_int_equal(try_append(f, f->size + (any(f, 3) ? 0 : any(f, 2 * UNIT)),
						    1 + any(f, any(f, 5) ? 9000 : UNIT)),
					 0);
		if (f->size > AREA) {
			assert_int_equal(cut(f->scene, AREA / 2), 0);
			memset(f->bytes + AREA / 2, 0, f->size - AREA / 2);
			f->size = AREA / 2;
		}
	}
}

static void beside_all_that_changes(void **state)
{
	struct flat f = open_flat(*state);

	for (int i = 0; i < 40; i++) {
		append_or_change(&f, 10);
		check_flat(&f);
	}
	close_flat(&f);
}

/* With and without a process; it is killed while the file grows, and may have grown since. */
static void the_process_is_killed(void **state)
{
	struct scene *s = *state;
	struct flat f = open_flat(s);

	for (int i = 0; i < 10; i++) {
		append_or_change(&f, 5);
		assert_int_equal(try_append(&f, f.size, 3), 0);
		if (i % 3)
			kill_process(s);
		else
			end_process(s, false);
		if (fake_find_locked(f.program.view)->tail > f.size + 4000)
			assert_int_equal(try_append(&f, f.size, 1 + any(&f, 4000)), 0);
		open_pool(s, false);
		assert_int_equal(size_of(s), f.size);
		assert_int_equal(begin_views(s), 0);
		assert_int_equal(fake_size(f.program.view), f.size);
		check_flat(&f);
	}
	close_flat(&f);
}

static void fill_again(struct scene *s)
{
	char *bytes = malloc(FILE_UNITS * UNIT);

	memset(bytes, 'x', FILE_UNITS * UNIT);
	assert_int_equal(cut(s, 0), 0);
	assert_int_equal(fs_write(s->fs, NULL, s->ino, bytes, FILE_UNITS * UNIT, 0, 0),
			 FILE_UNITS * UNIT);
	free(bytes);
}

/* Each call of the module fails: the write does, or the view is no more; the file is as it was told. */
static void each_call_fails(void **state)
{
	struct scene *s = *state;
	bool all = false;

	for (unsigned at = 1; !all; at++) {
		struct flat f = open_flat(s);
		int err = 0;

		assert_int_equal(cut(s, FILE_UNITS * UNIT), 0);
		assert_int_equal(write_at(s, 0, 1), 0);
		f.bytes[0] = 0;
		fake_fail(at, ENOMEM);
		for (int i = 0; !err && i < 4; i++)
			err = try_append(&f, f.size, i % 2 ? UNIT : 77);
		assert_int_equal(cut(s, f.size - 7), 0);
		f.size -= 7;
		all = fake.calls < at;
		fake_fail(0, 0);
		assert_true(err == 0 || err == -EIO || err == -ENOMEM);
		check_flat(&f);
		close_flat(&f);
		fill_again(s);
	}
}

static void the_pool_is_full(void **state)
{
	struct scene *s = *state;
	struct flat f = open_flat(s);
	int err;

	do {
		memset(f.bytes, 'x', 2 * AREA);
		err = append(f.program.view, f.bytes, f.size, UNIT - 4097);
		if (!err)
			f.size += UNIT - 4097;
	} while (!err);
	assert_int_equal(err, -ENOSPC);
	assert_true(size_of(s) >= f.size && size_of(s) < f.size + UNIT);
	assert_int_equal(fake_size(f.program.view), size_of(s));
	assert_int_equal(cut(s, UNIT), 0);
	f.size = UNIT;
	assert_int_equal(try_append(&f, f.size, 5 * UNIT / 2), 0);
	check_flat(&f);
	close_flat(&f);
}

/* All that is free, but for 32 blocks and what is in tails. */
static void take_space(struct scene *s, uint64_t ino)
{
	struct fs_setattr set = { .valid = FS_SET_SIZE };
	char *bytes = calloc(1, UNIT);
	struct fs_attr attr;

	for (size_t length = UNIT; length >= PAGE;) {
		assert_int_equal(fs_getattr(s->fs, ino, &attr), 0);
		if (fs_write(s->fs, NULL, ino, bytes, length, attr.size, 0) < 0)
			length /= 2;
	}
	set.size = attr.size - 32 * PAGE;
	assert_int_equal(vfs_setattr(s->vfs, &no_request, ino, &set, &attr), 0);
	free(bytes);
}

/* Each operation that finds no space gets what is in tails, also if one has just before. */
static void space_in_tails_is_free(void **state)
{
	struct scene *s = *state;
	struct flat f = open_flat(s);
	uint64_t large = make_file(s, "large"), small = make_file(s, "small");
	const struct vfs_open_file file = { .ino = small, .may = VFS_MAY_WRITE };
	char bytes[24 * PAGE] = { 0 };

	assert_int_equal(cut(s, f.size = 100), 0);
	for (unsigned i = 0; i < 5; i++) {
		take_space(s, large);
		assert_int_equal(try_append(&f, f.size, 10), 0);
		assert_int_equal(vfs_write(s->vfs, &no_request, &file, bytes, sizeof(bytes),
					   FILE_UNITS * UNIT + i * sizeof(bytes), 0),
				 sizeof(bytes));
	}
	check_flat(&f);
	close_flat(&f);
}

static void next_event(struct scene *s, const struct vfs_open_file *watcher, unsigned what)
{
	struct dxf_ioc_watch watch;
	unsigned seen = 0;

	do {
		assert_int_equal(vfs_watch_read(s->vfs, watcher, &watch), 0);
		for (unsigned i = 0; i < watch.count; i++)
			seen |= watch.event[i].what;
	} while (watch.more);
	assert_int_equal(seen & (DXF_WATCH_DATA | DXF_WATCH_SIZE), what);
}

/* Each time after they have looked. */
static void watchers_hear_of_appends(void **state)
{
	struct scene *s = *state;
	struct flat f = open_flat(s);
	struct program watching = program_open(s);
	const struct vfs_open_file watcher = { .ino = s->ino,
					       .handle = watching.opened.handle,
					       .may = VFS_MAY_READ };

	assert_int_equal(try_append(&f, f.size, 5), 0);
	assert_int_equal(vfs_watch(s->vfs, &watcher), 0);
	next_event(s, &watcher, 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(try_append(&f, f.size, 5), 0);
		assert_int_equal(try_append(&f, f.size, 5), 0);
		next_event(s, &watcher, DXF_WATCH_DATA | DXF_WATCH_SIZE);
		next_event(s, &watcher, 0);
	}
	program_close(s, &watching);
	close_flat(&f);
}

static uint32_t mode_of(struct scene *s)
{
	struct fs_attr attr;

	assert_int_equal(fs_getattr(s->fs, s->ino, &attr), 0);
	return attr.mode & 07777;
}

/* Of a file that had them when it was opened, and of one that got them since; not once more. */
static void set_user_id_bits_go(void **state)
{
	const uint32_t modes[] = { 04755, 02755, 06755, 02644, 0644 };
	struct scene *s = *state;
	struct fs_attr attr;

	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		struct fs_setattr set = { .valid = FS_SET_MODE, .mode = modes[i] };
		uint32_t left = modes[i] == 02644 ? 02644 : modes[i] & 0777;
		struct flat f = open_flat(s);
		uint64_t before;

		for (int k = 0; k < 2; k++) {
			assert_int_equal(vfs_setattr(s->vfs, &no_request, s->ino, &set, &attr), 0);
			assert_int_equal(try_append(&f, f.size, 5), 0);
			assert_int_equal(mode_of(s), left);
			before = questions(s);
			assert_int_equal(try_append(&f, f.size, 5), 0);
			assert_int_equal(questions(s), before);
		}
		assert_int_equal(vfs_setattr(s->vfs, &no_request, s->ino, &set, &attr), 0);
		assert_int_equal(cut(s, FILE_UNITS * UNIT), 0);
		replace_process(s);
		f.size = FILE_UNITS * UNIT;
		assert_int_equal(try_append(&f, f.size, 5), 0);
		assert_int_equal(mode_of(s), left);
		assert_int_equal(cut(s, FILE_UNITS * UNIT), 0);
		close_flat(&f);
	}
}

/* What a guest has mapped behind the end of a file that it has cut stays there. */
static void a_unit_stays_behind_the_end(void **state)
{
	struct scene *s = *state;
	struct flat f = open_flat(s);

	assert_int_equal(fs_keep_layout(s->fs, s->ino, true), 0);
	assert_int_equal(fs_stay(s->fs, s->ino, UNIT, true), 0);
	assert_int_equal(cut(s, UNIT + 5), 0);
	f.size = UNIT + 5;
	assert_int_equal(cut(s, 5), 0);
	f.size = 5;
	assert_int_equal(try_append(&f, f.size, UNIT + 50), 0);
	assert_int_equal(try_append(&f, f.size, UNIT + 50), 0);
	check_flat(&f);
	assert_int_equal(fs_stay(s->fs, s->ino, UNIT, false), 0);
	assert_int_equal(fs_keep_layout(s->fs, s->ino, false), 0);
	close_flat(&f);
}

/* ---- beside other threads ------------------------------------------------------------------- */

enum { RECORD = 24, RECORDS = 40000 };

static void *append_records(void *arg)
{
	const struct program *p = arg;
	uint64_t record[RECORD / 8];

	for (uint64_t i = 0; i < RECORDS; i++) {
		for (unsigned k = 0; k < RECORD / 8; k++)
			record[k] = i + 1;
		if (append(p->view, (const char *)record, i * RECORD, RECORD))
			return arg;
	}
	return NULL;
}

/* Whoever looks sees a size that was, and records that are whole. */
static void beside_operations(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	uint64_t size = 0, seen, *records = malloc(RECORDS * RECORD);
	pthread_t thread;
	void *failed;

	assert_int_equal(cut(s, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, append_records, &p), 0);
	for (unsigned i = 0; size < RECORDS * RECORD; i++) {
		seen = size_of(s);
		assert_true(seen >= size);
		size = seen;
		if (i % 64 == 1) {
			ssize_t n = fs_pread(s->fs, s->ino, records, RECORDS * RECORD, 0);

			assert_true(n >= (ssize_t)size);
			for (ssize_t at = 0; at + 8 <= n; at += 8)
				assert_int_equal(records[at / 8], at / RECORD + 1);
		} else if (i % 64 == 2) {
			assert_int_equal(vfs_fsync(s->vfs, s->ino), 0);
		} else if (i % 64 == 3) {
			assert_int_equal(vfs_fallocate(s->vfs, &no_request, s->ino,
						       FALLOC_FL_KEEP_SIZE, 0, 2 * UNIT),
					 0);
		}
		usleep(100);
	}
	pthread_join(thread, &failed);
	assert_null(failed);
	assert_int_equal(size_of(s), RECORDS * RECORD);
	free(records);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* What is behind the end is zeroed before the last page is mapped, and nothing else is. */
static void beside_loads_of_the_last_page(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	uint64_t size = 0, *records = malloc(RECORDS * RECORD);
	pthread_t thread;
	void *failed;

	assert_int_equal(cut(s, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, append_records, &p), 0);
	while (size < RECORDS * RECORD) {
		size = size_of(s);
		if (size)
			ask(p.view, DAXVIEW_ASK_READ, (size - 1) / PAGE * PAGE, PAGE);
	}
	pthread_join(thread, &failed);
	assert_null(failed);
	assert_int_equal(fs_pread(s->fs, s->ino, records, RECORDS * RECORD, 0), RECORDS * RECORD);
	for (uint64_t at = 0; at < RECORDS * RECORD; at += 8)
		assert_int_equal(records[at / 8], at / RECORD + 1);
	free(records);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scene_test(appends_ask_nobody),
		scene_test(beside_all_that_changes),
		scene_test(the_process_is_killed),
		scene_test(each_call_fails),
		scene_test(the_pool_is_full),
		scene_test(space_in_tails_is_free),
		scene_test(watchers_hear_of_appends),
		scene_test(set_user_id_bits_go),
		scene_test(a_unit_stays_behind_the_end),
		scene_test(beside_operations),
		scene_test(beside_loads_of_the_last_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
