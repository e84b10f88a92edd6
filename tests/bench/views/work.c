/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One row of docs/bench/views.md: what an unmodified program does with a file that is there, in whole.
 *
 *     bench-views ROW FILE MIB ROUNDS [COMMAND]
 *
 * Prints operations, nanoseconds and page faults of the row alone: the file is open, and mapped,
 * before the clock starts. "busy" is the time in which the CPUs ran anything, this program or another.
 * The command runs then, and again after the row, and prints before us.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/check.h"

enum { PAGE = 4096, MIB = 1 << 20, THREADS_MAX = 4 };

struct work {
	int fd, reader; /* one that nothing can be written by */
	char *memory;
	size_t size;
	unsigned long rounds;
	unsigned int seed;
	char *buffer;
};

static size_t any_page(struct work *w)
{
	return ((size_t)rand_r(&w->seed) << 15 ^ (size_t)rand_r(&w->seed)) % (w->size / PAGE) *
	       PAGE;
}

static unsigned long nothing(struct work *w)
{
	return 1;
}

static unsigned long load(struct work *w)
{
	for (size_t at = 0; at < w->size; at += PAGE)
		(void)*(volatile char *)(w->memory + at);
	return w->size / PAGE;
}

static unsigned long store(struct work *w)
{
	for (size_t at = 0; at < w->size; at += PAGE)
		*(volatile char *)(w->memory + at) = 's';
	return w->size / PAGE;
}

/* As fio's bs=4k ioengine=mmap rw=randrw, over a mapping that is there. */
static unsigned long mapped_randrw(struct work *w)
{
	for (unsigned long i = 0; i < w->rounds; i++) {
		char *at = w->memory + any_page(w);

		if (i % 2)
			memcpy(at, w->buffer, PAGE);
		else
			memcpy(w->buffer, at, PAGE);
	}
	return w->rounds;
}

static unsigned long read_4k(struct work *w)
{
	for (unsigned long i = 0; i < w->rounds; i++)
		CHECK(pread(w->reader, w->buffer, PAGE, (off_t)any_page(w)) == PAGE);
	return w->rounds;
}

static unsigned long write_4k(struct work *w)
{
	for (unsigned long i = 0; i < w->rounds; i++)
		CHECK(pwrite(w->fd, w->buffer, PAGE, (off_t)any_page(w)) == PAGE);
	return w->rounds;
}

static unsigned long read_1m(struct work *w)
{
	for (size_t at = 0; at < w->size; at += MIB)
		CHECK(pread(w->reader, w->buffer, MIB, (off_t)at) == MIB);
	return w->size / MIB;
}

static unsigned long write_1m(struct work *w)
{
	for (size_t at = 0; at < w->size; at += MIB)
		CHECK(pwrite(w->fd, w->buffer, MIB, (off_t)at) == MIB);
	return w->size / MIB;
}

static unsigned long append_4k(struct work *w)
{
	for (unsigned long i = 0; i < w->rounds; i++)
		CHECK(pwrite(w->fd, w->buffer, PAGE, (off_t)(w->size + i * PAGE)) == PAGE);
	return w->rounds;
}

static void *read_part(void *arg)
{
	struct work part = *(struct work *)arg;

	part.buffer = malloc(PAGE);
	part.seed = (unsigned int)(uintptr_t)&part;
	read_4k(&part);
	free(part.buffer);
	return NULL;
}

static unsigned long read_by_threads(struct work *w, unsigned int count)
{
	pthread_t thread[THREADS_MAX];

	for (unsigned int i = 0; i < count; i++)
		CHECK(!pthread_create(&thread[i], NULL, read_part, w));
	for (unsigned int i = 0; i < count; i++)
		pthread_join(thread[i], NULL);
	return count * w->rounds;
}

static unsigned long read_2_threads(struct work *w)
{
	return read_by_threads(w, 2);
}

static unsigned long read_4_threads(struct work *w)
{
	return read_by_threads(w, 4);
}

