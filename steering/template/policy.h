/* SPDX-License-Identifier: GPL-2.0-only
 *
 * template: cells go to the NIC's core and the workers in turn; a worker that is behind is passed over.
 * (What the idea is, so that one who reads no further knows what this policy does.)
 *
 * Order: kept inside a cell; a cell may overtake the one before it.
 * Good:  when it is the right one. Say for what traffic, and on what machine.
 * Drowns: when it is not. Say so honestly: somebody will choose by this line.
 * Cost:  once a cell, one worker's cache line. What each packet and each cell must read and write.
 * Races: NIC cores that share a flow cut its cells short. What several cores at once can do to the state.
 *
 * The contract, and all that a policy may know, is xdp/include/policy.h.
 */
#include "backlog.h"

/* What is remembered of a flow: at most 56 bytes, zero at first. Flows of one hash share it: a hint. */
struct policy_flow {
	__u32 left; /* packets to come in this cell */
	__u32 slot; /* where this cell goes */
	__u32 turn; /* whose turn it was last */
};

/* What is remembered on a NIC core, zero at first. Members called count_… are counters: they only grow. */
struct policy_core {
	__u64 count_cells;  /* begun */
	__u64 count_passed; /* kept here, for the worker whose turn it was is behind */
};

/* Called for every packet: the slot that it goes to. 0, LOCAL_SLOT, is this core; 1 .. workers->count are the
 * workers. Whatever else is returned is refused and counted, and the packet takes the stock path. */
static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	const struct worker *worker;

	(void)packet; /* says the compiler that it is left out on purpose */

	/* Inside a cell its packets stay together: that is the order that is promised. */
	if (flow->left) {
		flow->left--;
		return flow->slot;
	}

	/* A new cell, for the next in turn. Knobs are in their range, so `cell` is 1 at least. */
	core->count_cells++;
	flow->left = knobs->cell - 1;
	flow->turn = flow->turn < workers->count ? flow->turn + 1 : LOCAL_SLOT;
	flow->slot = flow->turn;
	if (flow->slot == LOCAL_SLOT)
		return flow->slot;

	/* Slot s is worker[s - 1]. The mask tells the verifier what we know: that the index is in bounds. */
	worker = &workers->worker[(flow->slot - 1) & (MAX_WORKERS - 1)];
	if (backlog_of(worker) > knobs->limit) {
		core->count_passed++;
		flow->slot = LOCAL_SLOT;
	}
	return flow->slot;
}
