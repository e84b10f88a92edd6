/* SPDX-License-Identifier: BSD-3-Clause */
/* What the programs of a mount with kernel views have in common (viewed.c, written.c). */
#ifndef VM_PROGRAM_H
#define VM_PROGRAM_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/check.h"

#define UNIT (2ul << 20)
#define PAGE 4096ul
#define SIZE (8 * UNIT)

static sigjmp_buf jump;
static int bus_code;

static inline void on_bus(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	bus_code = info->si_code;
	siglongjmp(jump, 1);
}

static inline bool load_fails(volatile char *address)
{
	struct sigaction action = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER };

	CHECK(!sigaction(SIGBUS, &action, NULL));
	if (sigsetjmp(jump, 1))
		return true;
	(void)*address;
	return false;
}

static inline int make_file(const char *name, char byte, size_t size)
{
	char *bytes = malloc(size);
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);

	CHECK(fd >= 0 && bytes);
	memset(bytes, byte, size);
	CHECK(write(fd, bytes, size) == (ssize_t)size);
	free(bytes);
	return fd;
}

static inline char *map(int fd, size_t size)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(memory != MAP_FAILED);
	return memory;
}

static inline bool is_all(const char *memory, char byte, size_t size)
{
	return memory[0] == byte && !memcmp(memory, memory + 1, size - 1);
}

static inline unsigned int number(unsigned int *state)
{
	*state = *state * 1103515245 + 12345;
	return *state >> 8;
}

#define AREA (2 * UNIT)

/* One change of a file of which `flat` is a copy; its size. */
static inline size_t change(int fd, char *memory, char *flat, size_t size, unsigned int *state)
{
	size_t at = number(state) % AREA, length = 1 + number(state) % (AREA / 8);

	length = at + length > AREA ? AREA - at : length;
	switch (number(state) % 4) {
	case 0: /* a store, inside the file */
		length = at >= size ? 0 : at + length > size ? size - at : length;
		memset(memory + at, (int)at & 127, length);
		memset(flat + at, (int)at & 127, length);
		break;
	case 1:
		memset(flat + at, (int)length & 127, length);
		CHECK(pwrite(fd, flat + at, length, at) == (ssize_t)length);
		size = at + length > size ? at + length : size;
		break;
	case 2:
		CHECK(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, length));
		memset(flat + at, 0, at >= size ? 0 : at + length > size ? size - at : length);
		break;
	case 3:
		CHECK(!ftruncate(fd, at));
		if (at < size)
			memset(flat + at, 0, size - at);
		size = at;
		break;
	}
	return size;
}

struct scenario {
	const char *name;
	void (*run)(void);
};

/* Rounds of all of them, each told on stdout by its number, from `first` on, until there is a file
 * "stop". */
static inline void last(void (*const lasting[])(unsigned int *state), int count, int first)
{
	int status;

	for (int i = 0; i < count; i++) {
		unsigned int state = 77 + (unsigned int)i;
		char line[3] = { '0' + (char)(first + i), '\n' };
		pid_t child;

		child = fork();
		CHECK(child >= 0 && (child || !prctl(PR_SET_PDEATHSIG, SIGKILL)));
		while (!child) {
			lasting[i](&state);
			CHECK(write(STDOUT_FILENO, line, 2) == 2);
			if (!access("stop", F_OK))
				_exit(0);
		}
	}
	for (int i = 0; i < count; i++)
		CHECK(wait(&status) > 0 && status == 0);
}

/* `PROGRAM SCENARIO FOLDER`: does not return if it is one of these. */
static inline void run_scenario(int argc, char **argv, const struct scenario *scenarios, int count)
{
	CHECK(argc == 3 && !chdir(argv[2]));
	for (int i = 0; i < count; i++) {
		if (strcmp(argv[1], scenarios[i].name))
			continue;
		scenarios[i].run();
		exit(0);
	}
}

#endif
