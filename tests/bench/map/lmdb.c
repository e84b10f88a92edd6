/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench-lmdb FILE MODE ENTRIES: fill an LMDB in random order, look up all of it in another
 * one, and go through it. JSON: entries a second. MODE: sync, nosync, writemap or mapasync,
 * as the flags of mdb_env_open() are called.
 */
#include <inttypes.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 10000, VALUE = 200 };

static const struct {
	const char *name;
	unsigned flags;
} modes[] = {
	{ "sync", 0 },
	{ "nosync", MDB_NOSYNC },
	{ "writemap", MDB_WRITEMAP },
	{ "mapasync", MDB_WRITEMAP | MDB_MAPASYNC },
};

struct bench {
	MDB_env *env;
	MDB_dbi dbi;
	uint64_t entries;
};

static void check(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "bench-lmdb: %s: %s\n", what, mdb_strerror(err));
	exit(EXIT_FAILURE);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* The key of entry i: one to one, and in no order. */
static uint64_t key_of(uint64_t i)
{
	i *= UINT64_C(0x9e3779b97f4a7c15);
	i ^= i >> 32;
	return i * UINT64_C(0xd6e8feb86659fd93);
}

static void fill(struct bench *b)
{
	char value[VALUE];

	for (uint64_t i = 0; i < b->entries;) {
		MDB_txn *txn;

		check(mdb_txn_begin(b->env, NULL, 0, &txn), "begin");
		for (unsigned n = 0; n < BATCH && i < b->entries; n++, i++) {
			uint64_t number = key_of(i);
			MDB_val key = { sizeof(number), &number }, data = { sizeof(value), value };

			memset(value, (int)number, sizeof(value));
			check(mdb_put(txn, b->dbi, &key, &data, 0), "put");
		}
		check(mdb_txn_commit(txn), "commit");
	}
}

static void look_up(struct bench *b)
{
	MDB_txn *txn;

	check(mdb_txn_begin(b->env, NULL, MDB_RDONLY, &txn), "begin");
	for (uint64_t i = 0; i < b->entries; i++) {
		uint64_t number = key_of(key_of(i) % b->entries);
		MDB_val key = { sizeof(number), &number }, data;

		check(mdb_get(txn, b->dbi, &key, &data), "get");
		if (data.mv_size != VALUE || *(char *)data.mv_data != (char)number)
			check(MDB_CORRUPTED, "get");
	}
	mdb_txn_abort(txn);
}

static void scan(struct bench *b)
{
	uint64_t seen = 0, sum = 0;
	MDB_val key, data;
	MDB_cursor *cursor;
	MDB_txn *txn;

	check(mdb_txn_begin(b->env, NULL, MDB_RDONLY, &txn), "begin");
	check(mdb_cursor_open(txn, b->dbi, &cursor), "cursor");
	while (!mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) {
		for (size_t at = 0; at < data.mv_size; at += 64)
			sum += ((unsigned char *)data.mv_data)[at];
		seen++;
	}
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	if (seen != b->entries || !sum)
		check(MDB_CORRUPTED, "scan");
}

static void measure(struct bench *b, const char *name, void (*part)(struct bench *),
		    const char *behind)
{
	double before = now();

	part(b);
	printf("\"%s\": %.1f%s\n", name, (double)b->entries / (now() - before), behind);
}

static unsigned flags_of(const char *name)
{
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (!strcmp(modes[i].name, name))
			return modes[i].flags;
	}
	fprintf(stderr, "bench-lmdb: no such mode: %s\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
	struct bench b;
	MDB_txn *txn;

	if (argc != 4) {
		fputs("usage: bench-lmdb FILE MODE ENTRIES\n", stderr);
		return 2;
	}
	b.entries = strtoull(argv[3], NULL, 0);
	check(mdb_env_create(&b.env), "environment");
	check(mdb_env_set_mapsize(b.env, ((b.entries * 1024 >> 21) + 32) << 21), "size");
	check(mdb_env_open(b.env, argv[1], MDB_NOSUBDIR | flags_of(argv[2]), 0600), argv[1]);
	check(mdb_txn_begin(b.env, NULL, 0, &txn), "begin");
	check(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY | MDB_CREATE, &b.dbi), "open");
	check(mdb_txn_commit(txn), "commit");
	puts("{");
	measure(&b, "fill", fill, ",");
	measure(&b, "look up", look_up, ",");
	measure(&b, "scan", scan, "");
	puts("}");
	mdb_env_close(b.env);
	return 0;
}
