/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The serving process as the main process of a systemd service, which keeps its descriptors
 * (keeper/systemd.h): how it finds what the last one left, and what it leaves itself.
 */
#ifndef DAXFUSE_DAEMON_SERVICE_H
#define DAXFUSE_DAEMON_SERVICE_H

#include <stdbool.h>

#include "daxfuse/base/errint.h"

struct daemon;

/* Exit status: the mount is there, and another process is to try to serve it. */
enum { SERVICE_EXIT_AGAIN = 75 };

/* The command line that the stored mount was made with, to be freed word by word; NULL: nothing is
 * stored. The unit's own may have been changed, and be wrong: it counts from the next mount on. */
char **service_words(int *ret_count);
/* Whether there is something: of the process before us, or of ourselves before we executed the
 * next program. */
bool service_take(struct daemon *daemon);
/* Map what was taken. If we don't understand it, the program that does is executed in our place. 0
 * or negative errno. */
errint_t service_adopt(struct daemon *daemon);
/* Have what is kept of a new mount stored. 0 or negative errno. */
errint_t service_store(struct daemon *daemon);
/* Begin a life; false: there is no sense in another one, see service_give_up(). */
bool service_begin(struct daemon *daemon);
/* Answer EIO until the mount is gone, or systemctl restart has it tried again. The exit status. */
int service_give_up(struct daemon *daemon);
/* The mount answers. */
void service_ready(const struct daemon *daemon);
/* Execute the installed program in our place; returns if that is impossible. */
void service_replace(struct daemon *daemon);
/* After an end with this status: what is left for the next process, and the exit status. */
int service_end(struct daemon *daemon, int status);

#endif
