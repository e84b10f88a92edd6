/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that knows nothing of daxmap: `program SCENARIO FILE`, run plainly and by daxfuse
 * run. FILE is 8 MiB of bytes that tell their offset. Exits 0, or says what was wrong.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../support/check.h"

#define MIB (1UL << 20)
#define UNIT (2 * MIB)
#define SIZE (8 * MIB)

static int fd;
static const char *path;
static bool direct; /* by daxfuse run */

/* Bytes of [memory, memory + length) that are mapped in huge pages, as the kernel counts. */
static size_t huge(const volatile char *memory, size_t length)
{
	FILE *table = fopen("/proc/self/smaps", "r");
	uintptr_t from = (uintptr_t)memory, start = 0, end = 0, s, e;
	size_t sum = 0, n;
	char line[512];

	for (size_t at = 0; at < length; at += 4096)
		(void)memory[at];
	CHECK(table);
	while (fgets(line, sizeof(line), table)) {
		if (sscanf(line, "%lx-%lx ", &s, &e) == 2)
			start = s, end = e;
		else if (start >= from && end <= from + length &&
			 (sscanf(line, "ShmemPmdMapped: %zu", &n) == 1 ||
			  sscanf(line, "FilePmdMapped: %zu", &n) == 1))
			sum += n << 10;
		else if (start >= from && end <= from + length && /* a device-dax */
			 sscanf(line, "KernelPageSize: %zu", &n) == 1 && n == UNIT >> 10)
			sum += end - start;
	}
	fclose(table);
	return sum;
}

static char *map(size_t length, int prot)
{
	char *memory = mmap(NULL, length, prot, MAP_SHARED, fd, 0);

	CHECK(memory != MAP_FAILED);
	return memory;
}

static sigjmp_buf jump;
static volatile sig_atomic_t caught;
static void *volatile caught_at;

static void handler(int sig, siginfo_t *info, void *context)
{
	caught = sig;
	caught_at = info->si_addr;
	siglongjmp(jump, 1);
}

static void catch (void)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	sigfillset(&action.sa_mask);
	CHECK(!sigaction(SIGSEGV, &action, NULL));
	CHECK(!sigaction(SIGBUS, &action, NULL));
}

/* The signal of an access; what the handler is told must be right. */
static int touch(volatile char *memory, bool store)
{
	caught = 0;
	if (!sigsetjmp(jump, 1)) {
		if (store)
			*memory = *memory;
		else
			(void)*memory;
	}
	CHECK(!caught || caught_at == memory);
	return caught;
}

static void simple(void)
{
	char *memory = map(SIZE, PROT_READ | PROT_WRITE), byte;

	for (size_t at = 0; at < SIZE; at += 4096)
		CHECK(*(uint64_t *)(memory + at) == at);
	memory[5 * MIB] = 'x';
	CHECK(pread(fd, &byte, 1, 5 * MIB) == 1 && byte == 'x');
	CHECK(pwrite(fd, "y", 1, 3 * MIB) == 1);
	CHECK(memory[3 * MIB] == 'y');
	CHECK(!msync(memory, SIZE, MS_SYNC));
	CHECK(!direct || huge(memory, SIZE) == SIZE);
	CHECK(!munmap(memory, SIZE));
}

static void end_of_file(void)
{
	char *memory = map(2 * SIZE, PROT_READ | PROT_WRITE);

	catch ();
	CHECK(touch(memory + SIZE, false) == SIGBUS);
	CHECK(touch(memory + SIZE, true) == SIGBUS);
	CHECK(!ftruncate(fd, SIZE + UNIT));
	CHECK(touch(memory + SIZE, true) == 0);
	CHECK(memory[SIZE + 100] == 0);
	CHECK(touch(memory + SIZE + UNIT, false) == SIGBUS);
	CHECK(!ftruncate(fd, MIB));
	CHECK(touch(memory + MIB - 1, true) == 0);
	CHECK(touch(memory + UNIT, false) == SIGBUS);
	CHECK(!ftruncate(fd, SIZE));
	CHECK(touch(memory + UNIT, true) == 0);
	CHECK(memory[UNIT + 8] == 0);
}

static void dies_of_sigbus(void)
{
	*(volatile char *)(map(2 * SIZE, PROT_READ | PROT_WRITE) + SIZE) = 1;
}

static void dies_of_sigsegv(void)
{
	*(volatile char *)map(SIZE, PROT_READ) = 1;
}

