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
 * text decides alike in the kernel and in user space: `overspray policy check` compares them.
 *
 * What it may know, and what that costs:
 *   packet   its facts: nothing, they are in registers or in this core's cache; `now`: a clock for every packet,
 *            read only if the Python half says `needs_time`
 *   knobs    nothing. struct knobs is generated from the Python half, one __u32 a knob. They may change between
 *            any two packets, each to a value in its range, and be seen half new
 *   flow     nothing more: it lies beside what proves the packet, which was just read. Two flows of one hash
 *            share a state, and NIC cores may race for it: it is a hint, never trusted
 *   core     a cache line that only this core writes. Members whose names begin with `count_` are counters of the
 *            policy's own, by which it may be watched: __u64, and never set back
 *   workers  each worker's backlog: a cache line that its core has just written, so once a cell rather than once a
 *            packet (backlog.h). Only we write them, and what the kernel drops is in `lost`
 *            Which packets are past a worker's core, too, is known only if the Python half says `needs_through`: a clock for
 *            every batch of a worker, and `through` of its clearing, once a pause rather than once a packet
 *
 * Another version of this contract has another number, and the Python half says for which it was written.
 * Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_POLICY_H
#define OVERSPRAY_POLICY_H

#define POLICY_CONTRACT 1
#define MAX_WORKERS 64
#define FLOW_STATE_BYTES 56
#define LOCAL_SLOT 0
#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4

/* What a policy may know of the packet. */
struct packet {
	__u64 now;      /* ns, monotonic; 0 unless the Python half says `needs_time` */
	__u32 hash;     /* of the inner 5-tuple */
	__u32 flow;     /* index of the flow's state */
	__u16 length;   /* of the inner frame, bytes */
	__u16 queue;    /* receive queue it arrived on */
	__u8 protocol;  /* inner IP protocol: 6 TCP, 17 UDP */
	__u8 flags;     /* TCP's (TCP_SYN …), 0 of UDP */
	__u8 pad[2];
};

/* What is past all that runs on a core: see clear.h, which keeps it. */
struct clearing {
	__u64 through; /* of the packets that the core has taken, so many are */
	__u64 mark;    /* so many will be next */
	__u64 since;   /* when that was set, ns */
	__u64 behind;  /* packets taken since, from a jiffy after it on */
};

/* One worker's queue, seen from both ends; each end has a cache line of its own. */
struct worker {
	__u64 sent; /* handed over by the NIC cores */
	__u64 lost; /* of these, dropped on the way into the queue, as the kernel reports it */
	__u64 core; /* which core that is */
	__u64 sent_line[5];
	__u64 done; /* taken out by the worker */
	struct clearing clearing; /* 0 unless the Python half says `needs_through` */
	__u64 done_line[3];
};

/* Slot s is worker[s - 1]. */
struct workers {
	__u32 count;
	__u32 pad[31];
	struct worker worker[MAX_WORKERS];
};

#endif
