// SPDX-License-Identifier: GPL-2.0-only
/*
 * A policy in user space: the same text that steer.bpf.c includes, compiled by the host's compiler into
 * a shared object (steering/hosted.py). After a fault (fault.h) the decision is STEP_FAULT.
 */
#include "backlog.h"
#include "fault.h"
#include "maps.h"
#include "step.h"

#include "knobs.h"  /* generated from the policy's Python half */
#include POLICY

_Static_assert(sizeof(struct policy_flow) <= FLOW_STATE_BYTES, "struct policy_flow is too large");

/* Part of the text, so that another compiler makes another object. */
const char compiled_by[] = __VERSION__;
const __u32 core_state_bytes = sizeof(struct policy_core);

/* One decision. */
__u32 decide(const struct packet *packet, const struct knobs *knobs, void *flow, void *core,
	     const struct workers *workers)
{
	if (__builtin_setjmp(before_decision))
		return STEP_FAULT;
	return policy_slot(packet, knobs, flow, core, workers);
}

/* Decide on all steps; returns how many were decided on: less than count when the last is a fault. */
__u64 run(const struct step *steps, __u64 count, const struct knobs *knobs, __u8 *flows, void *core,
	  struct workers *workers, __u32 *slots)
{
	for (__u64 i = 0; i < count; i++) {
		const struct packet *packet = &steps[i].packet;
		__u8 *flow = flows + (packet->flow & (MAX_FLOWS - 1)) * FLOW_STATE_BYTES;

		set_worker(workers, &steps[i]);
		slots[i] = decide(packet, knobs, flow, core, workers);
		if (slots[i] == STEP_FAULT && fault.what)
			return i;
	}
	return count;
}

/* Queues behind the decisions: one for each slot, first in, first out, slot 0 is the NIC's own core.
 * All arrays are the caller's, zeroed. */
struct queues {
	__u64 packets;
	__u64 room;          /* in a worker's queue; what finds none is lost */
	const __u16 *drains; /* [packets][count + 1]: how many may leave each queue before a packet */
	__u32 *line;         /* [count + 1][packets]: who stands in it */
	__u64 *head;         /* [count + 1]: who leaves next */
	__u64 *tail;         /* [count + 1]: where the next one stands */
	__u32 *under_way;    /* [MAX_FLOWS]: packets of a flow in any queue */
	__u64 *place;        /* [packets]: the how-manyeth to come out, from 1; 0: lost or refused */
	__u64 out;           /* that came out */
};

static void leave(struct queues *queues, const struct step *steps, __u32 slot, __u64 most)
{
	for (; most && queues->head[slot] < queues->tail[slot]; most--) {
		__u32 id = queues->line[slot * queues->packets + queues->head[slot]++];

		queues->place[id] = ++queues->out;
		queues->under_way[steps[id].packet.flow & (MAX_FLOWS - 1)]--;
	}
}

/* What the workers' counters say: a bulk of 8 is taken out before any of it is through. */
static void tell(const struct queues *queues, struct workers *workers)
{
	for (__u32 slot = 1; slot <= workers->count; slot++) {
		struct worker *worker = &workers->worker[slot - 1];
		__u64 taken = queues->head[slot] + 8;

		worker->finished = queues->head[slot];
		worker->started = worker->finished;
		worker->done = taken < queues->tail[slot] ? taken : queues->tail[slot];
		worker->batches = (worker->done + 7) / 8;
		worker->sent = queues->tail[slot] + worker->lost;
	}
}

/* The same as run(), but the backlogs are those that come of the decisions, and packet->clear is true
 * where the step lets it be. */
__u64 run_queues(const struct step *steps, struct queues *queues, const struct knobs *knobs,
		 __u8 *flows, void *core, struct workers *workers, __u32 *slots)
{
	for (__u64 i = 0; i < queues->packets; i++) {
		struct packet packet = steps[i].packet;
		__u32 index = packet.flow & (MAX_FLOWS - 1);
		__u32 slot;

		for (slot = 0; slot <= workers->count; slot++)
			leave(queues, steps, slot, queues->drains[i * (workers->count + 1) + slot]);
		tell(queues, workers);
		packet.clear &= !queues->under_way[index];
		slot = decide(&packet, knobs, flows + index * FLOW_STATE_BYTES, core, workers);
		slots[i] = slot;
		if (slot == STEP_FAULT && fault.what)
			return i;
		if (slot > workers->count)
			continue;
		if (slot && queues->tail[slot] - queues->head[slot] >= queues->room) {
			workers->worker[slot - 1].lost++;
			continue;
		}
		queues->line[slot * queues->packets + queues->tail[slot]++] = (__u32)i;
		queues->under_way[index]++;
	}
	for (__u32 slot = workers->count + 1; slot-- > 0;)
		leave(queues, steps, slot, queues->packets);
	return queues->packets;
}
