/* SPDX-License-Identifier: BSD-3-Clause */
/* Mount a pool and use it in every way, for a limited time. */
#ifndef DAXFUSE_TESTS_FUZZ_EXERCISE_H
#define DAXFUSE_TESTS_FUZZ_EXERCISE_H

#include "daxfuse/pmem/pmem.h"

/* The first -EUCLEAN or -EIO of any operation, or why the mount failed, or 0. */
int exercise(const struct pmem *pm);

#endif
