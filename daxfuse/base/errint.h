/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a function returns that can fail and has nothing else to say.
 *
 * 0, or a negative errno: never a positive number, and never -1 for "see errno". A function with
 * a third answer returns it by a parameter, or is a plain int and names its answers in an enum
 * (map_fault()). The idea is composefs'. tests/test_habits.py sees to it both ways.
 */
#ifndef DAXFUSE_BASE_ERRINT_H
#define DAXFUSE_BASE_ERRINT_H

typedef int errint_t;

#endif
