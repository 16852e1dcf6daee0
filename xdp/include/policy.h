/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The contract between the datapath and a steering policy.
 *
 * A policy is a header that defines
 *
 *     struct policy_flow { ... };      what it remembers of a flow (at most FLOW_STATE_BYTES, zeroed)
 *     struct policy_core { ... };      what it remembers on a NIC core (zeroed)
 *     policy_slot(packet, knobs, flow, core, workers)    its decision
 *
 * It returns a slot: 0 is this core (no handoff), 1 .. workers->count are the workers. Anything else
 * is refused by the datapath, counted, and the packet takes the stock path.
 * What costs something to know is known only to a policy whose Python half says that it needs it.
 * Pure unsigned integer code on its arguments: no maps, no helpers, no division by zero (0 in BPF,
 * a trap on the host), so that the same text decides alike in the kernel and in user space.
 * struct knobs is generated from the policy's Python half. So is, where that names counters, enum
 * policy_counter: then struct policy_core begins with `__u64 count[POLICY_COUNTERS];`, and people are
 * shown core->count[COUNT_NAME] by its name. This file and the structs below are
 * declarations only: Python reads them.
 */
#ifndef OVERSPRAY_POLICY_H
#define OVERSPRAY_POLICY_H

#define POLICY_VERSION 1
#define MAX_WORKERS 64
#define FLOW_STATE_BYTES 64
#define LOCAL_SLOT 0

/* What a policy may know of the packet at no cost beyond parsing. */
struct packet {
	__u64 now;      /* ns, monotonic; 0 unless the policy needs the `time` (20 ns) */
	__u32 hash;     /* of the inner 5-tuple */
	__u32 flow;     /* index of the flow's state */
	__u32 container; /* number of the one it is for: the lowest that was free when it was found */
	__u16 length;   /* of the inner frame, bytes */
	__u8 protocol;  /* inner IP protocol: 6 TCP, 17 UDP */
	__u8 tcp_flags; /* inner TCP flags, 0 for UDP */
	__u16 queue;    /* receive queue it arrived on */
	__u8 clear;     /* 1: no packet of this flow is on its way any more; needs `clear`, else 0 */
	__u8 pressed;   /* 1 to 8: this core's receive polls were full lately; needs `pressure`, else 0 */
	__u32 pad;
};

/* One worker's queue, seen from both ends; each end has a cache line of its own. */
struct worker {
	__u64 sent; /* handed over by the NIC cores */
	__u64 lost; /* of these, dropped on the way into the queue, as the kernel reports it */
	__u64 core; /* which core that is */
	__u64 thread; /* and its thread's number */
	__u64 sent_line[4];
	__u64 done; /* taken out by the worker, as the kernel reports after every bulk of 8 */
	__u64 started;  /* of these, begun to be delivered (tc); needs `clear` */
	__u64 finished; /* of these, through the whole stack; needs `clear` */
	__u64 yielded;  /* times that the worker had to leave its core to another; needs `yields` */
	__u64 batches; /* bulks taken out */
	__u64 done_line[3];
};

/* Slot s is worker[s - 1]. */
struct workers {
	__u32 count;
	__u32 pad[31];
	struct worker worker[MAX_WORKERS];
};

#endif
