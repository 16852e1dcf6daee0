/* SPDX-License-Identifier: GPL-2.0-only
 *
 * hash: the hash of the inner 5-tuple picks a slot for the whole flow: what a card's RSS would do, had it seen
 * the inner header, and the yardstick for many flows.
 *
 * Order: strict, a flow has one slot. (When workers come or go, flows move once.)
 * Good:  many flows of like weight.
 * Drowns: one heavy flow gets one core; and of few flows, two heavy ones may share a core while others idle.
 * Cost:  a multiplication. Races: none, nothing is remembered.
 */
#include "pick.h"

struct policy_flow {
	__u32 unused;
};

struct policy_core {
	__u32 unused;
};

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	(void)flow, (void)core;
	return hashed_slot(packet->hash, workers, knobs->local);
}
