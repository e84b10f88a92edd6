/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ioctls with arguments that are refused, one by one, and with ones that nobody means.
 */
#include <fcntl.h>
#include <sys/ioctl.h>

#include "views.h"

static void bounds(void)
{
	struct daxview_session wish = { .size = sizeof(wish), .device = device };
	struct daxview_create make = { .size = sizeof(make), .file_size = ~0ull };
	int session = open_session(), other = open(DAXVIEW_PATH, O_RDWR), null;
	struct view view = create(session, 4 * UNIT), none = { session, -1, 99999 };
	struct view foreign = { other, -1, view.number };
	struct daxview_piece ok = { .length = UNIT }, piece = ok;
	struct daxview_question question;
	__u64 big = 1ull << 62;

	FAILS(EISCONN, ioctl(session, DAXVIEW_IOC_SESSION, &wish));
	FAILS(ENOTCONN, try_set(&foreign, 0, UNIT, &ok, 1));
	FAILS(ENOTCONN, read(other, &question, sizeof(question)));
	FAILS(ENOTCONN, busy(other, 0, UNIT, 0));
	FAILS(ENOTTY, ioctl(session, _IO(0xda, 77)));
	FAILS(ENOTTY, ioctl(session, _IO(0xda, 0)));
	FAILS(ENOTTY, ioctl(session, TCGETS, &wish));
	FAILS(EFAULT, ioctl(session, DAXVIEW_IOC_STAT, 8));
	FAILS(EFBIG, ioctl(session, DAXVIEW_IOC_CREATE, &make));
	make.flags = 1;
	FAILS(EINVAL, ioctl(session, DAXVIEW_IOC_CREATE, &make));
	make = (struct daxview_create){ .size = 4 };
	FAILS(EINVAL, ioctl(session, DAXVIEW_IOC_CREATE, &make));
	make.size = 1 << 20;
	FAILS(EINVAL, ioctl(session, DAXVIEW_IOC_CREATE, &make));
	FAILS(ENOENT, try_set(&none, 0, UNIT, &ok, 1));
	FAILS(EINVAL, try_set(&view, 1, UNIT, &ok, 1));
	FAILS(EINVAL, try_set(&view, 0, 0, NULL, 0));
	FAILS(EINVAL, try_set(&view, 0, PAGE, &ok, 1)); /* longer than the range */
	FAILS(EINVAL, try_set(&view, big, big * 2, NULL, 0));
	FAILS(EINVAL, try_set(&view, PAGE, ~0ull - 4095, NULL, 0));
	FAILS(EINVAL, try_set(&view, 0, UNIT, &ok, DAXVIEW_PIECES_MAX + 1));
	FAILS(EFAULT, try_set(&view, 0, UNIT, nowhere, 1));
	piece.device = big;
	FAILS(ERANGE, try_set(&view, 0, UNIT, &piece, 1));
	piece.device = ~0ull - 4095;
	FAILS(ERANGE, try_set(&view, 0, UNIT, &piece, 1));
	piece.device = 512ul << 20;
	FAILS(ERANGE, try_set(&view, 0, UNIT, &piece, 1));
	piece = (struct daxview_piece){ .length = 1ull << 40 };
	FAILS(ERANGE, try_set(&view, 0, 1ull << 40, &piece, 1));
	piece = (struct daxview_piece){ .offset = 100, .length = PAGE };
	FAILS(EINVAL, try_set(&view, 0, UNIT, &piece, 1));
	piece = (struct daxview_piece){ .length = PAGE, .device = 100 };
	FAILS(ERANGE, try_set(&view, 0, UNIT, &piece, 1));
	struct daxview_piece twice[2] = { ok, ok };
	FAILS(EINVAL, try_set(&view, 0, 2 * UNIT, twice, 2));
	FAILS(EINVAL, busy(session, 0, 1ull << 50, 0));
	FAILS(EINVAL, busy(session, big, PAGE, 0));
	FAILS(EINVAL, busy(session, 0, 0, 0));
	FAILS(EINVAL, clean(&view, DAXVIEW_IOC_PROTECT, 0, UNIT, NULL));
	FAILS(EINVAL, clean(&view, DAXVIEW_IOC_SYNC, 3, UNIT, NULL));
	FAILS(ENOENT, answer(session, 12345, 0));
	FAILS(EINVAL, answer(session, 12345, 1 << 30));
	FAILS(EINVAL, read(session, &question, 3));
	wish.flags = 4;
	FAILS(EINVAL, ioctl(other, DAXVIEW_IOC_SESSION, &wish));
	wish.flags = 0;
	wish.device = -1;
	FAILS(EBADF, ioctl(other, DAXVIEW_IOC_SESSION, &wish));
	null = open("/dev/null", O_RDWR);
	wish.device = null;
	FAILS(EOPNOTSUPP, ioctl(other, DAXVIEW_IOC_SESSION, &wish));
	CHECK(wish.reason == DAXVIEW_REASON_DEVICE);
	wish.device = open(DEVICE, O_RDONLY);
	FAILS(EOPNOTSUPP, ioctl(other, DAXVIEW_IOC_SESSION, &wish));
	CHECK(wish.reason == DAXVIEW_REASON_READONLY);
	place(&view, (1ull << 50), UNIT, 0); /* far behind the end: no harm */
	CHECK(!try_set(&view, 0, 4 * UNIT, &ok, 1));
	CHECK(!setuid(1000));
	CHECK(open(DAXVIEW_PATH, O_RDWR) == -1);
}

