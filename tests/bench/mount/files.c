/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench-files FOLDER COUNT JOBS: create, stat, append to, and unlink COUNT files
 * through the kernel, by JOBS processes each in folders of its own. Prints JSON:
 * operations a second of all jobs together. "durable" writes 4 KiB and fsyncs,
 * "append" adds 4 KiB to one open file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
/* Files in each folder: fuse2fs, for one, searches its folders from end to end. */
#define FOLDER 1000

static char block[BLOCK];

static void check(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "bench-files: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void name_of(char *name, unsigned long i)
{
	sprintf(name, "d-%lu/f-%lu", i / FOLDER, i);
}

static void folder_of(char *name, unsigned long i)
{
	sprintf(name, "d-%lu", i / FOLDER);
}

static void make_files(unsigned long count)
{
	char name[64];

	for (unsigned long i = 0; i < count; i++) {
		int fd;

		if (i % FOLDER == 0) {
			folder_of(name, i);
			check(mkdir(name, 0755), name);
		}
		name_of(name, i);
		fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);
		check(fd, name);
		check(close(fd), name);
	}
}

static void stat_files(unsigned long count)
{
	char name[64];
	struct stat st;

	for (unsigned long i = 0; i < count; i++) {
		name_of(name, i);
		check(stat(name, &st), name);
	}
}

static void rename_files(unsigned long count)
{
	char name[64], other[80];

	for (unsigned long i = 0; i < count; i++) {
		name_of(name, i);
		sprintf(other, "%s-r", name);
		check(rename(name, other), name);
		check(rename(other, name), name);
	}
}

static void unlink_files(unsigned long count)
{
	char name[64];

	for (unsigned long i = 0; i < count; i++) {
		name_of(name, i);
		check(unlink(name), name);
		if (i % FOLDER == FOLDER - 1 || i == count - 1) {
			folder_of(name, i);
			check(rmdir(name), name);
		}
	}
}

static void append_blocks(unsigned long count)
{
	int fd = open("append", O_WRONLY | O_CREAT | O_APPEND, 0644);

	check(fd, "append");
	for (unsigned long i = 0; i < count; i++)
		check((int)write(fd, block, BLOCK), "append");
	check(close(fd), "append");
	check(unlink("append"), "append");
}

static void write_durably(unsigned long count)
{
	int fd = open("durable", O_RDWR | O_CREAT, 0644);

	check(fd, "durable");
	check(ftruncate(fd, 1024 * BLOCK), "durable");
	for (unsigned long i = 0; i < count; i++) {
		check((int)pwrite(fd, block, BLOCK, (off_t)(i * 7919 % 1024) * BLOCK), "durable");
		check(fsync(fd), "durable");
	}
	check(close(fd), "durable");
	check(unlink("durable"), "durable");
}

static const struct phase {
	const char *name;
	void (*run)(unsigned long count);
	unsigned long divisor; /* of the count */
	unsigned calls;        /* each step of run() makes */
} phases[] = {
	{ "create", make_files, 1, 1 },     { "stat", stat_files, 1, 1 },
	{ "rename", rename_files, 10, 2 },  { "unlink", unlink_files, 1, 1 },
	{ "append", append_blocks, 10, 1 }, { "durable", write_durably, 10, 1 },
};
#define PHASES (sizeof(phases) / sizeof(phases[0]))

/* Shared by the jobs: when each of them began and ended each phase. */
struct times {
	double began, ended;
};

static void run_phase(const char *folder, unsigned phase, unsigned long count, unsigned jobs,
		      struct times *times)
{
	for (unsigned job = 0; job < jobs; job++) {
		char path[4096];
		pid_t child = fork();

		check(child, "fork");
		if (child > 0)
			continue;
		snprintf(path, sizeof(path), "%s/job-%u", folder, job);
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			check(-1, path);
		check(chdir(path), path);
		times[job].began = now();
		phases[phase].run(count);
		times[job].ended = now();
		_exit(0);
	}
	for (unsigned job = 0; job < jobs; job++) {
		int status;

		check(wait(&status), "wait");
		if (status)
			exit(EXIT_FAILURE);
	}
}

int main(int argc, char **argv)
{
	unsigned long count = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
	unsigned jobs = argc == 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
	struct times *times;

	if (!count || !jobs) {
		fputs("usage: bench-files FOLDER COUNT JOBS\n", stderr);
		return 2;
	}
	times = mmap(NULL, jobs * sizeof(*times), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (times == MAP_FAILED)
		check(-1, "memory");
	printf("{");
	for (unsigned i = 0; i < PHASES; i++) {
		unsigned long share = count / jobs / phases[i].divisor + 1;
		double began, ended;

		fflush(stdout);
		run_phase(argv[1], i, share, jobs, times);
		began = times[0].began;
		ended = times[0].ended;
		for (unsigned job = 1; job < jobs; job++) {
			began = times[job].began < began ? times[job].began : began;
			ended = times[job].ended > ended ? times[job].ended : ended;
		}
		printf("%s\"%s\": %.0f", i ? ", " : "", phases[i].name,
		       (double)(share * jobs * phases[i].calls) / (ended - began));
	}
	puts("}");
	return 0;
}
