/* SPDX-License-Identifier: BSD-3-Clause */
/* Who may control a pool: the process at the other end of a socket, as long as it is there. */
#include "daxfuse/base/caller.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/capability.h>

static int listen_somewhere(struct sockaddr_un *ret_address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	*ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	/* the kernel finds a name for it */
	assert_int_equal(bind(fd, (struct sockaddr *)ret_address, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

/* A child connects; with fewer rights than we have, or not; it ends when it is let go, or at once. */
static pid_t connect_child(int listener, bool drops, int wait_fd)
{
	struct sockaddr_un address;
	socklen_t size = sizeof(address);
	pid_t pid;

	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	pid = fork();
	if (pid == 0) {
		struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
		struct __user_cap_data_struct none[2] = { { 0 } };
		int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
		char byte;

		if (drops)
			syscall(SYS_capset, &header, none);
		if (connect(fd, (struct sockaddr *)&address, size))
			_exit(1);
		_exit(wait_fd >= 0 && read(wait_fd, &byte, 1) < 0);
	}
	assert_true(pid > 0);
	return pid;
}

static void test_who_is_there(void **state)
{
	const bool expected = caller_is_administrator(getpid(), geteuid());
	struct sockaddr_un address;
	int listener = listen_somewhere(&address);

	for (int drops = 0; drops < 2; drops++) {
		int ends[2], fd;
		pid_t pid;

		assert_int_equal(pipe(ends), 0);
		pid = connect_child(listener, drops, ends[0]);
		fd = accept(listener, NULL, NULL);
		assert_true(fd >= 0);
		/* a user's own processes are its administrators, whatever they can do */
		assert_int_equal(caller_of_socket_is_administrator(fd),
				 expected && (!drops || geteuid()));
		assert_int_equal(write(ends[1], "", 1), 1);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		close(fd);
		close(ends[0]);
		close(ends[1]);
	}
	close(listener);
}

static void test_who_has_gone(void **state)
{
	struct sockaddr_un address;
	int listener = listen_somewhere(&address), fd;
	pid_t pid = connect_child(listener, false, -1);

	waitpid(pid, NULL, 0);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	assert_false(caller_of_socket_is_administrator(fd));
	close(fd);
	close(listener);
}

static void test_what_is_no_socket(void **state)
{
	assert_false(caller_of_socket_is_administrator(-1));
	assert_false(caller_is_administrator(0, geteuid()));
	assert_false(caller_is_administrator(-1, geteuid()));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_is_there),
		cmocka_unit_test(test_who_has_gone),
		cmocka_unit_test(test_what_is_no_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
