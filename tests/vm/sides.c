/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * usage: sides FILE SIDE SIDES SLOTS ROUNDS
 *
 * One of SIDES programs, on machines that share a file's memory: all map it, and slot i of SLOTS,
 * spread evenly over the file, belongs to side i % SIDES. Its owner writes it ROUNDS times, each time
 * words that tell of side, slot and round, and then the round's number; by turns through the mapping and
 * by pwrite(2). The others read: numbers only go up, each word is one of the rounds between the two
 * numbers that were read around it, and in the end all is of the last round. Nobody is more than LAG
 * rounds ahead of another. Prints "ok", or what is wrong. It fails after five minutes.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORDS 7
#define LAG 2
#define LIMIT 300

struct slot {
	_Atomic uint64_t round;
	_Atomic uint64_t words[WORDS];
};

static char *memory;
static int fd;
static uint64_t side, sides, slots, rounds, stride;

static struct slot *slot_at(uint64_t i)
{
	return (struct slot *)(memory + i * stride);
}

static uint64_t word_of(uint64_t i, uint64_t round)
{
	return round ? (i % sides + 1) << 56 | i << 24 | round : 0;
}

static void write_slot(uint64_t i, uint64_t round)
{
	struct slot *slot = slot_at(i);
	uint64_t words[WORDS];

	for (int w = 0; w < WORDS; w++)
		words[w] = word_of(i, round);
	if (round % 2) {
		for (int w = 0; w < WORDS; w++)
			slot->words[w] = words[w];
	} else if (pwrite(fd, words, sizeof(words), (off_t)(i * stride + sizeof(slot->round))) !=
		   sizeof(words)) {
		perror("pwrite");
		exit(1);
	}
	slot->round = round;
}

/* The round that slot i is in; ends the program if anything in it is of no round that it may be in. */
static uint64_t check_slot(uint64_t i, uint64_t seen)
{
	const struct slot *slot = slot_at(i);
	uint64_t before = slot->round, words[WORDS], after;

	for (int w = 0; w < WORDS; w++)
		words[w] = slot->words[w];
	after = slot->round;
	bool wrong = before < seen || after < before || after > rounds;

	for (int w = 0; w < WORDS; w++) {
		uint64_t round = words[w] & 0xffffff;

		wrong |= words[w] != word_of(i, round) || round < before || round > after + 1;
	}
	if (wrong) {
		printf("slot %lu: rounds %lu, %lu, %lu;", i, seen, before, after);
		for (int w = 0; w < WORDS; w++)
			printf(" %lx", words[w]);
		printf("\n");
		exit(1);
	}
	return before;
}

/* Looks at all slots of the others, until no one is behind that round. */
static void check_others(uint64_t *seen, uint64_t round)
{
	uint64_t slowest;

	do {
		slowest = rounds;
		for (uint64_t i = 0; i < slots; i++) {
			if (i % sides == side)
				continue;
			seen[i] = check_slot(i, seen[i]);
			if (seen[i] < slowest)
				slowest = seen[i];
		}
	} while (slowest < round);
}

int main(int argc, char **argv)
{
	struct stat stat;

	if (argc != 6)
		return 2;
	side = strtoull(argv[2], NULL, 10);
	sides = strtoull(argv[3], NULL, 10);
	slots = strtoull(argv[4], NULL, 10);
	rounds = strtoull(argv[5], NULL, 10);
	alarm(LIMIT);
	fd = open(argv[1], O_RDWR);
	if (fd < 0 || fstat(fd, &stat) < 0) {
		perror(argv[1]);
		return 1;
	}
	stride = (uint64_t)stat.st_size / slots / 64 * 64;
	memory = mmap(NULL, (size_t)stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint64_t *seen = calloc(slots, sizeof(*seen));

	if (memory == MAP_FAILED || !seen) {
		perror("mmap");
		return 1;
	}
	for (uint64_t round = 1; round <= rounds; round++) {
		for (uint64_t i = side; i < slots; i += sides)
			write_slot(i, round);
		check_others(seen, round > LAG ? round - LAG : 0);
	}
	check_others(seen, rounds);
	for (uint64_t i = side; i < slots; i += sides)
		check_slot(i, rounds);
	printf("ok\n");
	return 0;
}
