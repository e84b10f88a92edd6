/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxfuse-volumes: the volume plugin of Docker and Podman, for one pool. A program of its own, so
 * that the daemon of a mount carries no HTTP server; `daxfuse volumes` executes it.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/plugin/server.h"
#include "command.h"
#include "report.h"

#define SOCKET "/run/docker/plugins/daxfuse.sock"
#define IDS "/run/daxfuse-volumes"

enum { LISTEN_FD = 3, BACKLOG = 256 };

static const struct command_option options[] = {
	{ 'p', "pool", "MOUNT", "a mounted pool, or a folder of one; it may be mounted later" },
	{ 's', "socket", "PATH", "listen there (" SOCKET ")" },
	{ 'i', "ids", "FOLDER", "note there which mounts engines tell of (" IDS ")" },
	{ 0 },
};

static const struct command command = {
	.name = "daxfuse volumes",
	.usage = "",
	.summary = "Serve volumes of a pool to Docker and Podman, until SIGTERM.",
	.options = options,
	.details = "Under systemd it takes the socket of daxfuse-volumes.socket.\n"
		   "daxfuse volume shows and changes the same volumes by hand.",
	.usage_status = 1,
};

struct setting {
	const char *pool, *socket, *ids;
};

static void log_line(const char *line)
{
	fprintf(stderr, "daxfuse-volumes: %s\n", line);
}

/* As sd_listen_fds() does; false: there is none. */
static bool has_systemds_socket(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");

	return pid && fds && atol(pid) == (long)getpid() && atol(fds) == 1;
}

static bool is_answered(const struct sockaddr_un *address)
{
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0;
}

static void make_parent(const char *path)
{
	CLEANUP_FREE char *folder = strdup(path);
	char *slash = folder ? strrchr(folder, '/') : NULL;

	for (char *at = folder; slash && at && (at = strchr(at + 1, '/'));) {
		*at = '\0';
		mkdir(folder, at == slash ? 0700 : 0755);
		*at = '/';
	}
}

/* Of root only: who reaches it can make and remove volumes. */
static errint_t listen_at(const char *path, int *ret_fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	make_parent(path);
	if (is_answered(&address))
		return -EADDRINUSE;
	if (unlink(path) && errno != ENOENT)
		return -errno;
	umask(077);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) || listen(fd, BACKLOG))
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static errint_t serve(const struct setting *setting, int listener)
{
	const struct server_config config = {
		.pool = setting->pool,
		.ids = setting->ids,
		.listener = listener,
		.log = log_line,
	};
	sigset_t set;
	int number, err;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	err = server_start(&config);
	if (err)
		return err;
	sigwait(&set, &number);
	server_stop();
	return 0;
}

/* Threads that wait for a pool that does not answer are not waited for. */
_Noreturn static void leave(int status)
{
	fflush(NULL);
	_exit(status);
}

int main(int argc, char **argv)
{
	struct setting setting = { NULL, SOCKET, IDS };
	bool activated = has_systemds_socket();
	int code, listener = LISTEN_FD, err = 0;

	while ((code = command_next(&command, argc, argv)) >= 0) {
		if (code == 'p')
			setting.pool = optarg;
		if (code == 's')
			setting.socket = optarg;
		if (code == 'i')
			setting.ids = optarg;
	}
	command_operands(&command, argc, 0, 0);
	if (!setting.pool || *setting.pool != '/')
		command_misused(&command, "--pool needs the path of a mount");
	if (!activated)
		err = listen_at(setting.socket, &listener);
	if (!err)
		err = serve(&setting, listener);
	if (!activated && !err)
		unlink(setting.socket);
	if (err)
		report_failure("daxfuse", activated ? "the socket of systemd" : setting.socket, err,
			       "cannot be served", "");
	leave(err ? 1 : 0);
}
