/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Slots by a flow's hash, and by chance.
 * Contract: pure. Of a hash the low bits choose the flow's state, so the high ones choose here.
 */
#ifndef OVERSPRAY_PICK_H
#define OVERSPRAY_PICK_H

#include "compat.h"
#include "policy.h"

/* 0 .. many - 1, all about as likely, by a well mixed number; 0 of none. A multiplication in place of a division. */
static ALWAYS_INLINE __u32 one_of(__u32 mixed, __u32 many)
{
	return (__u32)((__u64)mixed * many >> 32);
}

/* The slot of a flow that stays where its hash puts it; `local`: the NIC's core has a share. */
static ALWAYS_INLINE __u32 hashed_slot(__u32 hash, const struct workers *workers, __u32 local)
{
	__u32 first = local || !workers->count ? LOCAL_SLOT : 1;

	return first + one_of(hash, workers->count + 1 - first);
}

/* The number after this one: Marsaglia's xorshift, which goes through all but 0. */
static ALWAYS_INLINE __u32 next_random(__u32 number)
{
	number |= !number;
	number ^= number << 13;
	number ^= number >> 17;
	number ^= number << 5;
	return number;
}

#endif
