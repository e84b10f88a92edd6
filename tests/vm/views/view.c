/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The module's calls: sessions of the device, their views, and the ioctls, each a function; mappings
 * of a view, and whether a load or a store in one fails.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include "views.h"

int device;
char *memory;

void open_device(void)
{
	device = open(DEVICE, O_RDWR);
	CHECK(device >= 0);
	memory = mmap(NULL, UNITS * UNIT, PROT_READ | PROT_WRITE, MAP_SHARED, device, 0);
	CHECK(memory != MAP_FAILED);
}

int open_session_with(int flags, const char *key, int *session)
{
	struct daxview_session wish = { .size = sizeof(wish), .flags = flags, .device = device };

	strcpy((char *)wish.key, key);
	*session = open(DAXVIEW_PATH, O_RDWR | O_CLOEXEC);
	CHECK(*session >= 0);
	return ioctl(*session, DAXVIEW_IOC_SESSION, &wish);
}

int open_session(void)
{
	int session;

	CHECK(!open_session_with(0, "test", &session));
	return session;
}

struct view create(int session, __u64 size)
{
	struct daxview_create create = { .size = sizeof(create), .cookie = 7, .file_size = size };

	CHECK(!ioctl(session, DAXVIEW_IOC_CREATE, &create));
	return (struct view){ session, create.fd, create.view };
}

int try_set(const struct view *view, __u64 offset, __u64 length, const struct daxview_piece *pieces,
	    __u32 count)
{
	struct daxview_set set = {
		.size = sizeof(set),
		.view = view->number,
		.offset = offset,
		.length = length,
		.pieces = (uintptr_t)pieces,
		.count = count,
	};

	return ioctl(view->session, DAXVIEW_IOC_SET, &set);
}

void place(const struct view *view, __u64 offset, __u64 length, __u64 where)
{
	struct daxview_piece piece = { .offset = offset, .length = length, .device = where };

	CHECK(!try_set(view, offset, length, &piece, 1));
}

void forget(const struct view *view, __u64 offset, __u64 length)
{
	CHECK(!try_set(view, offset, length, NULL, 0));
}

void resize(const struct view *view, __u64 size)
{
	struct daxview_set set = { .size = sizeof(set),
				   .flags = DAXVIEW_SET_SIZE,
				   .view = view->number,
				   .file_size = size };

	CHECK(!ioctl(view->session, DAXVIEW_IOC_SET, &set));
}

void set_privileged(const struct view *view, bool privileged)
{
	struct daxview_set set = { .size = sizeof(set),
				   .flags = privileged ? DAXVIEW_SET_PRIVILEGED : DAXVIEW_SET_PLAIN,
				   .view = view->number };

	CHECK(!ioctl(view->session, DAXVIEW_IOC_SET, &set));
}

struct daxview_stat stat_of(const struct view *view)
{
	struct daxview_stat stat = { .size = sizeof(stat), .view = view->number };

	CHECK(!ioctl(view->session, DAXVIEW_IOC_STAT, &stat));
	return stat;
}

int revoke_view(const struct view *view)
{
	struct daxview_revoke revoke = { .size = sizeof(revoke), .view = view->number };

	return ioctl(view->session, DAXVIEW_IOC_REVOKE, &revoke);
}

int answer(int session, __u64 question, int error)
{
	struct daxview_answer answer = { .size = sizeof(answer),
					 .error = error,
					 .question = question };

	return ioctl(session, DAXVIEW_IOC_ANSWER, &answer);
}

int busy(int session, __u64 where, __u64 length, __u32 timeout)
{
	struct daxview_busy busy = {
		.size = sizeof(busy), .device = where, .length = length, .timeout_ms = timeout
	};

	return ioctl(session, DAXVIEW_IOC_BUSY, &busy);
}

int clean(const struct view *view, unsigned long command, __u64 offset, __u64 length, void *bitmap)
{
	struct daxview_range range = { .size = sizeof(range),
				       .view = view->number,
				       .offset = offset,
				       .length = length,
				       .bitmap = (uintptr_t)bitmap };

	return ioctl(view->session, command, &range);
}

struct view backwards(int session, unsigned int units)
{
	struct view view = create(session, units * UNIT);

	for (unsigned int i = 0; i < units; i++)
		place(&view, i * UNIT, UNIT, (units - 1 - i) * UNIT);
	return view;
}

char *map(const struct view *view, __u64 length, int protection, int flags)
{
	char *area = mmap(NULL, length + UNIT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *start = (char *)(((uintptr_t)area + UNIT - 1) & ~(UNIT - 1));

	CHECK(area != MAP_FAILED);
	start = mmap(start, length, protection, flags | MAP_FIXED, view->fd, 0);
	CHECK(start != MAP_FAILED);
	return start;
}

/* ---- what a load and a store come to ---------------------------------------------------- */

volatile sig_atomic_t bus_code;
static sigjmp_buf jump;

static void on_bus(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	bus_code = info->si_code;
	siglongjmp(jump, 1);
}

void catch_bus(void)
{
	struct sigaction action = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };

	CHECK(!sigaction(SIGBUS, &action, NULL));
}

bool load_fails(volatile char *address)
{
	if (sigsetjmp(jump, 1))
		return true;
	(void)*address;
	return false;
}

bool store_fails(volatile char *address)
{
	if (sigsetjmp(jump, 1))
		return true;
	*address = 1;
	return false;
}

long minor_faults(void)
{
	struct rusage usage;

	CHECK(!getrusage(RUSAGE_SELF, &usage));
	return usage.ru_minflt;
}

void write_bytes(const struct view *view, __u64 at, size_t length, char byte)
{
	char buffer[20000];

	memset(buffer, byte, length);
	CHECK(pwrite(view->fd, buffer, length, (off_t)at) == (ssize_t)length);
}