/* ioctls with arguments that nobody means. */
static void fuzz(void)
{
	static const unsigned long commands[] = {
		DAXVIEW_IOC_CREATE,  DAXVIEW_IOC_SET,     DAXVIEW_IOC_SET,    DAXVIEW_IOC_SYNC,
		DAXVIEW_IOC_PROTECT, DAXVIEW_IOC_BUSY,    DAXVIEW_IOC_REVOKE, DAXVIEW_IOC_ANSWER,
		DAXVIEW_IOC_STAT,    DAXVIEW_IOC_SESSION, DAXVIEW_IOC_TAIL,   DAXVIEW_IOC_HOLD,
	};
	static __u64 words[1024];
	int sessions[2] = { open_session(), open(DAXVIEW_PATH, O_RDWR) };
	struct view view = backwards(sessions[0], 8);
	double end = now() + seconds;
	unsigned long calls = 0, taken = 0;
	char *mapped = map(&view, UNIT, SHARED); /* later ones in its place */

	for (; now() < end || taken <= 100; calls++) {
		unsigned long command = commands[any(12)];
		unsigned int count = _IOC_SIZE(command) / 8;
		int session = sessions[any(8) == 0];

		for (unsigned int i = 0; i < 16; i++) {
			static const __u64 odd[] = { 0,     1,          PAGE,       UNIT,
						     ~0ull, 1ull << 63, 1ull << 40, 511 * UNIT };

			words[i] = any(3) ? odd[any(8)] : any(3) ? any(64) * PAGE : any(1 << 30);
		}
		words[0] = any(20) ? count * 8 : any(9000);
		words[0] |= (__u64)(any(10) ? 0 : any(8)) << 32;
		if (any(4))
			words[1] = view.number;
		if (command == DAXVIEW_IOC_SET && any(4)) {
			words[5] = (uintptr_t)(words + any(20));
			words[6] = any(3);
		}
		if (command == DAXVIEW_IOC_TAIL && any(4)) {
			words[4] = (uintptr_t)(words + any(20));
			words[5] = any(3);
		}
		if (command == DAXVIEW_IOC_HOLD && any(4))
			words[0] = 8 | (__u64)sessions[any(2)] << 32;
		if (command == DAXVIEW_IOC_BUSY)
			words[4] = any(3);
		if (command == DAXVIEW_IOC_CREATE)
			words[1] = any(100);
		if (!ioctl(session, command, words)) {
			taken++;
			if (command == DAXVIEW_IOC_CREATE)
				close((int)words[4]);
		}
		if (any(50) == 0)
			madvise(memory, UNIT, MADV_DONTNEED);
		if (any(1000) == 0) {
			close(view.fd);
			view = backwards(sessions[0], 8);
			CHECK(mmap(mapped, UNIT, SHARED | MAP_FIXED, view.fd, 0) == mapped);
			(void)load_fails(mapped);
		}
	}
	CHECK(calls > taken);
	printf("%lu calls, %lu of them taken\n", calls, taken);
}

const struct scenario argument_scenarios[] = {
	{ "bounds", bounds },
	{ "fuzz", fuzz },
	{ NULL, NULL },
};
