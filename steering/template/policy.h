/* SPDX-License-Identifier: GPL-2.0-only
 *
 * NAME: say in a sentence or two what it does. This one sends cells, runs of consecutive packets, to the
 * workers in turn, as long as the next one's backlog is below a limit; else the cell stays here.
 *
 * Order: kept inside a cell; a cell may overtake the one before it.
 * Good:  when is it the right choice?
 * Drowns: when does it lose, and what is lost then?
 * Cost:  what does it read or write that another core writes, and how often?
 * Races: what happens when two NIC cores decide at once?
 *
 * The contract is xdp/include/policy.h: what a policy may know, and of which types. In short: unsigned
 * integers, no division by zero, no helpers, no maps, no variables outside of the two structs.
 */
#include "backlog.h" /* backlog(workers, slot), least_loaded(workers, limit) */

/* What is remembered of a flow, at most FLOW_STATE_BYTES. A new flow's is all zero. */
struct policy_flow {
	__u32 left;   /* packets to come in this cell */
	__u32 slot;   /* where this cell goes */
	__u32 worker; /* the last worker that was asked */
};

/* What is remembered on each NIC core, for all flows together. It can't be empty. */
struct policy_core {
	__u32 unused;
};

/* The decision: LOCAL_SLOT is the NIC's own core, 1 .. workers->count are the workers. Any other number
 * is refused, counted, and the packet takes the stock path. */
static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	/* What is not used is said so, or the compiler warns. */
	(void)packet, (void)core;

	/* Inside a cell there is nothing to decide. */
	if (flow->left) {
		flow->left--;
		return flow->slot;
	}
	/* The knobs are those of policy.py, and in the range that it gives: cell is at least 1. */
	flow->left = knobs->cell - 1;
	flow->slot = LOCAL_SLOT;
	/* There may be no worker at all. */
	if (!workers->count)
		return flow->slot;
	flow->worker = flow->worker < workers->count ? flow->worker + 1 : 1;
	/* A look at a backlog is a cache miss: once a cell, not once a packet. */
	if (backlog(workers, flow->worker) < knobs->limit)
		flow->slot = flow->worker;
	return flow->slot;
}