static unsigned long msync_page(struct work *w)
{
	unsigned long count = w->rounds / 100 + 1;

	for (unsigned long i = 0; i < count; i++) {
		*(volatile char *)(w->memory + any_page(w)) = 'm';
		CHECK(!msync(w->memory, w->size, MS_SYNC));
	}
	return count;
}

/* What was done to all of the mapping before. */
enum prepared { UNTOUCHED, STORED, SYNCED };

static const struct {
	const char *name;
	unsigned long (*run)(struct work *w);
	enum prepared prepared;
} rows[] = {
	{ "nothing", nothing, UNTOUCHED },
	{ "load", load, UNTOUCHED },
	{ "store", store, UNTOUCHED },
	{ "mmap randrw 4 KiB", mapped_randrw, STORED },
	{ "msync of one page in 1 GiB", msync_page, SYNCED },
	{ "read 4 KiB", read_4k, UNTOUCHED },
	{ "read 4 KiB, 2 threads", read_2_threads, UNTOUCHED },
	{ "read 4 KiB, 4 threads", read_4_threads, UNTOUCHED },
	{ "read 1 MiB", read_1m, UNTOUCHED },
	{ "write 4 KiB", write_4k, UNTOUCHED },
	{ "write 1 MiB", write_1m, UNTOUCHED },
	{ "append 4 KiB", append_4k, UNTOUCHED },
};

static long count_faults(void)
{
	struct rusage usage;

	CHECK(!getrusage(RUSAGE_SELF, &usage));
	return usage.ru_minflt + usage.ru_majflt;
}

/* Of all CPUs since the boot: without what they were idle. */
static long long busy_time(void)
{
	const struct timespec moment = { .tv_nsec = 10 * 1000 * 1000 };
	FILE *file = fopen("/proc/schedstat", "r");
	long long sum = 0, time;
	char line[512];

	CHECK(file);
	nanosleep(&moment, NULL); /* a task's turn is added when it ends */
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "cpu%*u %*u %*u %*u %*u %*u %*u %lld", &time) == 1)
			sum += time;
	fclose(file);
	return sum;
}

static long long now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static void open_file(struct work *w, const char *path)
{
	w->fd = open(path, O_RDWR);
	w->reader = open(path, O_RDONLY);
	w->buffer = malloc(MIB);
	CHECK(w->fd >= 0 && w->reader >= 0 && w->buffer && memset(w->buffer, 'b', MIB));
	w->memory = mmap(NULL, w->size, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);
	CHECK(w->memory != MAP_FAILED);
}

static void prepare(struct work *w, enum prepared prepared)
{
	if (prepared >= STORED)
		store(w);
	if (prepared >= SYNCED)
		CHECK(!msync(w->memory, w->size, MS_SYNC));
}

int main(int argc, char **argv)
{
	struct work w = { .seed = 1 };
	unsigned int row = 0;
	unsigned long operations;
	long long begun, busy;
	long faults;

	CHECK(argc == 5 || argc == 6);
	while (row < sizeof(rows) / sizeof(*rows) && strcmp(rows[row].name, argv[1]))
		row++;
	CHECK(row < sizeof(rows) / sizeof(*rows));
	w.size = strtoul(argv[3], NULL, 10) * MIB;
	w.rounds = strtoul(argv[4], NULL, 10);
	open_file(&w, argv[2]);
	prepare(&w, rows[row].prepared);
	CHECK(!argv[5] || !system(argv[5]));
	busy = busy_time();
	faults = count_faults();
	begun = now();
	operations = rows[row].run(&w);
	begun = now() - begun;
	faults = count_faults() - faults;
	busy = busy_time() - busy;
	CHECK(!argv[5] || !system(argv[5]));
	printf("{\"operations\": %lu, \"ns\": %lld, \"busy\": %lld, \"faults\": %ld}\n", operations,
	       begun, busy, faults);
	return 0;
}
