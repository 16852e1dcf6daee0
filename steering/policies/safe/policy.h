/* SPDX-License-Identifier: GPL-2.0-only
 *
 * safe: a flow changes its slot only when none of its packets is on the old core's path any more: not in the
 * worker's queue, nor in GRO, nor in the stack. `flowlet` assumes that after a pause, `safe` looks. When it may, the
 * flow goes to the worker with the smallest backlog, within a limit; else to the NIC's core.
 *
 * Order: strict, under any load. What is counted: a worker's packets have one order, so a flow's last one has been
 *        taken when as many were as were sent until then, less those lost before; and it is through when the worker
 *        goes on behind it (clear.h says what that takes). Of the NIC's core the same is counted here. What is
 *        assumed: the kernel's batches are no longer than 64; a flow comes by one receive queue, and a core serves
 *        one, whose poll ends within a jiffy; delivery is `peer`, for a veth's own NAPI may be put off (deliver=veth:
 *        by the pause alone); nothing behind us gives a flow to several cores (RFS may; RPS, and so `stack`, has one
 *        for each).
 * Good:  many flows that change, where order matters more than an even load.
 * Drowns: a flow that never pauses for a millisecond stays on one core, however heavy, and loses what that one can't
 *         take. A core on which little else happens lets nobody go, for only packets behind a flow tell.
 * Cost:  a clock for every packet; for every batch of a worker, a clock and a look; after a pause, one cache line of
 *        each worker.
 * Races: NIC cores that share a flow may each move it, and it is reordered: see what is assumed.
 */
#include "backlog.h"
#include "clear.h"

struct policy_flow {
	__u64 last; /* when its last packet came */
	__u64 mark; /* when so many are through, nothing of it is left on its slot's core */
	__u32 slot;
};

struct policy_core {
	__u64 seen; /* packets, wherever they went */
	struct clearing clearing;
	__u64 count_moved; /* flows, to another slot */
};

static ALWAYS_INLINE bool is_clear(const struct policy_flow *flow, const struct policy_core *core,
				   const struct workers *workers)
{
	if (flow->slot == LOCAL_SLOT)
		return core->clearing.through >= flow->mark;
	return READ_SHARED(workers->worker[(flow->slot - 1) & (MAX_WORKERS - 1)].clearing.through) >= flow->mark;
}

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	const struct worker *worker;
	__u32 slot;

	clearing_step(&core->clearing, core->seen, 1, packet->now);
	core->seen++;
	/* Nothing is through within a jiffy: so the pause is looked at first, which costs nothing. */
	if (packet->now >= flow->last + JIFFY_NS && is_clear(flow, core, workers)) {
		slot = least_loaded(workers, knobs->limit);
		core->count_moved += slot != flow->slot;
		flow->slot = slot;
	}
	flow->last = packet->now;
	worker = &workers->worker[(flow->slot - 1) & (MAX_WORKERS - 1)];
	flow->mark = flow->slot == LOCAL_SLOT ? core->seen :
						READ_SHARED(worker->sent) + 1 - READ_SHARED(worker->lost);
	return flow->slot;
}
