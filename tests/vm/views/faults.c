/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mappings and their faults: how many there are, of which size, which bytes they show, and where
 * they end.
 */
#define _GNU_SOURCE
#include <sys/wait.h>

#include "views.h"

/* 16 MiB are 8 faults for loads, 8 more for the first stores, and the bytes are the device's. */
static void maps(void)
{
	struct view view = backwards(open_session(), 8);
	char *mapped = map(&view, 8 * UNIT, SHARED);
	struct daxview_stat stat;
	unsigned long sum = 0;
	long before;

	for (unsigned int i = 0; i < 8; i++)
		memset(memory + i * UNIT, 'a' + i, UNIT);
	before = minor_faults();
	for (unsigned long at = 0; at < 8 * UNIT; at += PAGE)
		sum += *(volatile char *)(mapped + at);
	CHECK(minor_faults() - before == 8);
	CHECK(sum == 512 * (8 * 'a' + 28) && mapped[0] == 'h' && mapped[7 * UNIT] == 'a');
	before = minor_faults();
	for (unsigned long at = 0; at < 8 * UNIT; at += PAGE)
		*(volatile char *)(mapped + at) = (char)(at / UNIT);
	CHECK(minor_faults() - before == 8);
	stat = stat_of(&view);
	CHECK(stat.faults_huge == 16 && !stat.faults_page && !stat.questions && stat.stored);
	for (unsigned int i = 0; i < 8; i++)
		CHECK(memory[i * UNIT + 5 * PAGE] == (char)(7 - i));
	CHECK(!munmap(mapped, 8 * UNIT));
}

/* Pieces of pages, and the end of the file. */
static void edges(void)
{
	struct view view = create(open_session(), 5 * PAGE + 100);
	char *mapped = map(&view, 8 * PAGE, SHARED);

	for (unsigned int i = 0; i < 6; i++)
		place(&view, i * PAGE, PAGE, (9 - i) * PAGE);
	for (unsigned int i = 0; i < 10; i++)
		memset(memory + i * PAGE, '0' + i, PAGE);
	for (unsigned int i = 0; i < 6; i++)
		CHECK(mapped[i * PAGE] == '9' - (char)i);
	for (unsigned int i = 0; i < 6; i++)
		mapped[i * PAGE + 1] = 'x';
	for (unsigned int i = 0; i < 6; i++)
		CHECK(memory[(9 - i) * PAGE + 1] == 'x');
	CHECK(load_fails(mapped + 6 * PAGE) && store_fails(mapped + 7 * PAGE));
	place(&view, 6 * PAGE, PAGE, 3 * PAGE);
	CHECK(load_fails(mapped + 6 * PAGE));
	resize(&view, 7 * PAGE);
	CHECK(mapped[6 * PAGE] == '3' && load_fails(mapped + 7 * PAGE));
	resize(&view, 2 * PAGE);
	CHECK(mapped[PAGE] == '8' && load_fails(mapped + 2 * PAGE) &&
	      load_fails(mapped + 6 * PAGE));
	CHECK(stat_of(&view).faults_huge == 0);
}

/* A last unit that the file fills in part is mapped in pages, a mapping that is shifted, too. */
static void shapes(void)
{
	struct view view = backwards(open_session(), 4);
	char *mapped = map(&view, 4 * UNIT, SHARED), *shifted;
	struct daxview_stat stat;

	resize(&view, 3 * UNIT + PAGE);
	mapped[3 * UNIT] = 1;
	stat = stat_of(&view);
	CHECK(stat.faults_huge == 0 && stat.faults_page);
	CHECK(load_fails(mapped + 3 * UNIT + PAGE));
	mapped[0] = 2;
	CHECK(stat_of(&view).faults_huge == 1);
	shifted = map(&(struct view){ .fd = view.fd }, 2 * UNIT, SHARED) + PAGE;
	shifted = mmap(shifted, UNIT, SHARED | MAP_FIXED, view.fd, 0);
	CHECK(shifted != MAP_FAILED && shifted[0] == 2);
	shifted[1] = 3;
	CHECK(mapped[1] == 3 && stat_of(&view).faults_huge == 1);
	CHECK(!munmap(mapped + PAGE, PAGE)); /* splits the huge mapping */
	CHECK(mapped[0] == 2 && mapped[2 * PAGE] == memory[3 * UNIT + 2 * PAGE]);
	mapped = mremap(mapped + UNIT, UNIT, 2 * UNIT, MREMAP_MAYMOVE);
	CHECK(mapped != MAP_FAILED);
	mapped[0] = 9;
	CHECK(memory[2 * UNIT] == 9);
	CHECK(!mlock(mapped, UNIT) && !munlock(mapped, UNIT));
}

/* A private mapping keeps its stores to itself; children share a shared one. */
static void private(void)
{
	struct view view = backwards(open_session(), 2);
	char *mine = map(&view, 2 * UNIT, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	char *shared = map(&view, 2 * UNIT, SHARED);
	int status;

	place(&view, UNIT, UNIT, DAXVIEW_HOLE);
	memset(memory + UNIT, 'p', UNIT);
	CHECK(mine[0] == 'p');
	mine[0] = 'q';
	mine[PAGE] = 'q';
	mine[UNIT] = 'q';
	CHECK(mine[UNIT + 1] == 0 && mine[UNIT + PAGE] == 0);
	CHECK(memory[UNIT] == 'p' && memory[UNIT + PAGE] == 'p' && mine[0] == 'q' &&
	      mine[1] == 'p');
	if (!fork()) {
		shared[5] = 'c';
		mine[6] = 'c';
		_exit(mine[0] == 'q' ? 0 : 1);
	}
	CHECK(wait(&status) > 0 && status == 0);
	CHECK(shared[5] == 'c' && mine[6] == 'p');
}

/* What has not changed keeps its mapping. */
static void in_place(void)
{
	struct view view = backwards(open_session(), 4);
	char *mapped = map(&view, 4 * UNIT, SHARED);
	struct daxview_piece pieces[3] = { { 0, UNIT, 3 * UNIT, 0, 0 },
					   { UNIT, UNIT, 8 * UNIT, 0, 0 },
					   { 2 * UNIT, 2 * UNIT, DAXVIEW_HOLE, 0, 0 } };
	struct daxview_stat before;

	for (unsigned int i = 0; i < 4; i++)
		mapped[i * UNIT] = 'a';
	memset(memory + 8 * UNIT, 'b', UNIT);
	before = stat_of(&view);
	CHECK(!try_set(&view, 0, 4 * UNIT, pieces, 3));
	CHECK(mapped[0] == 'a' && stat_of(&view).faults_huge == before.faults_huge);
	CHECK(mapped[UNIT] == 'b' && stat_of(&view).faults_huge == before.faults_huge + 1);
	CHECK(mapped[2 * UNIT] == 0 && mapped[3 * UNIT] == 0);
}

const struct scenario fault_scenarios[] = {
	{ "maps", maps },       { "edges", edges },       { "shapes", shapes },
	{ "private", private }, { "in_place", in_place }, { NULL, NULL },
};
