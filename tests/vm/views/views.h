/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the scenarios of the program "views" have in common. Each has the device and a handler of
 * SIGBUS (main.c), opens a session, makes views, and fails by CHECK. A new one is a static function
 * in the file of its topic, and a line of the table at that file's end.
 */
#ifndef VM_VIEWS_H
#define VM_VIEWS_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include "daxfuse/daxview.h"
#include "../../support/check.h"

#define DEVICE "/dev/dax0.0"
#define UNIT (2ul << 20)
#define PAGE 4096ul
#define UNITS 64 /* of the device are used; the server gives away the second half of them */

struct scenario {
	const char *name;
	void (*run)(void);
};

/* Of each topic, up to one without a name. */
extern const struct scenario fault_scenarios[], question_scenarios[], read_write_scenarios[],
	flush_scenarios[], page_scenarios[], lifetime_scenarios[], argument_scenarios[],
	tail_scenarios[], stress_scenarios[];

/* ---- main.c ---------------------------------------------------------------------------- */

extern int seconds;            /* that a scenario goes on for, if it is one that goes on */
extern void *volatile nowhere; /* an address that is not mapped */
extern unsigned int seed;

double now(void);
unsigned long any(unsigned long below);

/* ---- view.c ---------------------------------------------------------------------------- */

struct view {
	int session, fd;
	__u64 number;
};

extern int device;
extern char *memory; /* the device, as its driver maps it */

void open_device(void);

/* With flags, what the ioctl returns. */
int open_session_with(int flags, const char *key, int *session);
int open_session(void);

struct view create(int session, __u64 size);
/* A view of units, the file's first one being the device's last of them. */
struct view backwards(int session, unsigned int units);

int try_set(const struct view *view, __u64 offset, __u64 length, const struct daxview_piece *pieces,
	    __u32 count);
/* One piece. */
void place(const struct view *view, __u64 offset, __u64 length, __u64 where);
void forget(const struct view *view, __u64 offset, __u64 length);
void resize(const struct view *view, __u64 size);
void set_privileged(const struct view *view, bool privileged);

struct daxview_stat stat_of(const struct view *view);
int revoke_view(const struct view *view);
int answer(int session, __u64 question, int error);
int busy(int session, __u64 where, __u64 length, __u32 timeout);
/* DAXVIEW_IOC_SYNC or DAXVIEW_IOC_PROTECT. */
int clean(const struct view *view, unsigned long command, __u64 offset, __u64 length, void *bitmap);

#define SHARED PROT_READ | PROT_WRITE, MAP_SHARED

/* At an address that fits huge pages. */
char *map(const struct view *view, __u64 length, int protection, int flags);

void write_bytes(const struct view *view, __u64 at, size_t length, char byte);

/* Whether it ends in SIGBUS, whose si_code is then bus_code. */
bool load_fails(volatile char *address);
bool store_fails(volatile char *address);
extern volatile sig_atomic_t bus_code;
void catch_bus(void);

long minor_faults(void);

/* ---- daemon.c -------------------------------------------------------------------------- */

/* A thread that answers each question with the next free unit, or with its error. */
extern struct server {
	struct view *views;
	unsigned int count, next;
	int error;
	unsigned int asked[7]; /* of each kind */
} server;

pthread_t start_server(struct view *views, unsigned int count);
void stop_server(pthread_t thread); /* or any other thread that reads questions */

/* A process with a session of its own, in which it makes a view, that it gives away; it is killed
 * at once, or the caller does that. `holder` holds the session. */
extern int holder;
pid_t killed_owner(struct view *view, struct view (*make)(void), bool kill_now);

#endif
