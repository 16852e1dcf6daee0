/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Log-linear histogram: 32 buckets an octave, so that a bucket's middle is within 1.6 % of any value in it.
 * Contract: bucket(v) = v below 32, else with e = floor(log2 v): (e - 4) * 32 + (v >> (e - 5)) - 32; values
 * from 2^36 (69 s in ns) on fall into the last one. bench/histogram.py has the same. Pure.
 */
#ifndef OVERSPRAY_HISTOGRAM_H
#define OVERSPRAY_HISTOGRAM_H

#include "compat.h"

#define HISTOGRAM_BUCKETS 1024

struct histogram {
	__u32 count[HISTOGRAM_BUCKETS];
};

static ALWAYS_INLINE __u64 histogram_bucket(__u64 value)
{
	__u64 rest = value, exponent = 0;

	if (value < 32)
		return value;
	if (value >> 36)
		return HISTOGRAM_BUCKETS - 1;
	/* Halving, for BPF has no instruction that counts leading zeros. */
#pragma unroll
	for (int shift = 32; shift; shift >>= 1) {
		if (rest >> shift) {
			rest >>= shift;
			exponent += shift;
		}
	}
	return (exponent - 4) * 32 + (value >> (exponent - 5)) - 32;
}

#endif
