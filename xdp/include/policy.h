/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The contract between the datapath and a steering policy.
 *
 * Contract: a policy is a header that defines
 *
 *     struct policy_flow { ... };   what it remembers of a flow (at most FLOW_STATE_BYTES, zeroed)
 *     struct policy_core { ... };   what it remembers on a NIC core (zeroed)
 *     policy_slot(packet, knobs, flow, core, workers)    its decision
 *
 * It returns a slot: 0 is this core (no handoff), 1 .. workers->count are the workers. Anything else is
 * refused by the datapath, counted, and the packet takes the stock path. Pure unsigned integer code on its
 * arguments: no maps, no helpers, no division by zero (0 in BPF, a trap on the host), so that the same
 * text decides alike in the kernel and in user space. Two flows of one hash share a state, and NIC cores
 * may race for it: it is a hint, never trusted. struct knobs is generated from the policy's Python half.
 * Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_POLICY_H
#define OVERSPRAY_POLICY_H

#define MAX_WORKERS 64
#define FLOW_STATE_BYTES 56
#define LOCAL_SLOT 0

/* What a policy may know of the packet. */
struct packet {
	__u64 now;      /* ns, monotonic; 0 unless the Python half says `needs_time` */
	__u32 hash;     /* of the inner 5-tuple */
	__u32 flow;     /* index of the flow's state */
	__u16 length;   /* of the inner frame, bytes */
	__u16 queue;    /* receive queue it arrived on */
	__u8 protocol;  /* inner IP protocol: 6 TCP, 17 UDP */
	__u8 pad[3];
};

/* One worker's queue, seen from both ends; each end has a cache line of its own. */
struct worker {
	__u64 sent; /* handed over by the NIC cores */
	__u64 lost; /* of these, dropped on the way into the queue, as the kernel reports it */
	__u64 core; /* which core that is */
	__u64 sent_line[5];
	__u64 done; /* taken out by the worker */
	__u64 done_line[7];
};

/* Slot s is worker[s - 1]. */
struct workers {
	__u32 count;
	__u32 pad[31];
	struct worker worker[MAX_WORKERS];
};

#endif
