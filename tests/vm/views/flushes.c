/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is dirty: which pages were stored to, that they are flushed, once, and what is mapped then.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/uio.h>
#include <sys/utsname.h>

#include "views.h"

/* Which pages were stored to, whatever was flushed meanwhile. */
static void protects(void)
{
	struct view view = create(open_session(), 4 * UNIT);
	char *mapped = map(&view, 4 * UNIT, SHARED);
	__u64 bits[4 * 512 / 64] = { 0 };
	long before;

	for (unsigned int i = 0; i < 3; i++)
		place(&view, i * UNIT, UNIT, i * UNIT);
	for (unsigned long at = 3 * UNIT; at < 4 * UNIT; at += PAGE)
		place(&view, at, PAGE, 9 * UNIT - at);
	CHECK(mapped[0] == memory[0]);
	mapped[UNIT] = 1;
	mapped[3 * UNIT + 7 * PAGE] = 1;
	CHECK(pwrite(view.fd, "ab", 2, 2 * UNIT + 3 * PAGE - 1) == 2);
	CHECK(!fsync(view.fd) && !msync(mapped, 4 * UNIT, MS_SYNC));
	CHECK(!clean(&view, DAXVIEW_IOC_PROTECT, 0, 4 * UNIT, bits));
	for (int i = 0; i < 8; i++)
		CHECK(!bits[i] && bits[8 + i] == ~0ull);
	CHECK(bits[16] == 12 && !bits[17] && bits[24] == 1 << 7 && !bits[25]);
	memset(bits, 0, sizeof(bits));
	CHECK(!clean(&view, DAXVIEW_IOC_PROTECT, 0, 4 * UNIT, bits));
	for (unsigned int i = 0; i < 32; i++)
		CHECK(!bits[i]);
	before = minor_faults();
	mapped[UNIT] = 2;
	mapped[UNIT + PAGE] = 2;
	CHECK(minor_faults() - before == 1);
	CHECK(!clean(&view, DAXVIEW_IOC_SYNC, UNIT, PAGE, NULL));
	CHECK(!clean(&view, DAXVIEW_IOC_PROTECT, UNIT, PAGE, bits) && bits[0] == 1);
	FAILS(EFAULT, clean(&view, DAXVIEW_IOC_PROTECT, 0, 4 * UNIT, nowhere));
	CHECK(!clean(&view, DAXVIEW_IOC_PROTECT, 0, 4 * UNIT, bits) && bits[9] == ~0ull);
}

/* What is dirty is flushed, once, before it leaves its view at the latest; what is written, never. */
static void flushes(void)
{
	struct view view = create(open_session(), 4 * UNIT);
	char *mapped = map(&view, 4 * UNIT, SHARED);

	for (unsigned int i = 0; i < 3; i++)
		place(&view, i * UNIT, UNIT, i * UNIT);
	for (unsigned long at = 3 * UNIT; at < 4 * UNIT; at += PAGE)
		place(&view, at, PAGE, 9 * UNIT - at);
	CHECK(pwrite(view.fd, "ab", 2, 0) == 2 && mapped[UNIT] == memory[UNIT]);
	CHECK(!fsync(view.fd) && stat_of(&view).flushed == 0);
	mapped[3 * UNIT + PAGE] = 1;
	mapped[3 * UNIT + 3 * PAGE] = 1;
	CHECK(!fsync(view.fd) && stat_of(&view).flushed == 2);
	CHECK(!fsync(view.fd) && stat_of(&view).flushed == 2);
	mapped[3 * UNIT + PAGE] = 2;
	mapped[0] = 2;
	CHECK(!msync(mapped + UNIT, UNIT, MS_SYNC) && stat_of(&view).flushed == 2);
	CHECK(!msync(mapped, UNIT, MS_SYNC) && stat_of(&view).flushed == 514);
	forget(&view, 3 * UNIT + PAGE, PAGE);
	CHECK(stat_of(&view).flushed == 515);
	mapped[UNIT] = 3;
	place(&view, UNIT, UNIT, 12 * UNIT);
	CHECK(stat_of(&view).flushed == 1027);
	mapped[3 * UNIT + 9 * PAGE] = 3;
	CHECK(!revoke_view(&view) && stat_of(&view).flushed == 1028);
}

