/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Log-linear histogram: 32 linear buckets an octave, so that a bucket's middle is within 1.6 % of any
 * value in it.
 * Contract: bucket(v) = v below 32, else with e = floor(log2 v): (e - 4) * 32 + (v >> (e - 5)) - 32;
 * values from 2^36 (69 s in ns) on fall into the last one. bench/histogram.py reads it. Pure.
 */
#ifndef OVERSPRAY_HISTOGRAM_H
#define OVERSPRAY_HISTOGRAM_H

#include "compat.h"

#define HISTOGRAM_BUCKETS 1024

struct histogram {
	__u32 count[HISTOGRAM_BUCKETS];
};

static ALWAYS_INLINE __u64 log2_floor(__u64 value)
{
	__u64 result = 0;

	/* Halving; BPF has no instruction for it. */
#pragma unroll
	for (int shift = 32; shift; shift >>= 1) {
		if (value >> shift) {
			value >>= shift;
			result += shift;
		}
	}
	return result;
}

static ALWAYS_INLINE __u64 histogram_bucket(__u64 value)
{
	__u64 exponent;

	if (value < 32)
		return value;
	if (value >> 36)
		return HISTOGRAM_BUCKETS - 1;
	exponent = log2_floor(value);
	return (exponent - 4) * 32 + (value >> (exponent - 5)) - 32;
}

#endif
