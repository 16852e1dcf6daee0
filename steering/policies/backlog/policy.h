/* SPDX-License-Identifier: GPL-2.0-only
 *
 * backlog: a cell goes to the worker with the smallest backlog, as long as it then stays within a limit;
 * else it stays on the NIC's core. So the workers always have work and need not sleep and be woken, their
 * queues never overflow, and the NIC's core takes exactly what is left over.
 *
 * Order: kept inside a cell; a packet may be overtaken by at most the limit.
 * Good:  a heavy flow, whatever the cores' speeds: nothing to be tuned to the machine's balance.
 * Drowns: a light flow pays the handoff and gains nothing; an application on the worker's core is starved
 *         when the limit is high.
 * Cost:  once a cell, one cache line of each worker that the worker's core has just written.
 * Races: a backlog is a moment's view; NIC cores that choose at once may each pass the limit by a cell.
 */
#include "backlog.h"

struct policy_flow {
	__u32 left; /* packets to come in this cell */
	__u32 slot; /* where this cell goes */
};

struct policy_core {
	__u32 unused;
};

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	(void)packet, (void)core;
	if (flow->left) {
		flow->left--;
		return flow->slot;
	}
	flow->left = knobs->cell - 1;
	flow->slot = knobs->limit < knobs->cell ? LOCAL_SLOT : least_loaded(workers, knobs->limit - knobs->cell);
	return flow->slot;
}