static void protection(void)
{
	char *memory = map(SIZE, PROT_READ);
	int other = open(path, O_RDONLY);

	catch ();
	CHECK(touch(memory, true) == SIGSEGV);
	CHECK(touch(memory, false) == 0);
	CHECK(touch(NULL, false) == SIGSEGV);
	CHECK(!mprotect(memory + UNIT, UNIT, PROT_READ | PROT_WRITE));
	CHECK(touch(memory + UNIT, true) == 0);
	CHECK(touch(memory, true) == SIGSEGV);
	CHECK(!mprotect(memory, SIZE, PROT_NONE));
	CHECK(touch(memory + UNIT, false) == SIGSEGV);
	CHECK(!mprotect(memory, SIZE, PROT_READ));
	CHECK(touch(memory + UNIT, false) == 0);
	CHECK(mmap(NULL, SIZE, PROT_WRITE, MAP_SHARED, other, 0) == MAP_FAILED && errno == EACCES);
	memory = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, other, 0);
	CHECK(memory != MAP_FAILED);
	FAILS(EACCES, mprotect(memory, SIZE, PROT_READ | PROT_WRITE));
	CHECK(!direct || huge(memory, SIZE) == SIZE);
}

static void holes(void)
{
	struct stat before, after;
	char *memory, byte;

	CHECK(!ftruncate(fd, 0) && !ftruncate(fd, SIZE));
	memory = map(SIZE, PROT_READ | PROT_WRITE);
	for (size_t at = 0; at < SIZE; at += 4096)
		CHECK(memory[at] == 0);
	CHECK(!fstat(fd, &before));
	CHECK(!direct || before.st_blocks == 0);
	memory[UNIT + 5] = 'x';
	CHECK(pread(fd, &byte, 1, UNIT + 5) == 1 && byte == 'x');
	CHECK(!fstat(fd, &after));
	CHECK(!direct || (after.st_blocks > 0 && after.st_blocks < (off_t)(UNIT >> 9) + 64));
	CHECK(pwrite(fd, "y", 1, 5) == 1);
	CHECK(memory[5] == 'y');
	CHECK(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, UNIT, UNIT));
	CHECK(memory[UNIT + 5] == 0);
	memory[UNIT + 6] = 'z';
	CHECK(pread(fd, &byte, 1, UNIT + 6) == 1 && byte == 'z');
}

static void forks(void)
{
	char *memory = map(SIZE, PROT_READ | PROT_WRITE);
	int status;
	pid_t child;

	memory[0] = 'p';
	child = fork();
	if (!child) {
		CHECK(memory[0] == 'p');
		CHECK(!direct || huge(memory, SIZE) == SIZE);
		memory[3 * MIB] = 'c';
		CHECK(!munmap(memory, UNIT));
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(memory[3 * MIB] == 'c' && memory[0] == 'p');
	memory[1] = 'q';
	/* another program, whose parent's memory is not copied */
	child = vfork();
	if (!child) {
		execl("/proc/self/exe", "program", "private_mapping", path, NULL);
		_exit(127);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, UNIT));
	CHECK(memory[1] == 0);
}

static void remaps(void)
{
	char *memory = map(UNIT, PROT_READ | PROT_WRITE), *moved;

	memory[7] = 'm';
	moved = mremap(memory, UNIT, SIZE, MREMAP_MAYMOVE);
	CHECK(moved != MAP_FAILED);
	CHECK(moved[7] == 'm' && *(uint64_t *)(moved + 6 * MIB) == 6 * MIB);
	CHECK(!direct || huge(moved, SIZE) == SIZE);
	moved[6 * MIB] = 'n';
	memory = mremap(moved, SIZE, 4096, 0);
	CHECK(memory == moved && memory[7] == 'm');
	catch ();
	CHECK(touch(moved + 4096, false) == SIGSEGV);
	CHECK(mremap(memory, 4096, 8192, 0) == memory);
	CHECK(*(uint64_t *)(memory + 4096) == 4096);
}

