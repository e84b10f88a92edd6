/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A daemon in the same process, in place of daemon.c and cache.c: one file, whose units lie
 * anywhere on a device that is a memfd: the first FAKE_SCATTERED apart from each other, all
 * others in one run, whose pieces are joined as the real one does. Each unit of the file is data,
 * a hole, or behind the end. Grants are counted; a test may do something while an answer is on
 * its way.
 */
#ifndef TESTS_UNIT_DAXMAP_FAKE_H
#define TESTS_UNIT_DAXMAP_FAKE_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
/* last: it needs those above */
#include <cmocka.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/daxmap.h"
#include "daxfuse/daxmap/calls/cache.h"
#include "daxfuse/daxmap/session/daemon.h"
#include "daxfuse/daxmap/regions/pieces.h"
#include "daxfuse/daxmap/regions/revoke.h"
#include "daxfuse/daxmap/regions/region.h"

#define FAKE_UNITS 16
#define FAKE_SCATTERED 4
#define FAKE_SIZE (FAKE_UNITS * UNIT_BYTES)
#ifndef FAKE_DEVICE_FLAGS
#define FAKE_DEVICE_FLAGS 0
#endif
#define DEVICE_UNITS (FAKE_UNITS + 8)

static struct {
	pthread_mutex_t lock;
	int device;
	int file;                   /* what programs map */
	uint64_t size;              /* of the file */
	unsigned place[FAKE_UNITS]; /* which unit of the device */
	bool hole[FAKE_UNITS];
	bool read_only; /* WRITABLE is given for DXF_ACCESS_WRITE only */
	uint64_t grant;
	uint64_t cookie;              /* of the last question */
	uint64_t granted[FAKE_UNITS]; /* the number of the pin, 0: none */
	uint32_t flags;               /* of WELCOME */
	bool whole_units;             /* all pieces are */
	uint64_t drop;                /* how much must go when a hole is filled */
	_Atomic int error;            /* of the next questions */
	_Atomic int asked;
	void (*on_answer)(void); /* before the answer to a question arrives */
	_Atomic unsigned delay;  /* of answers, microseconds at most */
	/* What a loss of power would leave if the caches held on to all they can: see cache.h */
	char *durable;         /* as the device; NULL: nobody looks */
	uint64_t flushed;      /* bytes of lines, by the library */
	int synced;            /* questions to flush all */
	int sync_error;        /* of the next ones */
	void (*on_sync)(void); /* when the flush that was asked for is done, before the answer */
	/* Of a crash test: lines of the device are flushed; and a fence, behind some of them. */
	void (*on_flush)(uint64_t offset, uint64_t length);
	void (*on_fence)(void);
} fake = { .lock = PTHREAD_MUTEX_INITIALIZER };

static inline char *fake_unit(unsigned place)
{
	static char *memory;

	if (!memory)
		memory = mmap(NULL, DEVICE_UNITS * UNIT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			      fake.device, 0);
	return memory + place * UNIT_BYTES;
}

/* Where a byte of the file is, seen from the daemon. */
static inline char *fake_page(uint64_t offset)
{
	return fake_unit(fake.place[offset / UNIT_BYTES]) + offset % UNIT_BYTES;
}

static inline void fake_start(void)
{
	fake.device = memfd_create("device", FAKE_DEVICE_FLAGS);
	fake.file = memfd_create("file", 0);
	assert_int_equal(ftruncate(fake.device, DEVICE_UNITS * UNIT_BYTES), 0);
	assert_int_equal(ftruncate(fake.file, FAKE_SIZE), 0);
	for (unsigned unit = 0; unit < FAKE_UNITS; unit++)
		fake.place[unit] = unit < FAKE_SCATTERED ? DEVICE_UNITS - 1 - 2 * unit
							 : unit - FAKE_SCATTERED;
	for (uint64_t at = 0; at < FAKE_SIZE; at += PAGE_BYTES)
		*(uint64_t *)fake_page(at) = at;
}

/* ---- what daemon.h asks for ---- */

int daemon_direct(int fd, char ret_path[sizeof(((struct dxf_ioc_direct *)0)->socket)])
{
	struct stat st, own;

	fstat(fd, &st);
	fstat(fake.file, &own);
	memset(ret_path, 0, sizeof(((struct dxf_ioc_direct *)0)->socket));
	strcpy(ret_path, "fake");
	return st.st_ino == own.st_ino ? 0 : -EOPNOTSUPP;
}

