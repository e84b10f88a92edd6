/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The loop of a mount that a keeper holds. libfuse's own shows nobody the unique
 * of a request, and its buffers may be paged in by the kernel while we are killed.
 */
#ifndef DAXFUSE_FUSE_LOOP_H
#define DAXFUSE_FUSE_LOOP_H

#include "daxfuse/ioctl.h"
#include "internal.h"
#include "daxfuse/base/errint.h"

/* Greet the kernel as the last process did and have it send again all that was not answered; then
 * serve until unmounted or stopped. 0 or negative errno. */
errint_t loop_serve(struct transport *t);
/* From any thread: take no more requests. */
void loop_stop(struct transport *t);
/*
 * A thread that serves begins to wait for a program, or is done. False: it is not to wait, as too
 * many do already. While one waits, there is always another thread that serves, up to
 * LOOP_SPARE more than there are else.
 */
enum { LOOP_SPARE = 64 };
bool loop_waiting(bool begins);
/* Of all threads that serve, or have. While serving, from any thread of it. */
void loop_times(struct dxf_ioc_requests *ret_sum);

#endif
