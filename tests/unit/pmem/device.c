/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening, locking and refusing; images only, device-dax is for tests/vm. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daxfuse/pmem/device.h"

#define MIB (UINT64_C(1) << 20)

static char folder[] = "/dev/shm/daxfuse-unit-XXXXXX";
static char path[64];

static int setup(void **state)
{
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/image", folder);
	return 0;
}

static int teardown(void **state)
{
	unlink(path);
	return rmdir(folder);
}

static void make_image(uint64_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static void check_refused(const char *name, int expected, const char *what, const char *advice)
{
	struct device_error error = { "", "" };
	struct device *dev = NULL;

	assert_int_equal(device_open(name, DEVICE_WRITE, &dev, &error), expected);
	assert_null(dev);
	assert_non_null(strstr(error.what, what));
	assert_non_null(strstr(error.advice, advice));
	assert_null(strchr(error.what, '\n'));
	assert_null(strchr(error.advice, '\n'));
	assert_int_equal(device_open(name, DEVICE_WRITE, &dev, NULL), expected);
}

static void test_refused(void **state)
{
	check_refused("/nonexistent/x", -ENOENT, "does not exist", "daxfuse list");
	check_refused("/dev/null", -ENODEV, "neither", "daxfuse list");
	check_refused(folder, -ENODEV, "directory", "daxfuse list");
}

static void test_maps_whole_units(void **state)
{
	struct device *dev;
	struct pmem *pm;

	make_image(19 * MIB);
	assert_int_equal(device_open(path, DEVICE_WRITE, &dev, NULL), 0);
	assert_int_equal(device_map(dev, &pm, NULL), 0);
	assert_int_equal(pm->size, 18 * MIB);
	assert_int_equal((uintptr_t)pm->base % (2 * MIB), 0);
	pmem_store64(pm, pmem_at(pm, 18 * MIB - 8), 77);
	assert_string_equal(device_granularity(dev), "page");
	assert_string_equal(device_durability(dev), "process");
	assert_string_equal(device_info(dev)->mode, "image");
	assert_string_equal(device_info(dev)->filesystem, "tmpfs");
	assert_string_equal(device_info(dev)->name, "image");
	assert_int_equal(device_info(dev)->size, 19 * MIB);
	device_close(dev);
}

static void test_path_is_absolute(void **state)
{
	static char absolute[4096];
	char link[80];
	struct device *dev;

	make_image(16 * MIB);
	snprintf(link, sizeof(link), "%s/link", folder);
	assert_int_equal(symlink("image", link), 0);
	assert_int_equal(device_open(link, DEVICE_READ, &dev, NULL), 0);
	assert_non_null(realpath(path, absolute));
	assert_string_equal(device_info(dev)->path, absolute);
	device_close(dev);
	unlink(link);
}

static void test_peek(void **state)
{
	uint64_t word = 0;
	struct device *dev;

	make_image(4096);
	assert_int_equal(device_open(path, DEVICE_NO_LOCK, &dev, NULL), 0);
	assert_int_equal(device_peek(dev, 4088, &word, 8), 0);
	assert_int_equal(device_peek(dev, 4089, &word, 8), -ERANGE);
	assert_int_equal(device_peek(dev, UINT64_MAX, &word, 8), -ERANGE);
	device_close(dev);
}

static void test_read_only_mapping(void **state)
{
	struct device *dev;
	struct pmem *pm;
	pid_t child;
	int status;

	make_image(16 * MIB);
	assert_int_equal(device_open(path, DEVICE_READ, &dev, NULL), 0);
	assert_int_equal(device_map(dev, &pm, NULL), 0);
	assert_true(pm->read_only);
	child = fork();
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		pmem_store64(pm, pm->base, 1);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	device_close(dev);
}

/* A child holds the lock until it is told to go. */
static pid_t hold(unsigned access, int *ret_release)
{
	int ready[2], release[2];
	char byte;
	pid_t child;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(release), 0);
	child = fork();
	if (child == 0) {
		struct device *dev;

		close(release[1]);
		if (device_open(path, access, &dev, NULL))
			_exit(1);
		if (write(ready[1], "", 1) != 1 || read(release[0], &byte, 1) < 0)
			_exit(1);
		_exit(0);
	}
	close(ready[1]);
	close(release[0]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	*ret_release = release[1];
	return child;
}

static void test_writer_excludes(void **state)
{
	struct device_error error;
	struct device *dev;
	char holder[32];
	int release;
	pid_t child;

	make_image(16 * MIB);
	child = hold(DEVICE_WRITE, &release);
	assert_int_equal(device_open(path, DEVICE_READ, &dev, &error), -EBUSY);
	snprintf(holder, sizeof(holder), "(pid %d)", child);
	assert_non_null(strstr(error.what, holder));
	assert_int_equal(device_open(path, DEVICE_NO_LOCK, &dev, &error), 0);
	device_close(dev);
	close(release);
	assert_int_equal(device_open(path, DEVICE_READ | DEVICE_WAIT, &dev, &error), 0);
	device_close(dev);
	waitpid(child, NULL, 0);
}

static void test_readers_share(void **state)
{
	struct device *dev;
	int release;
	pid_t child;

	make_image(16 * MIB);
	child = hold(DEVICE_READ, &release);
	assert_int_equal(device_open(path, DEVICE_READ, &dev, NULL), 0);
	device_close(dev);
	assert_int_equal(device_open(path, DEVICE_WRITE, &dev, NULL), -EBUSY);
	close(release);
	waitpid(child, NULL, 0);
	assert_int_equal(device_open(path, DEVICE_WRITE, &dev, NULL), 0);
	device_close(dev);
	device_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),           cmocka_unit_test(test_maps_whole_units),
		cmocka_unit_test(test_path_is_absolute),  cmocka_unit_test(test_peek),
		cmocka_unit_test(test_read_only_mapping), cmocka_unit_test(test_writer_excludes),
		cmocka_unit_test(test_readers_share),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
