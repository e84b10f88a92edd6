/* SPDX-License-Identifier: BSD-3-Clause */
/* The room over a pool on an image without a name, and a program that the test itself is. */
#ifndef DAXFUSE_TESTS_UNIT_DIRECT_POOL_H
#define DAXFUSE_TESTS_UNIT_DIRECT_POOL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daxfuse/direct.h"
#include "daxfuse/clients/internal.h"
#include "daxfuse/vfs/internal.h"

struct pool {
	struct device *dev;
	struct fs *fs;
	struct vfs *vfs;
	struct clients *clients;
	struct session *session;
	int program; /* the session's other end */
};

static inline void ignore_forget(void *arg, uint64_t ino, bool data)
{
}

static inline bool reclaim_nothing(void *arg)
{
	return false;
}

/* Of a caller whom nothing outlives. */
static const struct vfs_request no_request;

static inline struct device *new_device(struct pmem **ret_pm)
{
	char path[] = "/dev/shm/daxfuse-unit-XXXXXX";
	struct device_error error;
	struct device *dev;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, INT64_C(64) << 20), 0);
	close(fd);
	assert_int_equal(device_open(path, DEVICE_WRITE, &dev, &error), 0);
	assert_int_equal(device_map(dev, ret_pm, &error), 0);
	unlink(path);
	return dev;
}

/* A program that is connected: what it is asked comes out at pool->program. */
static inline void connect_program(struct pool *pool)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
	assert_int_equal(session_get(pool->clients, 1, &pool->session), 0);
	pool->session->fd = ends[0];
	pool->session->pid = getpid();
	pool->program = ends[1];
}

/* A new pool, and the rooms over it. */
static inline void pool_open(struct pool *pool, struct clients_config config)
{
	const struct fs_options options = { .read_only = false };
	const struct fs_format format = { .hash_seed = 7, .dax = true };
	struct vfs_config vfs = {
		.life = 1,
		.forget = ignore_forget,
		.reclaim = reclaim_nothing,
	};
	struct pmem *pm;

	pool->dev = config.dev = new_device(&pm);
	assert_int_equal(fs_mkfs(pm, &format), 0);
	assert_int_equal(fs_mount(pm, &options, &pool->fs, NULL), 0);
	vfs.fs = pool->fs;
	assert_int_equal(vfs_open(&vfs, &pool->vfs), 0);
	config.vfs = pool->vfs;
	assert_int_equal(clients_open(&config, &pool->clients), 0);
}

static inline void pool_close(struct pool *pool)
{
	clients_close(pool->clients);
	vfs_close(pool->vfs);
	fs_unmount(pool->fs);
	device_close(pool->dev);
}

static inline struct pool *pool_new(void)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	assert_non_null(pool);
	pool_open(pool, (struct clients_config){ .listener = -1 });
	connect_program(pool);
	return pool;
}

static inline int pool_setup(void **state)
{
	*state = pool_new();
	return 0;
}

static inline int pool_teardown(void **state)
{
	struct pool *pool = *state;

	close(pool->session->fd);
	close(pool->program);
	session_put(pool->clients, pool->session);
	pool_close(pool);
	free(pool);
	return 0;
}

/* A file of that many bytes, all written. */
static inline uint64_t make_file(struct pool *pool, const char *name, size_t size)
{
	static const struct fs_request root = { .uid = 0 };
	char *bytes = calloc(1, size + 1);
	struct fs_attr attr;

	assert_int_equal(fs_mknod(pool->fs, &root, DXF_ROOT_INO, name, 0100644, 0, &attr), 0);
	memset(bytes, 'x', size);
	assert_int_equal(fs_write(pool->fs, NULL, attr.ino, bytes, size, 0, 0), size);
	free(bytes);
	return attr.ino;
}

static inline void release(struct pool *pool, uint64_t handle)
{
	/* the core counts no opens here */
	pool->vfs->released(pool->vfs->released_arg, handle);
	watch_release(pool->vfs, handle);
}

static inline struct vfs_open_file open_file(struct pool *pool, uint64_t ino)
{
	return (struct vfs_open_file){
		ino, vfs_new_handle(pool->vfs) << 1,
		VFS_MAY_READ | VFS_MAY_WRITE, /* past the cache */
	};
}

/* One page of the file, as the program's with this cookie. */
static inline struct dxf_ioc_piece map_page(struct pool *pool, const struct vfs_open_file *file,
					    uint64_t cookie, uint64_t offset, unsigned access)
{
	struct dxf_ioc_map *map = calloc(1, sizeof(*map));
	struct dxf_ioc_piece piece;

	*map = (struct dxf_ioc_map){
		.session = 1,
		.cookie = cookie,
		.offset = offset,
		.length = 4096,
		.end = UINT64_MAX,
		.access = access,
		.pages = 1,
	};
	assert_int_equal(clients_map(pool->clients, file, map), 0);
	assert_int_equal(map->count, 1);
	piece = map->piece[0];
	free(map);
	return piece;
}

/* What the program was asked last, if anything. */
static inline bool was_asked(struct pool *pool, struct direct_message *ret_message)
{
	return recv(pool->program, ret_message, sizeof(*ret_message), 0) == sizeof(*ret_message);
}

#endif
