/* SPDX-License-Identifier: BSD-3-Clause */
/* A program that uses libdaxmap itself: `library FILE`, 8 MiB of bytes that tell their offset. */
#define _GNU_SOURCE
#include <daxfuse/daxmap.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../support/check.h"

#define UNIT (2UL << 20)
#define SIZE (4 * UNIT)

static sigjmp_buf jump;
static volatile sig_atomic_t armed;

/* Set after the library's own: it must be asked first. */
static void handler(int sig, siginfo_t *info, void *context)
{
	if (dxm_fault(sig, info, context))
		return;
	if (armed)
		siglongjmp(jump, 1);
	signal(sig, SIG_DFL);
}

static bool touch(volatile char *memory)
{
	volatile bool good = true;

	armed = 1;
	if (sigsetjmp(jump, 1))
		good = false;
	else
		*memory = *memory;
	armed = 0;
	return good;
}

static unsigned kind(const char *memory)
{
	struct dxm_range range;

	CHECK(dxm_query(memory, 4096, &range, 1) == 1);
	return range.kind;
}

static void query(int fd)
{
	char *memory = dxm_map(NULL, SIZE + UNIT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct dxm_range range[4];

	CHECK(memory != MAP_FAILED);
	CHECK(dxm_query(memory, SIZE + UNIT, range, 4) == 2);
	CHECK(range[0].kind == DXM_HUGE && range[0].length == SIZE && range[0].writable);
	CHECK(range[1].kind == DXM_ABSENT && range[1].offset == SIZE);
	CHECK(dxm_query(&fd - (unsigned long)&fd % 4096 / sizeof(fd), 4096, range, 1) == 1);
	CHECK(range[0].kind == DXM_NONE);
	CHECK(!dxm_unmap(memory, SIZE + UNIT));
	/* a unit in which the mapping ends */
	memory = dxm_map(NULL, UNIT + 4096, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(dxm_query(memory, UNIT + 4096, range, 4) == 2);
	CHECK(range[1].kind == DXM_PAGES && !strcmp(dxm_reason_name(range[1].reason), "end"));
	CHECK(!dxm_unmap(memory, UNIT + 4096));
}

static void faults(int fd)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
	char *memory = dxm_map(NULL, SIZE + UNIT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	CHECK(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, UNIT, UNIT));
	CHECK(touch(memory + UNIT));
	CHECK(!touch(memory + SIZE));
	CHECK(dxm_populate(memory, SIZE, PROT_WRITE) == 0);
	FAILS(EFAULT, dxm_populate(memory, SIZE + UNIT, PROT_WRITE));
	CHECK(!dxm_unmap(memory, SIZE + UNIT));
}

/* What is pinned stays though the file loses it, and nobody else gets it. */
static void pins(int fd)
{
	char *memory = dxm_map(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *other, byte;

	CHECK(dxm_pin(memory, 4096 * 3 + 1) == 0);
	CHECK(dxm_unpin(memory, 4096 * 3 + 1) == 0);
	FAILS(EINVAL, dxm_unpin(memory, UNIT));
	FAILS(EINVAL, dxm_pin(memory + SIZE, 4096));
	CHECK(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, UNIT, UNIT));
	CHECK(dxm_pin(memory, 2 * UNIT) == 0);
	CHECK(kind(memory) == DXM_HUGE && kind(memory + UNIT) != DXM_ZERO);
	strcpy(memory, "pinned");
	CHECK(!ftruncate(fd, 0));
	CHECK(!strcmp(memory, "pinned"));
	strcpy(memory, "still here");
	CHECK(!ftruncate(fd, SIZE));
	CHECK(pread(fd, &byte, 1, 0) == 1 && byte == 0);
	CHECK(!strcmp(memory, "still here"));
	/* another mapping has the file as it is */
	other = dxm_map(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(other[0] == 0);
	strcpy(other, "new");
	CHECK(pread(fd, &byte, 1, 0) == 1 && byte == 'n' && !strcmp(memory, "still here"));
	CHECK(!dxm_unmap(other, SIZE));
	CHECK(dxm_unpin(memory, 2 * UNIT) == 0);
	CHECK(!strcmp(memory, "new"));
	CHECK(!dxm_unmap(memory, SIZE));
}

int main(int argc, char **argv)
{
	int fd = argc == 2 ? open(argv[1], O_RDWR) : -1;

	CHECK(fd >= 0);
	query(fd);
	faults(fd);
	pins(fd);
	return 0;
}
