/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File sizes as on people's disks, after Agrawal's measurements as Impressions
 * (FAST 2009) models them: a log-normal body and a heavy Pareto tail.
 *
 *   body  log-normal, mu = 9.48, sigma = 2.46 of ln(bytes): median 13 KB
 *   tail  one file in 16,000: Pareto, exponent 0.91
 *
 * Impressions' tail starts at 512 MB, which is a quarter of the pools used here;
 * ours starts at an eighth of the cap. The cap, a 32nd of the pool, keeps one
 * file from being what is measured. Two thirds of the body's bytes are in files
 * of 2 MiB and more before the cap.
 */
#ifndef BENCH_AGING_SIZES_H
#define BENCH_AGING_SIZES_H

#include <stdint.h>

/* At least 1, at most cap bytes. */
uint64_t aging_size(uint64_t *random, uint64_t cap);

#endif
