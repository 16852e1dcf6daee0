/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Names of every count that our programs keep, one enum a program.
 * Contract: an enumerator is the index into that program's per-core counters; the comment behind it
 * is what people are shown. All programs run with bottom halves off, so that on one core no two
 * increments interleave and a plain ++ is exact. Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_COUNTERS_H
#define OVERSPRAY_COUNTERS_H

enum wire_counter {
	WIRE_SENT,         /* frames that were to go to the wire's device */
	WIRE_IDLE,         /* turns in which nothing was due */
	WIRE_DROP_RING,    /* lost at the device: the NIC's ring was full */
	WIRE_DROP_REFUSED, /* never taken by the device: it is down, or its NIC has no NAPI */
	WIRE_COUNTERS
};

enum seen_counter {
	SEEN_FRAMES, /* arrived on a NIC that only counts */
	SEEN_COUNTERS
};

enum steer_counter {
	STEER_SEEN,          /* frames that arrived on the NIC */
	STEER_LOCAL,         /* stripped, and delivered from the NIC's core */
	STEER_REMOTE,        /* handed to a worker */
	STEER_PASS_OTHER,    /* not VXLAN over IP, not to the NIC's address: stock path */
	STEER_PASS_FRAGMENT, /* outer or inner fragment: stock path */
	STEER_PASS_OPTIONS,  /* IPv4 options, or IPv6 extension headers: stock path */
	STEER_PASS_VLAN,     /* a VLAN tag outside or inside: not steered, stock path */
	STEER_PASS_LENGTH,   /* too short, lengths that don't agree with it, or beyond the MTU: stock path */
	STEER_PASS_FLAGS,    /* no VXLAN, or flags and reserved bits that we don't know: stock path */
	STEER_PASS_CHECKSUM, /* outer checksum that is wrong, can't be confirmed, or is missed: stock path */
	STEER_PASS_INNER,    /* inner frame is not plain UDP or TCP over IP from a host: stock path */
	STEER_PASS_ECN,      /* congestion mark on a packet that can't carry it (RFC 6040): stock path */
	STEER_PASS_UNKNOWN,  /* no container of ours by VNI, port, VTEPs and inner MAC: stock path */
	STEER_REFUSED_SLOT,  /* the policy returned a slot that does not exist: stock path */
	STEER_DROP_STRIP,    /* the tunnel could not be taken off */
	STEER_COUNTERS
};

enum deliver_counter {
	DELIVER_TAKEN,       /* frames that a worker took out of its queue */
	DELIVER_BULKS,       /* times that a worker looked into its queue and found some */
	DELIVER_NUMBERED,    /* frames that bore a number, while somebody watched their order */
	DELIVER_REORDERED,   /* of these, behind a later one of their flow (RFC 4737) */
	DELIVER_DROP_PROOF,  /* frames in its queue without our proof */
	DELIVER_DROP_STRIP,  /* the tunnel could not be taken off */
	DELIVER_DROP_MEMORY, /* frames for which there was no memory */
	DELIVER_DROP_DEVICE, /* never taken by the container's veth: down, gone, or without NAPI */
	DELIVER_DROP_RING,   /* the ring of the container's veth was full */
	DELIVER_COUNTERS
};

enum peer_counter {
	PEER_PACKETS,  /* after GRO, handed into a container */
	PEER_SEGMENTS, /* frames that were in them */
	PEER_STOCK,    /* packets without our metadata: stock path */
	PEER_COUNTERS
};

enum sink_counter {
	SINK_DELIVERED, /* packets of this run that reached a socket */
	SINK_BYTES,     /* their UDP payload */
	SINK_FOREIGN,   /* packets of another run, or not from the wire */
	SINK_UNLOGGED,  /* samples for which the log had no room */
	SINK_COUNTERS
};

enum observe_counter {
	OBSERVE_SOFTIRQS, /* times that a core entered its softirq for received packets (NET_RX) */
	OBSERVE_POLLS,    /* NAPI polls */
	OBSERVE_POLLED,   /* packets that they took; on its way a packet is polled at several places */
	OBSERVE_BULKS,    /* bulks of frames that a cpumap thread took out of its queue */
	OBSERVE_BULKED,   /* frames in them */
	OBSERVE_SLEEPS,   /* times that a cpumap thread slept, or made way, before it looked into its queue */
	OBSERVE_SWITCHES, /* context switches, to and from idle as well */
	OBSERVE_IPIS,     /* interrupts that cores got from other cores: to call a function, to schedule */
	OBSERVE_COUNTERS
};

enum freed_counter {
	FREED_UNNAMED, /* packets for whose place and reason there was no room */
	FREED_COUNTERS
};

enum ends_counter {
	ENDS_PACKETS,  /* as the IP stack of the path's end had them, after GRO */
	ENDS_SEGMENTS, /* packets that were in them */
	ENDS_COUNTERS
};

#endif
