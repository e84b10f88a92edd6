/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that no library can reach: it is static, and makes its system calls by itself, as the
 * runtime of Go does. It maps a file over a part of memory that it has reserved.
 *
 *     raw FILE    exits with 0, or with the number of the check that has failed
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#define UNIT (2ul << 20)
#define PAGE 4096ul
#define SIZE (8 * UNIT)

enum { MINOR_FAULTS = 8, MAJOR_FAULTS = 9, RUSAGE_LONGS = 18, THIS_PROCESS = 0 };

static long call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static _Noreturn void end(int status)
{
	for (;;)
		call(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

#define CHECK(number, condition)     \
	do {                         \
		if (!(condition))    \
			end(number); \
	} while (0)

/* One place to count into, that is there before: the kernel's own fault on it would be counted the
 * next time. */
static long count_faults(void)
{
	static volatile long usage[RUSAGE_LONGS];

	usage[0] = 0;
	CHECK(1, !call(SYS_getrusage, THIS_PROCESS, (long)usage, 0, 0, 0, 0));
	return usage[MINOR_FAULTS] + usage[MAJOR_FAULTS];
}

static long open_file(const char *path, int flags)
{
	long fd = call(SYS_open, (long)path, flags, 0600, 0, 0, 0);

	CHECK(2, fd >= 0);
	return fd;
}

static volatile char *map_over_reserved(long fd)
{
	long arena = call(SYS_mmap, 0, SIZE + UNIT, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	long at = (arena + (long)UNIT - 1) & ~((long)UNIT - 1);

	CHECK(3, arena > 0);
	CHECK(4, call(SYS_mmap, at, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
			 at);
	return (volatile char *)at;
}

static long parse_number(const char **text)
{
	long number = 0;

	for (; **text >= '0' && **text <= '9'; (*text)++)
		number = number * 10 + **text - '0';
	return number;
}

/* Before Linux 6.15 a hole is mapped in pages, and so is what is stored there next. */
static int holes_are_huge(void)
{
	struct utsname is;
	const char *release = is.release;
	long major, minor;

	CHECK(16, !call(SYS_uname, (long)&is, 0, 0, 0, 0, 0));
	major = parse_number(&release);
	CHECK(17, *release++ == '.');
	minor = parse_number(&release);
	return major > 6 || (major == 6 && minor >= 15);
}

static void store_all(volatile char *memory)
{
	long faults = count_faults();

	for (unsigned long at = 0; at < SIZE; at += PAGE) {
		CHECK(5, memory[at] == 0);
		memory[at] = (char)(at / PAGE);
	}
	faults = count_faults() - faults; /* the stack of what is called next may take one */
	if (holes_are_huge())             /* one to load, and one to store */
		CHECK(6, faults == 2 * SIZE / UNIT);
}

/* What is stored is in the file, also by a child. */
static void compare(const char *path, volatile char *memory)
{
	long reader = open_file(path, O_RDONLY), child = call(SYS_fork, 0, 0, 0, 0, 0, 0);
	int status = 1;
	char byte;

	if (!child) {
		memory[PAGE + 1] = 'c';
		end(0);
	}
	CHECK(7, call(SYS_wait4, child, (long)&status, 0, 0, 0, 0) == child && status == 0);
	CHECK(8, memory[PAGE + 1] == 'c');
	CHECK(9, !call(SYS_madvise, (long)memory, SIZE, MADV_DONTNEED, 0, 0, 0));
	for (unsigned long at = 0; at < SIZE; at += PAGE) {
		CHECK(10, call(SYS_pread64, reader, (long)&byte, 1, (long)at, 0, 0) == 1);
		CHECK(11, byte == (char)(at / PAGE) && memory[at] == byte);
	}
}

/* As the kernel leaves the stack: the count of arguments, then they. */
__attribute__((used)) static _Noreturn void begin(long *stack)
{
	const char *path = (const char *)stack[2];
	volatile char *memory;
	long fd;

	CHECK(12, stack[0] == 2);
	fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC);
	CHECK(13, !call(SYS_ftruncate, fd, SIZE, 0, 0, 0, 0));
	memory = map_over_reserved(fd);
	store_all(memory);
	compare(path, memory);
	CHECK(14, !call(SYS_msync, (long)memory, SIZE, MS_SYNC, 0, 0, 0));
	CHECK(15, !call(SYS_munmap, (long)memory, SIZE, 0, 0, 0, 0));
	end(0);
}

__asm__(".globl _start\n"
	"_start:\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call begin\n");
