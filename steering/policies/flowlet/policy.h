/* SPDX-License-Identifier: GPL-2.0-only
 *
 * flowlet: a flow changes its core only after a pause that is longer than the queues can hold a packet
 * (flowlets: Kandula et al., CCR 2007). Then the least loaded worker below a limit gets it, or the NIC's
 * core.
 *
 * Order: kept inside a flowlet, and between them as long as no queue holds a packet for longer than `gap`: by
 * default 2048 packets (the queue) of 1 us each, doubled. A worker that is held up for longer breaks it;
 * safe knows, where this one reckons.
 * Good:  flows with pauses (request and answer): they move to where there is room.
 * Drowns: a flow without pauses stays where it began.
 * Cost:  the time, for every packet; after a pause as backlog.
 * Races: none of its own, a flow stays on one NIC core.
 */
#include "backlog.h"

#define NS_SHIFT 10 /* a microsecond is taken for 1024 ns: no division */

struct policy_flow {
	__u64 last; /* when its last packet came */
	__u32 slot; /* where this flowlet goes */
	__u32 known;
};

struct policy_core {
	__u64 count[POLICY_COUNTERS];
};

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	__u64 pause = packet->now - flow->last;

	flow->last = packet->now;
	if (flow->known && pause >> NS_SHIFT < knobs->gap)
		return flow->slot;
	flow->known = 1;
	core->count[COUNT_FLOWLETS]++;
	flow->slot = least_loaded(workers, knobs->limit);
	return flow->slot;
}