static void unmaps_parts(void)
{
	char *memory = map(SIZE, PROT_READ | PROT_WRITE);

	catch ();
	CHECK(!munmap(memory + MIB, 3 * MIB));
	CHECK(touch(memory + MIB - 1, true) == 0);
	CHECK(touch(memory + MIB, true) == SIGSEGV);
	CHECK(touch(memory + 4 * MIB - 1, true) == SIGSEGV);
	CHECK(touch(memory + 4 * MIB, true) == 0);
	CHECK(!munmap(memory, SIZE));
	CHECK(touch(memory, true) == SIGSEGV);
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* between others, page by page at an address that does not line up */
	CHECK(mmap(memory + 4096, UNIT, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == memory + 4096);
	CHECK(*(uint64_t *)(memory + 4096 + MIB) == MIB && memory[0] == 0);
	CHECK(mmap(memory, SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	      memory);
	CHECK(*(uint64_t *)(memory + 4096 + MIB) == 0);
}

/* Daemons do so. Afterwards what is taken back must still be got again. */
static void closes_all(void)
{
	char *memory = map(SIZE, PROT_READ | PROT_WRITE);

	for (int i = 3; i < 2000; i++) {
		if (i != fd)
			close(i);
	}
	CHECK(!close_range(fd + 1, ~0U, 0));
	FAILS(EINVAL, close_range(fd, fd - 1, 0));
	for (int i = 10; i < 1024; i++)
		CHECK(dup2(STDERR_FILENO, i) == i);
	CHECK(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, UNIT));
	closefrom(3);
	CHECK(memory[0] == 0);
	memory[9] = 'c';
	CHECK(memory[9] == 'c');
}

static void system_calls(void)
{
	char *memory, *buffer = malloc(SIZE);
	struct iovec part[2];
	FILE *file;
	int pipes[2];

	CHECK(!ftruncate(fd, 0) && !ftruncate(fd, SIZE) && !pipe(pipes));
	memory = map(SIZE, PROT_READ | PROT_WRITE);
	/* to holes, and over the border to one */
	CHECK(write(pipes[1], "hello", 5) == 5 && read(pipes[0], memory + 10, 5) == 5);
	CHECK(!memcmp(memory + 10, "hello", 5));
	CHECK(write(pipes[1], "world", 5) == 5 && read(pipes[0], memory + UNIT - 2, 5) == 5);
	CHECK(!memcmp(memory + UNIT - 2, "world", 5));
	CHECK(write(pipes[1], memory + 3 * UNIT, 5) == 5 && read(pipes[0], buffer, 5) == 5);
	part[0] = (struct iovec){ memory + 2 * UNIT, 3 };
	part[1] = (struct iovec){ memory + 3 * UNIT, 2 };
	CHECK(write(pipes[1], "parts", 5) == 5 && readv(pipes[0], part, 2) == 5);
	CHECK(!memcmp(memory + 3 * UNIT, "ts", 2));
	CHECK(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE));
	file = fopen("/dev/zero", "r");
	CHECK(file && fread(memory, 1, SIZE, file) == SIZE);
	/* of one file to itself, whose memory the kernel reads while the daemon writes */
	memset(memory, 'm', MIB);
	CHECK(pwrite(fd, memory, MIB, 4 * MIB) == MIB);
	CHECK(memory[5 * MIB - 1] == 'm');
	CHECK(pread(fd, memory + 6 * MIB, MIB, 0) == MIB);
	CHECK(memory[7 * MIB - 1] == 'm');
	free(buffer);
}

static void masks(void)
{
	char *memory;
	sigset_t all, old;

	CHECK(!ftruncate(fd, 0) && !ftruncate(fd, SIZE));
	memory = map(SIZE, PROT_READ | PROT_WRITE);
	sigfillset(&all);
	CHECK(!sigprocmask(SIG_BLOCK, &all, NULL));
	memory[0] = 'x';
	CHECK(!pthread_sigmask(SIG_SETMASK, NULL, &old));
	CHECK(sigismember(&old, SIGSEGV) && sigismember(&old, SIGBUS) &&
	      sigismember(&old, SIGTERM));
	CHECK(!pthread_sigmask(SIG_UNBLOCK, &all, &old));
	CHECK(!pthread_sigmask(SIG_SETMASK, NULL, &old));
	CHECK(!sigismember(&old, SIGSEGV) && !sigismember(&old, SIGTERM));
	CHECK(signal(SIGSEGV, SIG_IGN) == SIG_DFL);
	memory[UNIT] = 'x';
	CHECK(signal(SIGSEGV, SIG_DFL) == SIG_IGN);
}

static void *store(void *argument)
{
	volatile uint64_t *word = argument;
	time_t end = time(NULL) + 2;

	for (uint64_t n = 1; time(NULL) <= end; n++) {
		size_t at = n % 4 * UNIT / sizeof(*word);

		word[at] = n;
		/* 0: somebody has punched a hole meanwhile */
		if (word[at] != n && word[at] != 0)
			return "another value";
	}
	return NULL;
}

