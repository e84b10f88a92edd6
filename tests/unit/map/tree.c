/* SPDX-License-Identifier: BSD-3-Clause */
#include "daxfuse/map/tree.h"

#include "map_test.h"

static void test_sparse(void **state)
{
	const uint64_t indices[] = { 0,
				     63,
				     64,
				     4095,
				     4096,
				     UINT64_C(1) << 20,
				     (UINT64_C(1) << 55) + 7,
				     (UINT64_C(1) << 60) - 1 };
	const unsigned count = sizeof(indices) / sizeof(indices[0]);
	struct tree tree = { NULL };
	uint64_t at = 0;

	assert_null(tree_find(&tree, 0));
	assert_null(tree_next(&tree, &at, UINT64_MAX));
	for (unsigned i = 0; i < count; i++) {
		_Atomic uint64_t *word = tree_make(&tree, indices[i]);

		assert_non_null(word);
		assert_int_equal(atomic_load(word), 0);
		atomic_store(word, i + 1);
	}
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(atomic_load(tree_find(&tree, indices[i])), i + 1);
	assert_null(tree_find(&tree, UINT64_C(1) << 54));
	for (unsigned i = 0; i < count; i++, at++) {
		_Atomic uint64_t *word = tree_next(&tree, &at, UINT64_MAX);

		assert_int_equal(at, indices[i]);
		assert_int_equal(atomic_load(word), i + 1);
	}
	assert_null(tree_next(&tree, &at, UINT64_MAX));
	tree_free(&tree);
	assert_int_equal(tree_bytes(&tree), 0);
}

static void test_next_ends(void **state)
{
	struct tree tree = { NULL };
	uint64_t at;

	atomic_store(tree_make(&tree, 5000), 1);
	at = 0;
	assert_null(tree_next(&tree, &at, 4999));
	at = 0;
	assert_non_null(tree_next(&tree, &at, 5000));
	at = 5000;
	assert_non_null(tree_next(&tree, &at, 5000));
	at = 5001;
	assert_null(tree_next(&tree, &at, UINT64_MAX));
	at = 5002;
	assert_null(tree_next(&tree, &at, 5001));
	tree_free(&tree);
}

static void test_prune(void **state)
{
	struct tree tree = { NULL };
	size_t before;

	atomic_store(tree_make(&tree, 100), 1);
	before = tree_bytes(&tree);
	tree_prune(&tree);
	assert_int_equal(tree_bytes(&tree), before);
	atomic_store(tree_make(&tree, 1 << 20), 2);
	atomic_store(tree_make(&tree, 1 << 20), 0);
	tree_prune(&tree);
	assert_int_equal(atomic_load(tree_find(&tree, 100)), 1);
	assert_null(tree_find(&tree, 1 << 20));
	atomic_store(tree_find(&tree, 100), 0);
	tree_prune(&tree);
	assert_int_equal(tree_bytes(&tree), 0);
	tree_free(&tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sparse),
		cmocka_unit_test(test_next_ends),
		cmocka_unit_test(test_prune),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
