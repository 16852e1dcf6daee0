/* SPDX-License-Identifier: GPL-2.0-only
 *
 * stage: a flow's path is split by stage over cores, Falcon's idea (EuroSys'21) on a stock kernel. There a flow's
 * packets change core at each device, to the one that a hash of flow and device picks, or, while that is busy, to a
 * second one. Here tunnel, bridge and veth are gone, and three stages are left: the NIC's core decides, the one
 * chosen here strips, makes skbs and merges them (GRO), and what is behind that, IP and UDP or TCP, is for the cores
 * of `stack`, a knob of every policy: RPS after GRO, which has one core for a flow. Its hash is the kernel's own, so
 * the stages' choices differ without a salt. Without `stack` there are two stages.
 *
 * As Falcon: the second choice gets what the first is too busy for, however busy it is itself; the NIC's core is a
 * choice only if `local` says so. Unlike it: busy is a backlog above a limit, not the load of past ticks, so the
 * NIC's core, which has none, never is; the second choice is another one than the first, if there is any; a choice
 * is for a cell and not for a packet, or GRO would find nothing to merge where a flow changes to and fro.
 *
 * Order: kept inside a cell; strict as long as the first choice is not busy.
 * Good:  a heavy flow whose stages are about alike, and cores enough; in order up to what one worker can take.
 * Drowns: when one stage is too heavy for one core, as skb and GRO are: its queue overflows, or that of the second
 *         choice, and others idle; a light flow pays two handoffs and gains nothing.
 * Cost:  once a cell, one worker's cache line that its core has just written.
 * Races: a backlog is a moment's view. Cores that share a flow cut its cells short.
 */
#include "backlog.h"
#include "pick.h"

struct policy_flow {
	__u32 left; /* packets to come in this cell */
	__u32 slot; /* where this cell goes */
};

struct policy_core {
	__u64 count_busy; /* cells whose first choice was */
};

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	__u32 others = workers->count - !knobs->local;

	if (flow->left) {
		flow->left--;
		return flow->slot;
	}
	flow->left = knobs->cell - 1;
	flow->slot = hashed_slot(packet->hash, workers, knobs->local);
	if (flow->slot == LOCAL_SLOT ||
	    backlog_of(&workers->worker[(flow->slot - 1) & (MAX_WORKERS - 1)]) <= knobs->limit)
		return flow->slot;
	/* One of the others, behind the first, around. */
	core->count_busy++;
	flow->slot += 1 + one_of(next_random(packet->hash), others);
	flow->slot -= flow->slot <= workers->count ? 0 : others + 1;
	return flow->slot;
}