/* While others punch holes and move what lies there; SLOT: which one of several processes. */
static void threads(void)
{
	char *memory = map(SIZE, PROT_READ | PROT_WRITE) + 512;
	pthread_t thread[3];
	void *complaint;

	if (getenv("SLOT"))
		memory += 256 * atoi(getenv("SLOT"));
	for (int i = 0; i < 3; i++)
		CHECK(!pthread_create(&thread[i], NULL, store, memory + i * 64));
	for (int i = 0; i < 3; i++) {
		CHECK(!pthread_join(thread[i], &complaint));
		CHECK(!complaint);
	}
}

/* One line from stdin for each step that another process has made meanwhile. */
static void steps(void)
{
	char *memory = map(SIZE, PROT_READ | PROT_WRITE), line[16];

	for (unsigned n = 1; fgets(line, sizeof(line), stdin); n++) {
		memory[n] = (char)n;
		memory[n + 3 * UNIT] = (char)n;
		CHECK(!munmap(map(UNIT, PROT_READ), UNIT));
		printf("%u\n", n);
		fflush(stdout);
	}
}

static void advice(void)
{
	char *memory = map(SIZE, PROT_READ | PROT_WRITE);

	memory[1] = 'x';
	CHECK(!madvise(memory, SIZE, MADV_DONTNEED));
	CHECK(memory[1] == 'x');
	CHECK(!madvise(memory, SIZE, MADV_SEQUENTIAL) && !madvise(memory, SIZE, MADV_WILLNEED));
	CHECK(!madvise(memory, UNIT, MADV_REMOVE));
	CHECK(memory[1] == 0);
	CHECK(!madvise(memory, SIZE, MADV_HUGEPAGE));
	CHECK(!direct || huge(memory, SIZE) >= 3 * UNIT);
}

static void private_mapping(void)
{
	char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), byte;

	CHECK(memory != MAP_FAILED && *(uint64_t *)(memory + MIB) == MIB);
	memory[MIB] = 'p';
	CHECK(pread(fd, &byte, 1, MIB) == 1 && byte == 0);
}

/* What another process is told of a lock of this one on the whole file. */
static bool is_locked(void)
{
	int status;
	pid_t child = fork();

	if (!child) {
		struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

		_exit(fcntl(fd, F_SETLK, &lock) ? 1 : 0);
	}
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Locks of a process on a file end when it closes any descriptor of the file: not ours. */
static void record_locks(void)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	char *memory;

	CHECK(!is_locked());
	CHECK(!fcntl(fd, F_SETLK, &lock));
	for (int i = 0; i < 3; i++) {
		memory = map(SIZE, PROT_READ | PROT_WRITE);
		CHECK(is_locked());
		memory[i] = 'x';
		CHECK(!munmap(memory, SIZE));
		CHECK(is_locked());
	}
	lock.l_type = F_UNLCK;
	CHECK(!fcntl(fd, F_SETLK, &lock));
	CHECK(!is_locked());
	map(SIZE, PROT_READ);
}

/* libc has all threads change it, and waits for each. */
static void changes_user(void)
{
	char *memory = map(SIZE, PROT_READ | PROT_WRITE);

	alarm(20);
	CHECK(!setegid(getegid()) && !seteuid(geteuid()));
	memory[0] = 'x';
}

/* What may be written may be read, too, on all machines of ours. */
static void write_only(void)
{
	volatile char *memory = map(SIZE, PROT_WRITE);

	CHECK(!madvise((void *)memory, UNIT, MADV_REMOVE));
	CHECK(memory[5] == 0);
	memory[5] = 'x';
	CHECK(memory[5] == 'x' && *(uint64_t *)(memory + 3 * MIB) == 3 * MIB);
	CHECK(!mprotect((void *)memory, SIZE, PROT_READ) &&
	      !mprotect((void *)memory, SIZE, PROT_WRITE));
	CHECK(memory[5] == 'x' && *(uint64_t *)(memory + 5 * MIB) == 5 * MIB);
}