int daemon_reopen(int fd, bool writable, int *ret_fd)
{
	*ret_fd = dup(fd);
	return *ret_fd < 0 ? -errno : 0;
}

static inline void fake_piece(const struct dxf_ioc_map *map, uint64_t unit,
			      struct dxf_ioc_piece *piece)
{
	uint64_t end = fake.whole_units ? (unit + 1) * UNIT_BYTES
					: MIN((unit + 1) * UNIT_BYTES, fake.size);
	bool whole = map->start <= unit * UNIT_BYTES && map->end >= (unit + 1) * UNIT_BYTES &&
		     end == (unit + 1) * UNIT_BYTES && !map->pages;

	memset(piece, 0, sizeof(*piece));
	piece->file_offset = unit * UNIT_BYTES;
	piece->length = end - piece->file_offset;
	piece->grant = fake.granted[unit] = ++fake.grant;
	if (fake.hole[unit] && map->access == DXF_ACCESS_WRITE) {
		fake.hole[unit] = false;
		piece->drop_offset = unit * UNIT_BYTES;
		piece->drop_length = fake.drop ? fake.drop : UNIT_BYTES;
	}
	if (fake.hole[unit]) {
		piece->flags = DXF_PIECE_ZERO;
		return;
	}
	piece->device_offset = fake.place[unit] * UNIT_BYTES;
	piece->flags = whole ? DXF_PIECE_HUGE : 0;
	piece->reason = whole ? DXF_REASON_NONE : DXF_REASON_END;
	if (map->access == DXF_ACCESS_WRITE || (map->access == DXF_ACCESS_EAGER && !fake.read_only))
		piece->flags |= DXF_PIECE_WRITABLE;
}

/* As the real one (map/run.c): with the lower number. */
static inline bool fake_join(struct dxf_ioc_piece *a, const struct dxf_ioc_piece *b)
{
	if (a->flags != b->flags || a->reason != b->reason || b->drop_length ||
	    a->file_offset + a->length != b->file_offset ||
	    (!(a->flags & DXF_PIECE_ZERO) && a->device_offset + a->length != b->device_offset))
		return false;
	a->length += b->length;
	return true;
}

int daemon_map(int fd, struct dxf_ioc_map *map)
{
	uint64_t unit = map->offset / UNIT_BYTES;
	void (*on_answer)(void);
	int err = fake.error;

	fake.asked++;
	if (err)
		return err;
	if (map->offset >= fake.size)
		return -ENXIO;
	pthread_mutex_lock(&fake.lock);
	fake.cookie = map->cookie;
	map->count = 0;
	for (; unit * UNIT_BYTES < MIN(map->offset + map->length, fake.size); unit++) {
		struct dxf_ioc_piece *piece = &map->piece[map->count];

		fake_piece(map, unit, piece);
		if (!map->count || !fake_join(piece - 1, piece))
			map->count++;
	}
	map->last_grant = fake.grant;
	on_answer = fake.on_answer;
	fake.on_answer = NULL;
	pthread_mutex_unlock(&fake.lock);
	if (on_answer)
		on_answer();
	if (fake.delay)
		usleep((unsigned)rand() % fake.delay);
	return 0;
}

int daemon_unmap(int fd, uint64_t offset, uint64_t length, uint64_t grant)
{
	pthread_mutex_lock(&fake.lock);
	for (uint64_t unit = offset / UNIT_BYTES; unit * UNIT_BYTES < offset + length; unit++) {
		if (unit < FAKE_UNITS && fake.granted[unit] <= grant)
			fake.granted[unit] = 0;
	}
	pthread_mutex_unlock(&fake.lock);
	return 0;
}

/* What is pinned is no hole any more. */
int daemon_pin(int fd, uint64_t offset, uint64_t length)
{
	pthread_mutex_lock(&fake.lock);
	for (uint64_t unit = offset / UNIT_BYTES; unit * UNIT_BYTES < offset + length; unit++)
		fake.hole[unit] = false;
	pthread_mutex_unlock(&fake.lock);
	return 0;
}

int daemon_unpin(int fd, uint64_t offset, uint64_t length)
{
	return 0;
}

int daemon_promote(int fd, uint64_t offset, uint64_t length)
{
	return 0;
}

/* ---- what is flushed ---- */

