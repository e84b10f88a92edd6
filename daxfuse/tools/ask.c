/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A question in a child that may be left behind: it writes its answer to a pipe, and we read with a
 * limit of time. A mount whose daemon hangs costs the tool that limit, not its life.
 */
#include "ask.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"

struct answer {
	int err;
	char text[ASK_MAX];
};

/* It must not hold descriptors that our caller waits to be closed. */
static void let_go_of_standard_files(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; null >= 0 && fd <= 2; fd++)
		dup2(null, fd);
}

__attribute__((noreturn)) static void child(int (*fn)(const char *path, char *answer, size_t size),
					    const char *path, int out)
{
	static struct answer answer;
	ssize_t n;

	let_go_of_standard_files();
	answer.err = fn(path, answer.text, sizeof(answer.text));
	/* less than a pipe holds */
	n = write(out, &answer, offsetof(struct answer, text) + strlen(answer.text));
	_exit(n < 0);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Until the child has closed its end. */
static errint_t read_answer(int in, unsigned limit_ms, struct answer *answer)
{
	int64_t end = now_ms() + limit_ms;
	size_t got = 0;

	for (;;) {
		struct pollfd poll_in = { .fd = in, .events = POLLIN };
		int64_t left = end - now_ms();
		ssize_t n;

		if (left <= 0 || poll(&poll_in, 1, (int)left) == 0)
			return -ETIMEDOUT;
		n = read(in, (char *)answer + got, sizeof(*answer) - 1 - got);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			break;
		got += n > 0 ? (size_t)n : 0;
	}
	if (got < offsetof(struct answer, text))
		return -EIO;
	((char *)answer)[got] = '\0';
	return answer->err;
}

errint_t ask(int (*fn)(const char *path, char *answer, size_t size), const char *path,
	     unsigned limit_ms, char *ret_answer)
{
	CLEANUP_FREE struct answer *answer = malloc(sizeof(*answer));
	int ends[2], err;
	pid_t pid;

	if (!answer || pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		child(fn, path, ends[1]);
	err = pid < 0 ? -errno : 0;
	close(ends[1]);
	if (!err)
		err = read_answer(ends[0], limit_ms, answer);
	close(ends[0]);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, WNOHANG);
	}
	if (!err)
		memcpy(ret_answer, answer->text, sizeof(answer->text));
	return err;
}

int open_past_cache(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_DIRECT);

	/* directories, and files of others, may know nothing of it */
	return fd < 0 && errno == EINVAL ? open(path, flags | O_CLOEXEC) : fd;
}
