/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket, by a client in the same process. */
#include "pool.h"

#include <poll.h>
#include <signal.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { MOUNT = 77 };

struct served {
	struct pool pool;
	struct sockaddr_un address;
	int listener;
};

static int setup(void **state)
{
	struct served *served = calloc(1, sizeof(*served));

	served->address.sun_family = AF_UNIX;
	snprintf(served->address.sun_path + 1, sizeof(served->address.sun_path) - 1,
		 "daxfuse-unit-%d", getpid());
	served->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
	if (bind(served->listener, (struct sockaddr *)&served->address, sizeof(served->address)) ||
	    listen(served->listener, 8))
		return -1;
	pool_open(&served->pool, (struct clients_config){
					 .listener = served->listener,
					 .socket = "",
				 });
	assert_int_equal(clients_serve(served->pool.clients, MOUNT), 0);
	*state = served;
	return 0;
}

static int teardown(void **state)
{
	struct served *served = *state;

	pool_close(&served->pool);
	close(served->listener);
	free(served);
	return 0;
}

/* Connected, and welcome; all of it within seconds. */
static int connect_client(const struct served *served)
{
	struct direct_message message = { .kind = DIRECT_HELLO, .version = DIRECT_VERSION };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	struct pollfd ready = { .fd = fd, .events = POLLIN };

	assert_int_equal(
		connect(fd, (const struct sockaddr *)&served->address, sizeof(served->address)), 0);
	assert_int_equal(send(fd, &message, sizeof(message), MSG_NOSIGNAL), sizeof(message));
	assert_int_equal(poll(&ready, 1, 10000), 1);
	assert_int_equal(recv(fd, &message, sizeof(message), 0), sizeof(message));
	assert_int_equal(message.kind, DIRECT_WELCOME);
	assert_true(message.flags & DIRECT_MOUNT);
	assert_int_equal(message.cookie, MOUNT);
	return fd;
}

/*
 * The daemon forks now and then, and the child has copies of all connections. One that ends is still
 * open there, and must be heard of no more: its number may be another one's, its memory is free.
 */
static void test_a_child_has_the_connections(void **state)
{
	const struct served *served = *state;

	for (int i = 0; i < 20; i++) {
		int first = connect_client(served), second;
		pid_t child = fork();

		if (!child) {
			close(first);
			pause();
		}
		close(first);
		second = connect_client(served);
		usleep(5000);
		close(second);
		close(connect_client(served));
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_child_has_the_connections, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
