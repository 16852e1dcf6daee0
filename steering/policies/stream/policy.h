/* SPDX-License-Identifier: GPL-2.0-only
 *
 * stream: backlog, made right for TCP. Cells of GRO's size go to the least loaded worker, as long as
 * the NIC's core has more to do than it can, the flow is no small one, and its worker gets on. A worker
 * that holds packets and takes none out for some cells is starved by another task: what it holds is a
 * hole in the stream, so it is left alone for a multiple of that time. Connection control (SYN, FIN, RST)
 * stays on the NIC's core.
 *
 * Order: kept inside a cell; a packet may be overtaken by at most the limit and a cell.
 * Good:  a heavy stream, with the ACK shield up and large GRO; a light one stays as it is.
 * Drowns: many streams at once have work for all cores without it; what a stalled worker holds is late.
 * Cost:  once a cell, one cache line of each worker, and one of the worker that had the last cell.
 * Races: as backlog. A worker is known to stand still only by what one NIC core sends it.
 */
#include "backlog.h"

#define CONTROL 7 /* RFC 9293: FIN, SYN, RST */

struct policy_flow {
	__u32 left; /* packets to come in this cell */
	__u32 slot; /* where this cell goes */
	__u32 last; /* the worker that had a cell last */
	__u32 age;  /* packets so far, until it is no small flow any more */
};

struct policy_core {
	__u64 count[POLICY_COUNTERS];
	__u32 done[MAX_WORKERS];  /* when last looked at */
	__u32 still[MAX_WORKERS]; /* cells since it was another number, with packets waiting */
	__u32 rest[MAX_WORKERS];  /* cells for which it is left alone */
};

/* Look at the worker that had the last cell. */
static ALWAYS_INLINE void watch(struct policy_core *core, const struct knobs *knobs,
				const struct workers *workers, __u32 slot)
{
	__u32 index = (slot - 1) & (MAX_WORKERS - 1);
	__u32 done = (__u32)READ_SHARED(workers->worker[index].done);

	if (done != core->done[index] || !backlog(workers, slot)) {
		core->done[index] = done;
		core->still[index] = 0;
		return;
	}
	core->still[index]++;
	if (core->still[index] < knobs->still)
		return;
	core->still[index] = 0;
	core->rest[index] = knobs->rest;
	core->count[COUNT_STALLS]++;
}

static ALWAYS_INLINE int rests(struct policy_core *core, __u32 slot)
{
	__u32 index = (slot - 1) & (MAX_WORKERS - 1);

	if (!core->rest[index])
		return 0;
	core->rest[index]--;
	return 1;
}

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
				       struct policy_flow *flow, struct policy_core *core,
				       const struct workers *workers)
{
	__u32 slot;

	if (packet->tcp_flags & CONTROL)
		return LOCAL_SLOT;
	if (flow->left) {
		flow->left--;
		return flow->slot;
	}
	flow->left = knobs->cell - 1;
	flow->slot = LOCAL_SLOT;
	if (flow->age < knobs->small) {
		flow->age += knobs->cell;
		return LOCAL_SLOT;
	}
	if (flow->last)
		watch(core, knobs, workers, flow->last);
	if (knobs->calm && !packet->pressed) {
		core->count[COUNT_CELLS_CALM]++;
		return LOCAL_SLOT;
	}
	slot = least_loaded(workers, knobs->limit);
	if (slot == LOCAL_SLOT || rests(core, slot)) {
		core->count[COUNT_CELLS_LOCAL]++;
		return LOCAL_SLOT;
	}
	core->count[COUNT_CELLS_REMOTE]++;
	flow->slot = flow->last = slot;
	return slot;
}
