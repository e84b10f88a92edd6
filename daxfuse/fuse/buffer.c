/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Why more than malloc(): SIGKILL while the kernel copies a request costs the client an EIO, if it
 * happens to find a page of the buffer missing in the page tables. (It looks pages up without a
 * lock; where that fails it takes the slow way, on which a thread that is about to die gets EINTR:
 * mm/gup.c.) So no page is ever missing:
 *
 *   - all are there before, and stay: populated and locked;
 *   - no fork makes them copied on write: children don't get them;
 *   - they are not gathered into a huge page;
 *   - they are not moved elsewhere by compaction, which unmaps them for a moment. It passes over
 *     private pages that are pinned (mm/compaction.c), and to register them with io_uring pins
 *     them. Where that is not allowed, they can be moved: rare, and then so is the kill.
 */
#include "buffer.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int pin(void *at, size_t size)
{
	struct io_uring_params params = { 0 };
	struct iovec whole = { at, size };
	int fd = (int)syscall(__NR_io_uring_setup, 1, &params);

	if (fd >= 0 && syscall(__NR_io_uring_register, fd, IORING_REGISTER_BUFFERS, &whole, 1)) {
		close(fd);
		return -1;
	}
	return fd;
}

errint_t buffer_alloc(size_t size, struct buffer *ret_buffer)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return -ENOMEM;
	madvise(at, size, MADV_NOHUGEPAGE);
	madvise(at, size, MADV_DONTFORK);
	memset(at, 0, size);
	mlock(at, size); /* as far as the limits allow */
	*ret_buffer = (struct buffer){ at, size, pin(at, size) };
	return 0;
}

void buffer_free(struct buffer *b)
{
	if (b->pin >= 0)
		close(b->pin);
	munmap(b->at, b->size);
}
