/* SPDX-License-Identifier: BSD-3-Clause */
/* Whom the library believes: a daemon, in a thread, that says of itself what a test wants. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>
/* last: it needs those above */
#include <cmocka.h>

#include "daxfuse/daxmap.h"
#include "daxfuse/daxmap/session/daemon.h"

static struct {
	struct sockaddr_un address;
	int listener, device;
	uint32_t flags; /* of WELCOME */
	uint64_t cookie;
} server;

static void welcome_program(int sock)
{
	struct direct_message message = {
		.kind = DIRECT_WELCOME,
		.version = DIRECT_VERSION,
		.session = 1,
		.flags = server.flags,
		.cookie = server.cookie,
	};
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = { .header = {
			      .cmsg_level = SOL_SOCKET,
			      .cmsg_type = SCM_RIGHTS,
			      .cmsg_len = CMSG_LEN(sizeof(int)),
		      } };
	struct iovec iov = { &message, sizeof(message) };
	struct msghdr header = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	memcpy(CMSG_DATA(&control.header), &server.device, sizeof(int));
	sendmsg(sock, &header, MSG_NOSIGNAL);
}

static void *serve(void *arg)
{
	struct direct_message hello;
	int sock;

	while ((sock = accept(server.listener, NULL, NULL)) >= 0) {
		if (recv(sock, &hello, sizeof(hello), 0) == sizeof(hello))
			welcome_program(sock);
		close(sock);
	}
	return NULL;
}

static int start_server(void **state)
{
	pthread_t thread;

	server.address.sun_family = AF_UNIX;
	snprintf(server.address.sun_path, sizeof(server.address.sun_path),
		 "/tmp/daxfuse-unit-connect-%d", getpid());
	unlink(server.address.sun_path);
	server.device = memfd_create("device", 0);
	server.listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	if (bind(server.listener, (struct sockaddr *)&server.address, sizeof(server.address)) ||
	    listen(server.listener, 8) || pthread_create(&thread, NULL, serve, NULL))
		return -1;
	return pthread_detach(thread);
}

static int stop_server(void **state)
{
	return unlink(server.address.sun_path);
}

static int connect_for(dev_t dev)
{
	struct welcome welcome;
	int sock, err = daemon_connect(server.address.sun_path, dev, 0, &welcome, &sock);

	if (err)
		return err;
	close(sock);
	close(welcome.device);
	return 0;
}

static void test_the_mount_that_it_serves(void **state)
{
	server.flags = DIRECT_MOUNT;
	server.cookie = 50;
	assert_int_equal(connect_for(makedev(0, 50)), 0);
	assert_int_equal(connect_for(makedev(0, 51)), -EPERM);
	assert_int_equal(connect_for(makedev(8, 50)), -EPERM);
	server.cookie = UINT64_C(8) << 32 | 50;
	assert_int_equal(connect_for(makedev(8, 50)), 0);
	assert_int_equal(connect_for(makedev(0, 50)), -EPERM);
}

/* One that does not say it is believed for mounts of root's, our own and its own only: none has
 * this number. */
static void test_one_that_does_not_say_it(void **state)
{
	server.flags = 0;
	server.cookie = 0;
	assert_int_equal(connect_for(makedev(4000, 50)), -EPERM);
}

/* The file's own server has named the socket of another one's daemon, and a piece of its device. */
int __wrap_daemon_map(int fd, struct dxf_ioc_map *map);
int __wrap_daemon_map(int fd, struct dxf_ioc_map *map)
{
	map->piece[0] = (struct dxf_ioc_piece){
		.length = 4096,
		.grant = 1,
		.flags = DXF_PIECE_WRITABLE,
	};
	map->count = 1;
	map->last_grant = 1;
	return 0;
}

int __wrap_daemon_direct(int fd, char ret_path[sizeof(((struct dxf_ioc_direct *)0)->socket)]);
int __wrap_daemon_direct(int fd, char ret_path[sizeof(((struct dxf_ioc_direct *)0)->socket)])
{
	strcpy(ret_path, server.address.sun_path);
	return 0;
}

static void test_a_file_of_another_mount_is_the_kernels(void **state)
{
	int file = memfd_create("file", 0);
	struct dxm_range range;
	struct stat st;
	char *memory, text[8] = "";

	assert_int_equal(ftruncate(server.device, 2 << 20), 0);
	assert_int_equal(ftruncate(file, 4096), 0);
	assert_int_equal(fstat(file, &st), 0);
	server.flags = DIRECT_MOUNT;
	server.cookie = ((uint64_t)major(st.st_dev) << 32 | minor(st.st_dev)) + 1;
	memory = dxm_map(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	strcpy(memory, "stored");
	assert_int_equal(pread(server.device, text, sizeof(text), 0), sizeof(text));
	assert_string_equal(text, "");
	assert_int_equal(pread(file, text, sizeof(text), 0), sizeof(text));
	assert_string_equal(text, "stored");
	assert_int_equal(dxm_query(memory, 4096, &range, 1), 1);
	assert_int_equal(range.kind, DXM_NONE);
	dxm_unmap(memory, 4096);
	close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_mount_that_it_serves),
		cmocka_unit_test(test_one_that_does_not_say_it),
		cmocka_unit_test(test_a_file_of_another_mount_is_the_kernels),
	};

	return cmocka_run_group_tests(tests, start_server, stop_server);
}
