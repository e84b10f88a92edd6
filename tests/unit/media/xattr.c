/* SPDX-License-Identifier: BSD-3-Clause */
/* Extended attributes: in the inode and outside, limits, malformed blobs. */
#include <linux/limits.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/media/xattr.h"
#include "pool.h"

enum { UNITS = 16, NAMES = 8 };

static char big[XATTR_SIZE_MAX + 1], got[XATTR_SIZE_MAX + 1];

struct subject {
	struct pool pool;
	struct dxf_inode *media;
	uint64_t space;
};

static int setup(void **state)
{
	struct subject *s = calloc(1, sizeof(*s));

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 7 + i / 256);
	pool_make(&s->pool, UNITS);
	s->media = make_inode(&s->pool, S_IFREG | 0644);
	s->space = free_space(&s->pool);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct subject *s = *state;

	pool_free(&s->pool);
	free(s);
	return 0;
}

static int set(struct subject *s, const char *name, const void *value, size_t size, int flags)
{
	struct tx *tx = begin(&s->pool);
	int err = xattr_set(tx, tx_edit_inode(tx, s->media), name, value, size, flags);

	if (err)
		tx_abort(tx);
	else
		commit(tx);
	assert_int_equal(s->media->blocks, s->space - free_space(&s->pool));
	return err;
}

static ssize_t get(struct subject *s, const char *name, void *value, size_t size)
{
	return xattr_get(s->pool.vol, s->media, name, value, size);
}

static void test_small(void **state)
{
	struct subject *s = *state;

	assert_int_equal(get(s, "user.a", got, 10), -ENODATA);
	assert_int_equal(xattr_list(s->pool.vol, s->media, got, 10), 0);
	assert_int_equal(set(s, "user.a", "one", 3, XATTR_REPLACE), -ENODATA);
	assert_int_equal(set(s, "user.a", "one", 3, XATTR_CREATE), 0);
	assert_int_equal(set(s, "user.a", "two", 3, XATTR_CREATE), -EEXIST);
	assert_int_equal(set(s, "user.empty", "", 0, 0), 0);
	assert_int_equal(get(s, "user.a", NULL, 0), 3);
	assert_int_equal(get(s, "user.a", got, 2), -ERANGE);
	assert_int_equal(get(s, "user.a", got, 3), 3);
	assert_memory_equal(got, "one", 3);
	assert_int_equal(get(s, "user.empty", got, 3), 0);
	assert_int_equal(xattr_list(s->pool.vol, s->media, NULL, 0), 18);
	assert_int_equal(xattr_list(s->pool.vol, s->media, got, 17), -ERANGE);
	assert_int_equal(xattr_list(s->pool.vol, s->media, got, 18), 18);
	assert_memory_equal(got, "user.a\0user.empty", 18);
	assert_true(s->media->xattr_bytes <= DXF_XATTR_INLINE);
	assert_int_equal(set(s, "user.b", NULL, 0, 0), -ENODATA);
	assert_int_equal(set(s, "user.a", NULL, 0, 0), 0);
	assert_int_equal(set(s, "user.empty", NULL, 0, 0), 0);
	assert_int_equal(s->media->xattr_bytes, 0);
}

static void test_limits(void **state)
{
	struct subject *s = *state;
	char name[XATTR_NAME_MAX + 2];

	memset(name, 'n', sizeof(name));
	name[XATTR_NAME_MAX + 1] = '\0';
	assert_int_equal(set(s, name, "x", 1, 0), -ERANGE);
	assert_int_equal(set(s, "", "x", 1, 0), -ERANGE);
	name[XATTR_NAME_MAX] = '\0';
	assert_int_equal(set(s, name, big, XATTR_SIZE_MAX + 1, 0), -E2BIG);
	assert_int_equal(set(s, name, big, XATTR_SIZE_MAX, 0), 0);
	assert_int_equal(get(s, name, got, sizeof(got)), XATTR_SIZE_MAX);
	assert_memory_equal(got, big, XATTR_SIZE_MAX);
	assert_int_equal(set(s, "user.second", big, XATTR_SIZE_MAX, 0),
			 -ENOSPC); /* 128 KiB in all */
	assert_int_equal(set(s, "user.second", big, 60000, 0), 0);
	assert_int_equal(set(s, name, NULL, 0, 0), 0);
	assert_int_equal(get(s, "user.second", got, sizeof(got)), 60000);
	assert_memory_equal(got, big, 60000);
	assert_int_equal(set(s, "user.second", NULL, 0, 0), 0);
	assert_int_equal(s->media->blocks, 0);
}

