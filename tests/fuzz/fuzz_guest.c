/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: a hostile guest. The input is the guest's memory, in which a queue lies, and
 * what the driver has put there is served; or it is a series of FUSE requests, which come past the
 * queue, so that more of them are understood. It may have a window, of a VMM that maps or refuses;
 * then it stores through all that it has mapped, after each request. Beside crashes, hangs and
 * sanitizers these are failures: a pool that is damaged afterwards, an answer whose length is not
 * the one in its header, a piece that is mapped twice or outside of the window.
 */
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/check/check.h"
#include "daxfuse/vhost/dialect.h"
#include "daxfuse/vhost/guest.h"
#include "daxfuse/vhost/queue.h"
#include "daxfuse/vhost/window.h"
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

/* ---- the VMM --------------------------------------------------------------------------------- */

enum { WINDOW_UNITS = 4, REFUSES = 7 };

static struct {
	uint64_t device_offset[WINDOW_UNITS]; /* 0: nothing is there */
	unsigned asked;
	bool refuses, maps_over;
} vmm;

void shmem_open(struct shmem *s, int channel)
{
	*s = (struct shmem){ .channel = channel };
}

void shmem_close(struct shmem *s)
{
	s->channel = -1;
}

errint_t shmem_settle(struct shmem *s, const struct shmem_patience *patience)
{
	(void)s;
	(void)patience;
	abort(); /* nothing is owed here */
}

errint_t shmem_ask(struct shmem *s, enum shmem_kind kind, const struct shmem_piece *piece,
		   const struct shmem_patience *patience)
{
	uint64_t *at = &vmm.device_offset[piece->window_offset / WINDOW_UNIT % WINDOW_UNITS];

	(void)patience;
	if (s->channel < 0)
		return -ENOTCONN;
	if (kind == SHMEM_BARRIER)
		return 0;
	if (piece->length != WINDOW_UNIT || piece->window_offset % WINDOW_UNIT ||
	    piece->window_offset / WINDOW_UNIT >= WINDOW_UNITS)
		abort();
	if (kind == SHMEM_UNMAP && !*at)
		abort();
	if (kind == SHMEM_MAP && vmm.refuses && ++vmm.asked % REFUSES == 0)
		return -EREMOTEIO;
	if (kind == SHMEM_MAP && *at && (!vmm.maps_over || *at != piece->file_offset))
		abort();
	*at = kind == SHMEM_MAP ? piece->file_offset : 0;
	return 0;
}

/* Whatever the guest has asked for, it stores there. */
static void store_through_window(void)
{
	static const char bytes[64] = "stored by a guest through its window";

	for (unsigned i = 0; i < WINDOW_UNITS; i++) {
		for (uint64_t at = 0; vmm.device_offset[i] && at < WINDOW_UNIT; at += 65536)
			pmem_write_nt(&pool, pmem_at(&pool, vmm.device_offset[i] + at), bytes,
				      sizeof(bytes));
	}
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
		.stop = -1,
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

/* Arguments that mean something are not found by chance. */
static size_t put_mapping(uint32_t opcode, const uint8_t *data, size_t size, char *ret_arguments)
{
	const struct fuse_setupmapping_in setup = {
		.foffset = data[0] % 16 * WINDOW_UNIT,
		.moffset = data[1] % (WINDOW_UNITS + 1) * WINDOW_UNIT,
		.len = (1 + data[2] / 200) * WINDOW_UNIT,
		.flags = data[2] & 3,
	};
	const struct fuse_removemapping_one one = { setup.moffset, setup.len };
	const struct fuse_removemapping_in remove = { 1 };

	(void)size;
	if (opcode == FUSE_SETUPMAPPING) {
		memcpy(ret_arguments, &setup, sizeof(setup));
		return sizeof(setup);
	}
	memcpy(ret_arguments, &remove, sizeof(remove));
	memcpy(ret_arguments + sizeof(remove), &one, sizeof(one));
	return sizeof(remove) + sizeof(one);
}

static bool is_mapping(uint32_t opcode)
{
	return opcode == FUSE_SETUPMAPPING || opcode == FUSE_REMOVEMAPPING;
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
		size_t length = MIN((size_t)data[0], size - 4), bytes = length;

		memcpy(in + sizeof(header), data + 4, length);
		if (is_mapping(header.opcode) && length >= 3)
			bytes = put_mapping(header.opcode, data + 4, length, in + sizeof(header));
		header.len = (uint32_t)(sizeof(header) + bytes);
		memcpy(in, &header, sizeof(header));
		serve(g, in, header.len, data[3] & 2 ? GUEST_ANSWER_MAX : (uint64_t)data[3] * 2);
		store_through_window();
		data += 4 + length;
		size -= 4 + length;
	}
}

/* ---- a queue
 * ----------------------------------------------------------------------------------- */

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
			.stop = -1,
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

/* ---- both
 * -------------------------------------------------------------------------------------- */

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

static struct window *new_window(struct vfs *vfs, const struct exports_host *host, unsigned bits)
{
	static uint64_t record[WINDOW_UNITS * 16];
	const struct window_config config = {
		.vfs = vfs,
		.dialect = dialect_of(bits & 64 ? EXPORTS_ALIOTH : EXPORTS_QEMU),
		.size = WINDOW_UNITS * WINDOW_UNIT,
		.host = host,
		.record = (struct window_record *)record,
	};
	struct window *w;

	if (window_record_bytes(config.size) > sizeof(record))
		abort();
	memset(record, 0, sizeof(record));
	memset(&vmm, 0, sizeof(vmm));
	vmm.refuses = bits & 128;
	vmm.maps_over = config.dialect->maps_over;
	if (window_new(&config, &w))
		abort();
	window_connect(w, 0);
	return w;
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
	const struct fs_options options = { .dax = FS_DAX_ALWAYS };
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
	if (data[0] & 32 && !guest.read_only)
		guest.window = new_window(guest.vfs, &host, data[0]);
	if (guest_new(&guest, &g))
		abort();
	if (!(data[0] & 8))
		greet(g);
	if (data[0] & 16)
		serve_queue(g, data, size);
	else
		serve_requests(g, data + 1, size - 1);
	if (guest.window)
		window_disconnect(guest.window);
	guest_free(g);
	window_free(guest.window);
	vfs_close(guest.vfs);
	fs_unmount(config.fs);
	must_be_clean();
	return 0;
}
