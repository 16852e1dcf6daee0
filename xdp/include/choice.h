/* SPDX-License-Identifier: GPL-2.0-only
 *
 * From a number to a slot: which worker a hash names, without a division.
 * Contract: pure; 32-bit inputs; a slot is 1 .. workers->count, or LOCAL_SLOT where there is no worker.
 */
#ifndef OVERSPRAY_CHOICE_H
#define OVERSPRAY_CHOICE_H

#include "compat.h"
#include "policy.h"

/* One of `choices` (0 .. choices - 1), evenly for evenly spread hashes: the upper half of a product, as in
 * the kernel's reciprocal_scale. */
static ALWAYS_INLINE __u32 scaled(__u32 hash, __u32 choices)
{
	return (__u32)(((__u64)hash * choices) >> 32);
}

/* Another hash of the same flow: a finalizer with two odd multipliers (Murmur3's), told apart by `salt`. */
static ALWAYS_INLINE __u32 rehash(__u32 hash, __u32 salt)
{
	__u64 mix = hash ^ ((__u64)salt * 0x9e3779b1U & 0xffffffffU);

	mix ^= mix >> 16;
	mix = mix * 0x85ebca6bU & 0xffffffffU;
	mix ^= mix >> 13;
	mix = mix * 0xc2b2ae35U & 0xffffffffU;
	return (__u32)(mix ^ mix >> 16);
}

/* The worker that a hash names. */
static ALWAYS_INLINE __u32 named_worker(__u32 hash, const struct workers *workers)
{
	return workers->count ? 1 + scaled(hash, workers->count) : LOCAL_SLOT;
}

#endif