/* Around the size at which they leave the inode, byte by byte, and back. */
static void test_edge(void **state)
{
	struct subject *s = *state;

	for (size_t size = 200; size < 260; size++) {
		assert_int_equal(set(s, "user.a", big, size, 0), 0);
		assert_int_equal(s->media->blocks, s->media->xattr_bytes > DXF_XATTR_INLINE);
		assert_int_equal(get(s, "user.a", got, sizeof(got)), size);
		assert_memory_equal(got, big, size);
	}
	for (size_t size = 4000; size < 4100; size++) {
		assert_int_equal(set(s, "user.a", big, size, 0), 0);
		assert_int_equal(get(s, "user.a", got, sizeof(got)), size);
		assert_memory_equal(got, big, size);
	}
	assert_int_equal(set(s, "user.a", big, 1, 0), 0);
	assert_int_equal(s->media->blocks, 0);
}

static void test_random(void **state)
{
	struct subject *s = *state;
	size_t size[NAMES];
	bool there[NAMES] = { false };
	uint64_t rng = 11;
	char name[16];

	for (unsigned i = 0; i < 3000; i++) {
		unsigned n = (unsigned)(next_random(&rng) % NAMES);

		snprintf(name, sizeof(name), "user.%u", n);
		if (next_random(&rng) % 3 == 0) {
			assert_int_equal(set(s, name, NULL, 0, 0), there[n] ? 0 : -ENODATA);
			there[n] = false;
		} else {
			size[n] = next_random(&rng) % (next_random(&rng) % 4 ? 60 : 9000);
			assert_int_equal(set(s, name, big + n, size[n], 0), 0);
			there[n] = true;
		}
		for (n = 0; n < NAMES; n++) {
			snprintf(name, sizeof(name), "user.%u", n);
			assert_int_equal(get(s, name, got, sizeof(got)),
					 there[n] ? (ssize_t)size[n] : -ENODATA);
			if (there[n])
				assert_memory_equal(got, big + n, size[n]);
		}
		if (i % 500 == 0)
			pool_reopen(&s->pool);
	}
}

static void test_drop(void **state)
{
	struct subject *s = *state;
	struct tx *tx;

	assert_int_equal(set(s, "user.a", big, 20000, 0), 0);
	tx = begin(&s->pool);
	assert_int_equal(xattr_drop(tx, tx_edit_inode(tx, s->media)), 0);
	commit(tx);
	assert_int_equal(s->media->blocks, 0);
	assert_int_equal(free_space(&s->pool), s->space);
}

static void check_refused(struct subject *s)
{
	struct tx *tx = begin(&s->pool);

	assert_int_equal(get(s, "user.a", got, sizeof(got)), -EUCLEAN);
	assert_int_equal(xattr_list(s->pool.vol, s->media, got, sizeof(got)), -EUCLEAN);
	assert_int_equal(xattr_set(tx, tx_edit_inode(tx, s->media), "user.a", "x", 1, 0), -EUCLEAN);
	tx_abort(tx);
}

/* With a CRC that is right, so that the rest is what is looked at. */
static void seal(struct dxf_inode *media)
{
	uint32_t crc = crc32c(0, media->xattr + 4, media->xattr_bytes - 4);

	memcpy(media->xattr, &crc, 4);
}

static void test_hostile(void **state)
{
	struct subject *s = *state;
	struct dxf_inode good, *m = s->media;
	struct dxf_xattr_header *header = (void *)m->xattr;
	struct dxf_xattr *entry = (void *)(m->xattr + sizeof(*header));
	uint64_t *block = (void *)m->xattr;

	assert_int_equal(set(s, "user.a", "value", 5, 0), 0);
	good = *m;
#define BREAK(change)             \
	do {                      \
		change;           \
		check_refused(s); \
		*m = good;        \
	} while (0)
	BREAK(header->crc++);
	BREAK(m->xattr[12] ^= 1);
	for (uint32_t bytes = 1; bytes < 8; bytes++)
		BREAK(m->xattr_bytes = bytes);
	BREAK((m->xattr_bytes += 4, seal(m)));
	BREAK((m->xattr_bytes -= 4, seal(m)));
	BREAK((header->count = 2, seal(m)));
	BREAK((header->count = 0, seal(m)));
	BREAK((header->count = UINT32_MAX, seal(m)));
	BREAK((entry->name_length = 0, seal(m)));
	BREAK((entry->name_length = 255, seal(m)));
	BREAK((entry->value_length = UINT32_MAX, seal(m)));
	BREAK((entry->value_length = XATTR_SIZE_MAX, seal(m)));
	assert_int_equal(set(s, "user.a", big, 5000, 0), 0);
	good = *m;
	BREAK(block[1] = 0);
	BREAK(block[1] = block[0]);
	BREAK(block[0] = 1);
	BREAK(block[0] = s->pool.super.data_offset | 1);
	BREAK(block[0] = UINT64_MAX);
#undef BREAK
	assert_int_equal(get(s, "user.a", got, sizeof(got)), 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_small, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_edge, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drop, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