/* The kernel reads what is to be locked in memory. */
static void locks_memory(void)
{
	char *memory = map(SIZE, PROT_READ | PROT_WRITE);

	CHECK(!madvise(memory, UNIT, MADV_REMOVE));
	CHECK(!mlock(memory, UNIT) && !munlock(memory, UNIT));
	CHECK(!mprotect(memory, SIZE, PROT_NONE) && !mprotect(memory, SIZE, PROT_READ));
	CHECK(!mlock2(memory, SIZE, 0) && !munlock(memory, SIZE));
}

static void jump_back(int sig, siginfo_t *info, void *context)
{
	siglongjmp(jump, sig);
}

/* The child of a vfork() has descriptors and signals of its own, in our memory. */
static void vforks(void)
{
	char *memory = map(SIZE, PROT_READ | PROT_WRITE), byte;
	struct stat st;
	pid_t child;
	int status;

	CHECK(!madvise(memory, UNIT, MADV_REMOVE));
	child = vfork();
	if (!child) {
		for (int n = 3; n < 8192; n++) {
			if (n != fd && !fstat(n, &st))
				dup2(0, n);
		}
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && !status);
	memory[9] = 'x';
	memory[UNIT] = 'y';
	CHECK(pread(fd, &byte, 1, 9) == 1 && byte == 'x');
}

static void tick(int sig)
{
	caught = sig;
}

/* A profiler's timer makes no difference. */
static void interrupted(void)
{
	const struct itimerval often = { { 0, 50 }, { 0, 50 } }, never = { 0 };
	struct sigaction action = { .sa_handler = tick };

	CHECK(!sigaction(SIGALRM, &action, NULL));
	CHECK(!setitimer(ITIMER_REAL, &often, NULL));
	for (int i = 0; i < 200; i++) {
		char *memory = map(SIZE, PROT_READ | PROT_WRITE);

		memory[i] = 'x';
		if (direct && i % 50 == 0)
			CHECK(huge(memory, SIZE) == SIZE);
		CHECK(!munmap(memory, SIZE));
	}
	CHECK(!setitimer(ITIMER_REAL, &never, NULL) && caught);
}

/* When the daemon has ended for good: what is mapped stays, all else is a SIGBUS, at once. */
static void outlives_mount(void)
{
	struct sigaction action = { .sa_sigaction = jump_back, .sa_flags = SA_SIGINFO };
	volatile char *memory = map(SIZE, PROT_READ | PROT_WRITE);
	volatile int buses = 0;
	struct timespec begin, end;

	CHECK(!madvise((void *)(memory + UNIT), UNIT, MADV_REMOVE));
	CHECK(memory[UNIT] == 0);
	memory[7] = 'x';
	CHECK(!sigaction(SIGBUS, &action, NULL));
	puts("mapped");
	fflush(stdout);
	(void)!getchar();
	sleep(1);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (volatile size_t at = UNIT; at < 2 * UNIT; at += 4096) {
		if (sigsetjmp(jump, 1))
			buses++;
		else
			(void)memory[at];
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	CHECK(buses == UNIT / 4096 && end.tv_sec - begin.tv_sec < 5);
	CHECK(memory[7] == 'x');
	memory[8] = 'x';
	CHECK(!munmap((void *)memory, SIZE));
}

static const struct {
	const char *name;
	void (*run)(void);
} scenarios[] = {
	{ "simple", simple },
	{ "end_of_file", end_of_file },
	{ "dies_of_sigbus", dies_of_sigbus },
	{ "dies_of_sigsegv", dies_of_sigsegv },
	{ "protection", protection },
	{ "holes", holes },
	{ "forks", forks },
	{ "remaps", remaps },
	{ "unmaps_parts", unmaps_parts },
	{ "closes_all", closes_all },
	{ "system_calls", system_calls },
	{ "masks", masks },
	{ "threads", threads },
	{ "steps", steps },
	{ "advice", advice },
	{ "private_mapping", private_mapping },
	{ "record_locks", record_locks },
	{ "changes_user", changes_user },
	{ "vforks", vforks },
	{ "interrupted", interrupted },
	{ "outlives_mount", outlives_mount },
	{ "write_only", write_only },
	{ "locks_memory", locks_memory },
};

int main(int argc, char **argv)
{
	CHECK(argc == 3);
	path = argv[2];
	fd = open(path, O_RDWR);
	CHECK(fd >= 0);
	direct = getenv("LD_PRELOAD") && strstr(getenv("LD_PRELOAD"), "daxmap");
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		if (!strcmp(scenarios[i].name, argv[1])) {
			scenarios[i].run();
			return 0;
		}
	}
	CHECK(!"a scenario");
}