/* Lines reach the media only so. They must be there, as for the instruction. */
bool cache_flush(uintptr_t start, uintptr_t end)
{
	const struct region *region = region_at(start);
	char line[64];

	for (uintptr_t at = start; at < end; at += sizeof(line)) {
		uint64_t offset = region->offset + (at - region->start);
		uint64_t place = fake.place[offset / UNIT_BYTES] * UNIT_BYTES + offset % UNIT_BYTES;

		memcpy(line, (const void *)at, sizeof(line));
		if (fake.durable)
			memcpy(fake.durable + place, line, sizeof(line));
		if (fake.on_flush)
			fake.on_flush(place, sizeof(line));
	}
	if (fake.on_fence)
		fake.on_fence();
	fake.flushed += end - start;
	return true;
}

int daemon_flush(int fd)
{
	void (*on_sync)(void) = fake.on_sync;

	fake.synced++;
	if (fake.sync_error)
		return fake.sync_error;
	if (fake.durable)
		memcpy(fake.durable, fake_unit(0), DEVICE_UNITS * UNIT_BYTES);
	if (fake.on_flush)
		fake.on_flush(0, DEVICE_UNITS * UNIT_BYTES);
	if (fake.on_fence)
		fake.on_fence();
	fake.on_sync = NULL;
	if (on_sync)
		on_sync();
	return 0;
}

int daemon_connect(const char *path, dev_t dev, uint64_t session, struct welcome *ret_welcome,
		   int *ret_socket)
{
	*ret_welcome =
		(struct welcome){ .session = 1, .flags = fake.flags, .device = dup(fake.device) };
	*ret_socket = dup(STDERR_FILENO);
	return 0;
}

int daemon_receive(int sock, int timeout_ms, struct direct_message *ret_message)
{
	usleep(1000);
	return -EAGAIN;
}

int daemon_send(int sock, const struct direct_message *message)
{
	return 0;
}

/* ---- for tests ---- */

static sigjmp_buf fake_jump;
static volatile sig_atomic_t fake_signal, fake_armed;

static inline void fake_handler(int sig, siginfo_t *info, void *context)
{
	if (dxm_fault(sig, info, context))
		return;
	fake_signal = sig;
	if (fake_armed)
		siglongjmp(fake_jump, 1);
	signal(sig, SIG_DFL);
}

/* cmocka sets handlers of its own before each test: so in the tests. */
static inline void fake_handlers(void)
{
	struct sigaction action = { .sa_sigaction = fake_handler, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

/* The signal that an access ends with, 0: none. */
static inline int touch(volatile char *memory, bool store)
{
	fake_handlers();
	fake_signal = 0;
	fake_armed = 1;
	if (!sigsetjmp(fake_jump, 1)) {
		if (store)
			*memory = *memory;
		else
			(void)*memory;
	}
	fake_armed = 0;
	return fake_signal;
}

/* The beginning of the file at any address. */
static inline char *map_file(uint64_t length, int prot)
{
	char *memory = dxm_map(NULL, length, prot, MAP_SHARED, fake.file, 0);

	fake_handlers();
	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

/* Pins that the daemon knows of. */
static inline unsigned pins(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FAKE_UNITS; i++)
		n += fake.granted[i] > 0;
	return n;
}

/* What is mapped of each unit: H, P, Z, - nothing yet, . not ours; W, w: H, P for writing. */
static inline const char *survey(const char *memory, uint64_t units)
{
	static char text[FAKE_UNITS + 1];

	memset(text, 0, sizeof(text));
	for (uint64_t unit = 0; unit < units; unit++) {
		struct dxm_range range;

		assert_int_equal(dxm_query(memory + unit * UNIT_BYTES, UNIT_BYTES, &range, 1), 1);
		text[unit] = ".-ZPH"[range.kind];
		if (range.writable)
			text[unit] = text[unit] == 'H' ? 'W' : 'w';
	}
	return text;
}

static inline int fake_setup(void **state)
{
	if (!fake.device)
		fake_start();
	memset(fake.hole, 0, sizeof(fake.hole));
	memset(fake.granted, 0, sizeof(fake.granted));
	fake.size = FAKE_SIZE;
	fake.read_only = false;
	fake.error = 0;
	fake.drop = 0;
	fake.on_answer = fake.on_sync = NULL;
	fake.flushed = 0;
	fake.synced = fake.sync_error = 0;
	return 0;
}

#endif
