/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: a hostile guest. The input is the guest's memory, in which a queue lies, and what
 * the driver has put there is served; or it is a series of FUSE requests, which come past the queue, so
 * that more of them are understood. Beside crashes, hangs and sanitizers these are failures: a pool
 * that is damaged afterwards, and an answer whose length is not the one in its header.
 */
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/check/check.h"
#include "daxfuse/vhost/guest.h"
#include "daxfuse/vhost/queue.h"
#include "tests/fuzz/media.h"
#include "tests/fuzz/population.h"

enum { MEMORY = 1 << 16, QUEUE = 16, AVAIL = 0x400, USED = 0x800, DATA = 0x1000, REQUESTS = 64 };

static struct pmem pool;
static char *in, *out, *memory;
static struct chain *chain;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	media_new(POPULATION_SIZE, &pool);
	if (population_make(&pool, false) != 0)
		abort();
	media_keep(&pool);
	in = malloc(GUEST_REQUEST_MAX);
	out = malloc(GUEST_ANSWER_MAX);
	memory = aligned_alloc(4096, MEMORY);
	chain = malloc(sizeof(*chain));
	return 0;
}

static void changed(void *arg, const struct exports_change *change)
{
	(void)arg;
	(void)change;
}

static void let_go(void *arg, uint64_t ino)
{
	vfs_reap(arg, ino, 0);
}

static void forget(void *arg, uint64_t ino, bool data)
{
	(void)arg;
	(void)ino;
	(void)data;
}

static bool reclaim(void *arg)
{
	(void)arg;
	return false;
}

/* ---- requests past the queue ----------------------------------------------------------------- */

struct answer {
	char bytes[GUEST_ANSWER_MAX];
	uint64_t room;
};

static struct answer answer;

static errint_t take_answer(void *arg, uint64_t at, const void *buf, size_t size)
{
	if (at > answer.room || size > answer.room - at)
		return -ENOBUFS;
	memcpy(answer.bytes + at, buf, size);
	return 0;
}

static void serve(struct guest *g, const void *bytes, size_t size, uint64_t room)
{
	const struct guest_answer to = {
		.room = answer.room = room,
		.write = take_answer,
		.scratch = out,
	};
	struct fuse_out_header header;
	uint32_t length = guest_serve(g, bytes, size, &to, NULL);

	if (!length)
		return;
	memcpy(&header, answer.bytes, sizeof(header));
	if (length < sizeof(header) || length != header.len || length > room || header.error > 0 ||
	    header.error < -511 || (header.error && length != sizeof(header)))
		abort();
}

static void greet(struct guest *g)
{
	const struct {
		struct fuse_in_header header;
		struct fuse_init_in init;
	} greeting = {
		.header = { .len = sizeof(greeting), .opcode = FUSE_INIT },
		.init = { .major = 7, .minor = 45, .flags = ~0U, .flags2 = ~0U },
	};

	memcpy(in, &greeting, sizeof(greeting));
	serve(g, in, sizeof(greeting), GUEST_ANSWER_MAX);
}

/* Each: length, opcode, node, uid; then the arguments. */
static void serve_requests(struct guest *g, const uint8_t *data, size_t size)
{
	for (int i = 0; i < REQUESTS && size >= 4; i++) {
		struct fuse_in_header header = {
			.opcode = data[1] % 56,
			.unique = (uint64_t)i + 1,
			.nodeid = data[2] < 64 ? data[2] : FUSE_ROOT_ID,
			.uid = data[3] & 1,
		};
		size_t length = MIN((size_t)data[0], size - 4);

		header.len = (uint32_t)(sizeof(header) + length);
		memcpy(in, &header, sizeof(header));
		memcpy(in + sizeof(header), data + 4, length);
		serve(g, in, header.len, data[3] & 2 ? GUEST_ANSWER_MAX : (uint64_t)data[3] * 2);
		data += 4 + length;
		size -= 4 + length;
	}
}

/* ---- a queue ----------------------------------------------------------------------------------- */

static errint_t write_chain(void *arg, uint64_t at, const void *buf, size_t size)
{
	return chain_write(arg, at, buf, size);
}

static void serve_queue(struct guest *g, const uint8_t *data, size_t size)
{
	struct memory m = {
		.region = { { .size = MEMORY / 2, .at = memory },
			    { .guest = MEMORY / 2,
			      .size = MEMORY / 2,
			      .at = memory + MEMORY / 2 } },
		.count = 2,
	};
	struct queue q = {
		.memory = &m,
		.size = QUEUE,
		.event_idx = data[0] & 1,
		.indirect = data[0] & 2,
		.desc = memory,
		.avail = memory + AVAIL,
		.used = memory + USED,
	};

	memset(memory, 0, MEMORY);
	memcpy(memory, data + 1, MIN(size - 1, (size_t)MEMORY));
	if (queue_begin(&q))
		return;
	for (int i = 0; i < REQUESTS && queue_pop(&q, chain) > 0; i++) {
		const struct guest_answer to = {
			.arg = chain,
			.room = chain->out_bytes,
			.write = write_chain,
			.scratch = out,
		};
		ssize_t bytes = chain->bad || chain->in_bytes > GUEST_REQUEST_MAX
					? -EINVAL
					: chain_read(chain, in, GUEST_REQUEST_MAX);
		uint32_t length = bytes < 0 ? 0 : guest_serve(g, in, (size_t)bytes, &to, NULL);

		if (length > chain->out_bytes || queue_push(&q, chain, length) < 0)
			break;
	}
	queue_sleep(&q);
}

/* ---- both -------------------------------------------------------------------------------------- */

/* All zeroes, and large: a page of it is there when it is used. */
static struct guest_record *empty_record(void)
{
	static void *record;

	if (!record)
		record = mmap(NULL, guest_record_bytes(), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (record == MAP_FAILED || madvise(record, guest_record_bytes(), MADV_DONTNEED))
		abort();
	return record;
}

static void must_be_clean(void)
{
	const struct check_options options = { 0 };
	struct check_result result = { 0 };
	int err;

	pool.read_only = true;
	err = check_pool(&pool, &options, &result);
	pool.read_only = false;
	if (err || result.found) {
		fprintf(stderr, "not clean: error %d, %llu problems\n", err,
			(unsigned long long)result.found);
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct fs_options options = { 0 };
	struct vfs_config config = { .life = 1, .forget = forget, .reclaim = reclaim };
	struct exports_host host = { .changed = changed, .let_go = let_go };
	struct guest_config guest = {
		.root = DXF_ROOT_INO,
		.host = &host,
		.record = empty_record(),
	};
	struct guest *g;

	if (size < 2)
		return 0;
	media_copy(&pool);
	if (fs_mount(&pool, &options, &config.fs, NULL) || vfs_open(&config, &guest.vfs))
		abort();
	host.arg = guest.vfs;
	guest.read_only = data[0] & 4;
	if (guest_new(&guest, &g))
		abort();
	if (!(data[0] & 8))
		greet(g);
	if (data[0] & 16)
		serve_queue(g, data, size);
	else
		serve_requests(g, data + 1, size - 1);
	guest_free(g);
	vfs_close(guest.vfs);
	fs_unmount(config.fs);
	must_be_clean();
	return 0;
}