/* The kernel's version is at least that. */
static bool kernel_has(int major, int minor)
{
	struct utsname is;
	int has[2];

	CHECK(!uname(&is) && sscanf(is.release, "%d.%d", &has[0], &has[1]) == 2);
	return has[0] > major || (has[0] == major && has[1] >= minor);
}

static long faults_of_loads(volatile char *mapped)
{
	long before = minor_faults();

	for (unsigned long at = 0; at < UNIT; at += PAGE)
		(void)mapped[at];
	return minor_faults() - before;
}

/* Some pages of a unit that is dirty are flushed: a store to any page of it is seen, in those, and
 * in the others. */
static void flush_part(const struct view *view, char *mapped, unsigned long first,
		       unsigned long pages, unsigned long stored)
{
	__u64 before;

	memset(mapped, 'f', UNIT);
	before = stat_of(view).flushed;
	CHECK(!msync(mapped + first * PAGE, pages * PAGE, MS_SYNC));
	CHECK(stat_of(view).flushed == before + pages);
	mapped[stored * PAGE] = 'g';
	CHECK(!msync(mapped + stored * PAGE, PAGE, MS_SYNC));
	CHECK(stat_of(view).flushed == before + pages + 1);
	CHECK(!fsync(view->fd) && !fsync(view->fd));
	CHECK(memory[stored * PAGE] == 'g' && memory[(stored ^ 1) * PAGE] == 'f');
}

/* What was flushed is mapped still, where the kernel lets a module protect it: for loads. */
static void stays_mapped(void)
{
	struct view view = backwards(open_session(), 1);
	char *mapped = map(&view, UNIT, SHARED), *shifted, *own;
	bool stays = kernel_has(6, 17);

	shifted = map(&view, UNIT, SHARED) + PAGE;
	shifted = mmap(shifted, UNIT, SHARED | MAP_FIXED, view.fd, 0);
	own = map(&view, UNIT, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	CHECK(shifted != MAP_FAILED);
	memset(mapped, 'a', UNIT);
	memset(shifted, 'b', UNIT);
	memset(own, 'o', UNIT / 2);
	faults_of_loads(own);
	CHECK(!fsync(view.fd) && stat_of(&view).flushed == 512);
	if (stays)
		CHECK(!faults_of_loads(mapped) && !faults_of_loads(shifted) &&
		      !faults_of_loads(own));
	CHECK(own[0] == 'o' && own[UNIT / 2] == 'b');
	shifted[3 * PAGE] = 'c';
	CHECK(!fsync(view.fd) && stat_of(&view).flushed == 513);
	mapped[5 * PAGE] = 'd';
	CHECK(!fsync(view.fd) && stat_of(&view).flushed == 1025);
	CHECK(memory[3 * PAGE] == 'c' && shifted[5 * PAGE] == 'd' && own[0] == 'o');
	CHECK(!munmap(shifted, UNIT));
	flush_part(&view, mapped, 0, 1, 0);
	flush_part(&view, mapped, 0, 1, 511);
	flush_part(&view, mapped, 63, 2, 64);
	flush_part(&view, mapped, 1, 510, 0);
	flush_part(&view, mapped, 100, 300, 101);
	flush_part(&view, mapped, 0, 512, 7);
}

/* A device may be storing to what it was given before: that is flushed each time until it is not. */
static void flushed_in_use(void)
{
	struct view view = create(open_session(), UNIT);
	char *mapped = map(&view, UNIT, SHARED), bytes[PAGE];
	struct iovec piece = { mapped, PAGE };
	int pipes[2];
	__u64 last;

	place(&view, 0, UNIT, 0);
	memset(mapped, 'u', PAGE);
	CHECK(!pipe(pipes) && vmsplice(pipes[1], &piece, 1, 0) == (ssize_t)PAGE);
	CHECK(!fsync(view.fd));
	last = stat_of(&view).flushed;
	CHECK(last && !fsync(view.fd) && stat_of(&view).flushed > last);
	CHECK(read(pipes[0], bytes, PAGE) == (ssize_t)PAGE && bytes[0] == 'u');
	last = stat_of(&view).flushed;
	CHECK(!fsync(view.fd) && stat_of(&view).flushed > last);
	last = stat_of(&view).flushed;
	CHECK(!fsync(view.fd) && stat_of(&view).flushed == last);
}

const struct scenario flush_scenarios[] = {
	{ "flushed_in_use", flushed_in_use }, { "protects", protects }, { "flushes", flushes },
	{ "stays_mapped", stays_mapped },     { NULL, NULL },
};
