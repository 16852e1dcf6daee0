/* SPDX-License-Identifier: GPL-2.0-only
 *
 * One step of a trace (trace.h): workers run, the policy decides, what it decided is queued.
 * Contract: included behind a policy; the same text in decide.bpf.c and in twin.c. Pure but for the states it is
 * given. decide_step() returns what the policy did, whatever that is; step_queued() takes only slots that exist.
 */
#ifndef OVERSPRAY_DECIDE_H
#define OVERSPRAY_DECIDE_H

#include "policy.h"
#include "trace.h"

/* So many packets into a queue: how many of them had room. */
static ALWAYS_INLINE __u32 step_enqueue(struct worker *worker, __u64 packets, __u64 room)
{
	__u64 waiting = worker->sent - worker->lost - worker->done;
	__u64 fits = waiting < room ? room - waiting : 0;
	__u64 kept = packets < fits ? packets : fits;

	worker->sent += packets;
	worker->lost += packets - kept;
	return (__u32)kept;
}

static ALWAYS_INLINE void step_run(struct worker *worker, const struct step *step)
{
	__u64 waiting;

	worker->clearing.through = worker->done; /* a later batch begins */
	step_enqueue(worker, step->others, step->room);
	waiting = worker->sent - worker->lost - worker->done;
	worker->done += step->take < waiting ? step->take : waiting;
}

static ALWAYS_INLINE void step_workers(struct workers *workers, const struct step *step)
{
	for (__u32 place = 0; place < MAX_WORKERS; place++) {
		if (place >= workers->count)
			break;
		if (step->worker == EVERY_WORKER || step->worker == place)
			step_run(&workers->worker[place], step);
	}
}

static ALWAYS_INLINE __u32 decide_step(const struct step *step, const struct packet *packet,
				       const struct knobs *knobs, struct policy_flow *flow,
				       struct policy_core *core, struct workers *workers)
{
	step_workers(workers, step);
	return policy_slot(packet, knobs, flow, core, workers);
}

/* Whether the packet is in that slot's queue now; the local slot has none. */
static ALWAYS_INLINE bool step_queued(struct workers *workers, __u32 slot, const struct step *step)
{
	if (slot == LOCAL_SLOT || slot > workers->count || slot > MAX_WORKERS)
		return false;
	return step_enqueue(&workers->worker[(slot - 1) & (MAX_WORKERS - 1)], 1, step->room);
}

#endif
