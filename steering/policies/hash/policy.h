/* SPDX-License-Identifier: GPL-2.0-only
 *
 * hash: the inner 5-tuple picks the core, once and for all: what RSS would do had it seen the header
 * inside the tunnel.
 *
 * Order: kept, while the number of workers stays.
 * Good:  many flows of like weight.
 * Drowns: one flow has one core; two heavy flows may meet on one while others idle.
 * Cost:  a multiplication. Races: none, nothing is remembered.
 */
#include "choice.h"

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
	/* The low bits of the hash choose the flow's place in the table: mixed anew they say nothing of it. */
	if (knobs->local)
		return scaled(rehash(packet->hash, 0), workers->count + 1);
	return named_worker(rehash(packet->hash, 0), workers);
}
