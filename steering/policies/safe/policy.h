/* SPDX-License-Identifier: GPL-2.0-only
 *
 * safe: a flow changes its core only when none of its packets is on its way any more: each that was sent
 * has come out behind the last stage that runs on its core, or was reported as dropped. While the
 * NIC's core keeps up a flow is at home there; under pressure a clear flow moves to the least
 * loaded worker.
 *
 * Order: kept, always. Flows whose hashes share a place in the table move together.
 * Good:  many flows that come in bursts: they spread, and no receiver ever sees one reordered.
 * Drowns: a flow that never pauses is never clear: it stays on one core, and gets what pin gives it.
 * Cost:  a cache line that the worker's core writes, for every packet; a tc program and two tracepoints.
 * Races: read so that a doubt is a no, see path.h.
 */
#include "backlog.h"

struct policy_flow {
	__u32 slot; /* where it is */
};

struct policy_core {
	__u64 count[POLICY_COUNTERS];
};

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	__u32 slot;

	if (!packet->clear)
		return flow->slot;
	slot = packet->pressed ? least_loaded(workers, knobs->limit) : LOCAL_SLOT;
	core->count[COUNT_MOVES] += slot != flow->slot;
	flow->slot = slot;
	return slot;
}
