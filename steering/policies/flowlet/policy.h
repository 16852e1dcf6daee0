/* SPDX-License-Identifier: GPL-2.0-only
 *
 * flowlet: a flow changes its slot only after it has paused for longer than the queues could hold its packets, so
 * that those before the pause have left when the next ones come (Kandula et al. 2007; Linux' RFS has the same idea).
 * The next slot is the worker with the smallest backlog, within a limit; else the NIC's core.
 *
 * Order: strict as long as every queue empties faster than the gap. That is assumed and not looked at: behind a
 *        worker that stalls for longer, the packets after a pause overtake those before it. So what is promised is
 *        that packets between two pauses stay together, and no more.
 * Good:  flows that come in bursts: requests, TCP that waits for its window.
 * Drowns: a flow that never pauses stays on one core, however heavy; at high load there are no pauses at all.
 * Cost:  a clock for every packet; after a pause, one cache line of each worker.
 * Races: cores that share a flow may both see the pause, and choose twice.
 */
#include "backlog.h"

struct policy_flow {
	__u64 last; /* when its last packet came */
	__u32 slot;
};

struct policy_core {
	__u32 unused;
};

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	(void)core;
	/* A sum, for another core's time may be later than ours. */
	if (packet->now > flow->last + (__u64)knobs->gap * 1000)
		flow->slot = least_loaded(workers, knobs->limit);
	flow->last = packet->now;
	return flow->slot;
}
