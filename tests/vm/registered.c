/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program whose mapped file is a registered buffer of io_uring: the kernel pins its pages for
 * long (FOLL_LONGTERM), and uses them by their physical addresses.
 *
 *     registered FILE SOURCE pin|-    map FILE (libdaxmap), pin it or not, register it
 *
 * Then one line of stdin for each step, and one of stdout with its result:
 *
 *     read         READ_FIXED all of SOURCE into the buffer: how much came, or -errno
 *     load         the first byte of the mapping, as the program sees it
 *     unregister, unpin, unmap    0 or -errno
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "daxfuse/daxmap.h"
#include "../support/check.h"

static struct ring {
	int fd;
	char *queues; /* both, IORING_FEAT_SINGLE_MMAP */
	struct io_uring_sqe *sqe;
	struct io_uring_params params;
} ring;

static void ring_open(void)
{
	struct io_uring_params *p = &ring.params;
	size_t sq, cq;

	ring.fd = (int)syscall(SYS_io_uring_setup, 1, p);
	CHECK(ring.fd >= 0 && p->features & IORING_FEAT_SINGLE_MMAP);
	sq = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
	cq = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
	ring.queues = mmap(NULL, sq > cq ? sq : cq, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd,
			   IORING_OFF_SQ_RING);
	ring.sqe = mmap(NULL, p->sq_entries * sizeof(*ring.sqe), PROT_READ | PROT_WRITE, MAP_SHARED,
			ring.fd, IORING_OFF_SQES);
	CHECK(ring.queues != MAP_FAILED && (void *)ring.sqe != MAP_FAILED);
}

static _Atomic uint32_t *word(uint32_t offset)
{
	return (_Atomic uint32_t *)(ring.queues + offset);
}

/* One request, and its answer. */
static int read_fixed(int source, void *buffer, size_t length)
{
	const struct io_uring_params *p = &ring.params;
	uint32_t tail = *word(p->sq_off.tail), head = *word(p->cq_off.head);
	const struct io_uring_cqe *cqe = (void *)(ring.queues + p->cq_off.cqes);

	memset(ring.sqe, 0, sizeof(*ring.sqe));
	ring.sqe->opcode = IORING_OP_READ_FIXED;
	ring.sqe->fd = source;
	ring.sqe->addr = (uintptr_t)buffer;
	ring.sqe->len = (uint32_t)length;
	*word(p->sq_off.array) = 0;
	atomic_store_explicit(word(p->sq_off.tail), tail + 1, memory_order_release);
	CHECK(syscall(SYS_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
	cqe += head & *word(p->cq_off.ring_mask);
	atomic_store_explicit(word(p->cq_off.head), head + 1, memory_order_release);
	return cqe->res;
}

static int result(long value)
{
	return value < 0 ? -errno : (int)value;
}

static int step(const char *name, int source, char *memory, size_t length)
{
	if (!strcmp(name, "read\n"))
		return read_fixed(source, memory, length);
	if (!strcmp(name, "load\n"))
		return *(volatile unsigned char *)memory;
	if (!strcmp(name, "unregister\n"))
		return result(syscall(SYS_io_uring_register, ring.fd, IORING_UNREGISTER_BUFFERS,
				      NULL, 0));
	if (!strcmp(name, "unpin\n"))
		return result(dxm_unpin(memory, length));
	CHECK(!strcmp(name, "unmap\n"));
	return result(dxm_unmap(memory, length));
}

int main(int argc, char **argv)
{
	struct dxm_range range;
	struct stat stat;
	struct iovec buffer;
	int fd, source;
	char line[16];

	CHECK(argc == 4);
	fd = open(argv[1], O_RDWR);
	source = open(argv[2], O_RDONLY);
	CHECK(fd >= 0 && source >= 0 && !fstat(fd, &stat));
	buffer.iov_len = (size_t)stat.st_size;
	buffer.iov_base = dxm_map(NULL, buffer.iov_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(buffer.iov_base != MAP_FAILED);
	CHECK(dxm_query(buffer.iov_base, buffer.iov_len, &range, 1) == 1);
	CHECK(range.kind == DXM_HUGE && range.length == buffer.iov_len);
	if (!strcmp(argv[3], "pin"))
		CHECK(!dxm_pin(buffer.iov_base, buffer.iov_len));
	ring_open();
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, &buffer, 1));
	puts("0");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		printf("%d\n", step(line, source, buffer.iov_base, buffer.iov_len));
		fflush(stdout);
	}
	return 0;
}
