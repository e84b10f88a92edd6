/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether mappings of files get their memory 2 MiB at a time, as their page faults tell.
 *
 *     bench-faults written|fallocated MIB FILE...    makes the files
 *     bench-faults load|store FILE...                touches every page of a new mapping, in order
 *
 * Of files, what fills whole units of 2 MiB is looked at. Prints these, those that took one fault
 * each, and all faults.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/check.h"

enum { PAGE = 4096, MIB = 1 << 20, UNIT = 2 << 20 };

struct faults {
	unsigned long units, huge;
	long all;
};

static void make_file(const char *path, size_t mib, bool written)
{
	static char buffer[MIB];
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);

	CHECK(fd >= 0);
	memset(buffer, 'w', MIB);
	for (size_t i = 0; written && i < mib; i++)
		CHECK(write(fd, buffer, MIB) == MIB);
	CHECK(written || !fallocate(fd, 0, 0, (off_t)(mib * MIB)));
	CHECK(!close(fd));
}

static long count_faults(void)
{
	struct rusage usage;

	CHECK(!getrusage(RUSAGE_SELF, &usage));
	return usage.ru_minflt + usage.ru_majflt;
}

static void touch_unit(volatile char *unit, bool store, struct faults *faults)
{
	long before = count_faults(), taken;

	for (size_t at = 0; at < UNIT; at += PAGE) {
		if (store)
			unit[at] = 's';
		else
			(void)unit[at];
	}
	taken = count_faults() - before;
	faults->units++;
	faults->all += taken;
	faults->huge += taken == 1;
}

static void touch_file(const char *path, bool store, struct faults *faults)
{
	int fd = open(path, O_RDWR);
	struct stat st;
	size_t size;
	char *memory;

	CHECK(fd >= 0 && !fstat(fd, &st));
	size = (size_t)st.st_size / UNIT * UNIT;
	if (size) {
		memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		CHECK(memory != MAP_FAILED);
		for (size_t at = 0; at < size; at += UNIT)
			touch_unit(memory + at, store, faults);
		CHECK(!munmap(memory, size));
	}
	CHECK(!close(fd));
}

int main(int argc, char **argv)
{
	bool written = argc > 3 && !strcmp(argv[1], "written");
	bool store = argc > 2 && !strcmp(argv[1], "store");
	struct faults faults = { 0 };

	if (written || (argc > 3 && !strcmp(argv[1], "fallocated"))) {
		for (int i = 3; i < argc; i++)
			make_file(argv[i], strtoul(argv[2], NULL, 10), written);
		return 0;
	}
	if (!store && (argc < 3 || strcmp(argv[1], "load"))) {
		fprintf(stderr,
			"usage: bench-faults written|fallocated MIB FILE... | load|store FILE...\n");
		return 2;
	}
	for (int i = 2; i < argc; i++)
		touch_file(argv[i], store, &faults);
	printf("{\"units\": %lu, \"huge\": %lu, \"faults\": %ld}\n", faults.units, faults.huge,
	       faults.all);
	return 0;
}
