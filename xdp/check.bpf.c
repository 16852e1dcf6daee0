// SPDX-License-Identifier: GPL-2.0-only
/*
 * A policy alone in the kernel, for `overspray policy check`: the frame is a struct step, what the
 * program returns is the slot. So packets, time, backlogs and state are what the check says, and the
 * decisions can be compared with those of the same text in user space (host/host.c). Test runs only.
 */
#include "backlog.h"
#include "maps.h"
#include "step.h"

#include "knobs.h"  /* generated from the policy's Python half */
#include POLICY

BPF_ARRAY(knobs, struct knobs, 1);
BPF_ARRAY(flows, struct policy_flow, MAX_FLOWS);
BPF_ARRAY(cores, struct policy_core, 1); /* one, whichever core the test run is on */
BPF_ARRAY(workers, struct workers, 1);

int check(struct xdp_md *ctx)
{
	struct step *step = (void *)(long)ctx->data;
	__u32 zero = 0;
	struct policy_core *core = cores.lookup(&zero);
	struct workers *all = workers.lookup(&zero);
	struct knobs *knob = knobs.lookup(&zero);
	struct policy_flow *flow;
	struct packet packet;

	if ((void *)(step + 1) > (void *)(long)ctx->data_end || !core || !all || !knob)
		return STEP_BROKEN;
	packet = step->packet; /* on the stack, as in the NIC stage */
	flow = flows.lookup(&packet.flow);
	if (!flow)
		return STEP_BROKEN;
	set_worker(all, step);
	return policy_slot(&packet, knob, flow, core, all);
}
