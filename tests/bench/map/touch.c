/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench-touch FILE: map FILE shared, four times, as any program does: twice nothing is
 * touched, then a byte is stored to each 4 KiB page, then all of it is set. JSON: what
 * each took, and its minor page faults. Knows nothing of daxfuse.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
/* Before each mapping: what others do after the one before is theirs. */
#define PAUSE_US 300000

static void check(int failed, const char *what)
{
	if (!failed)
		return;
	fprintf(stderr, "bench-touch: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

static void nothing(char *memory, size_t length)
{
	(void)memory;
	(void)length;
}

static void store(char *memory, size_t length)
{
	for (size_t at = 0; at < length; at += PAGE)
		*(volatile char *)(memory + at) = 1;
}

static void set(char *memory, size_t length)
{
	memset(memory, 2, length);
	/* what is stored is looked at: the compiler must store it */
	__asm__ volatile("" : : "r"(memory) : "memory");
}

static void measure(const char *name, int fd, size_t length, void (*touch)(char *, size_t),
		    const char *behind)
{
	double before, mapped, touched, unmapped;
	char *memory;
	long taken;

	usleep(PAUSE_US);
	before = now();
	memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	mapped = now();
	check(memory == MAP_FAILED, "mmap");
	taken = faults();
	touch(memory, length);
	taken = faults() - taken;
	touched = now();
	check(munmap(memory, length), "munmap");
	unmapped = now();
	printf("\"%s\": {\"map\": %.9f, \"touch\": %.9f, \"unmap\": %.9f, \"faults\": %ld}%s\n",
	       name, mapped - before, touched - mapped, unmapped - touched, taken, behind);
}

int main(int argc, char **argv)
{
	struct stat st;
	int fd;

	if (argc != 2) {
		fputs("usage: bench-touch FILE\n", stderr);
		return 2;
	}
	fd = open(argv[1], O_RDWR);
	check(fd < 0 || fstat(fd, &st), argv[1]);
	puts("{");
	measure("first", fd, (size_t)st.st_size, nothing, ",");
	measure("again", fd, (size_t)st.st_size, nothing, ",");
	measure("store", fd, (size_t)st.st_size, store, ",");
	measure("memset", fd, (size_t)st.st_size, set, "");
	puts("}");
	return 0;
}
