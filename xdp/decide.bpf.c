// SPDX-License-Identifier: GPL-2.0-only
/*
 * A policy on a trace, one step a run: for `overspray policy check`, which compares it with twin.c. Compiled
 * together with steer.bpf.c, so that it is the policy that the NIC stage has. Its maps can be mapped, and are
 * written before and read after; one run after the other. For tc: a test run of an XDP program waits for RCU.
 */
#include "decide.h"

BPF_F_TABLE("array", __u32, struct packet, decide_packets, TRACE_KERNEL, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, struct step, decide_steps, TRACE_KERNEL, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, __u64, decide_slots, TRACE_KERNEL, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, struct policy_flow, decide_flows, MAX_FLOWS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, struct policy_core, decide_cores, TRACE_CORES, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, __u64, decide_next, 1, BPF_F_MMAPABLE);

int decide(struct __sk_buff *skb)
{
	__u32 zero = 0, at, index;
	__u64 *next = decide_next.lookup(&zero), *slot;
	struct workers *all = workers.lookup(&zero);
	struct knobs *knob = knobs.lookup(&zero);
	struct policy_flow *flow;
	struct policy_core *core;
	struct packet *packet;
	struct step *step;

	if (!next || !all || !knob)
		return 0;
	at = (__u32)*next;
	packet = decide_packets.lookup(&at);
	step = decide_steps.lookup(&at);
	slot = decide_slots.lookup(&at);
	if (!packet || !step || !slot)
		return 0;
	index = packet->flow & (MAX_FLOWS - 1);
	flow = decide_flows.lookup(&index);
	index = step->core & (TRACE_CORES - 1);
	core = decide_cores.lookup(&index);
	if (!flow || !core)
		return 0;
	index = decide_step(step, packet, knob, flow, core, all);
	step_queued(all, index, step);
	*slot = index;
	*next += 1;
	return 0;
}
