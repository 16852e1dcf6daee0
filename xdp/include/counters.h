/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Names of every count that our programs keep, one enum a program.
 * Contract: an enumerator is the index into that program's per-core counters; the comment behind it
 * is what people are shown. Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_COUNTERS_H
#define OVERSPRAY_COUNTERS_H

enum steer_counter {
	STEER_SEEN,               /* frames that arrived on the NIC */
	STEER_LOCAL,              /* stripped and delivered on the NIC's core */
	STEER_REMOTE,             /* handed to a worker */
	STEER_PASS_OTHER,         /* not VXLAN over plain IPv4 or IPv6: stock path */
	STEER_PASS_FRAGMENT,      /* outer or inner fragment: stock path */
	STEER_PASS_OPTIONS,       /* IP options or extension headers: stock path */
	STEER_PASS_LENGTH,        /* lengths that do not agree with the frame: stock path */
	STEER_PASS_FLAGS,         /* no VXLAN header, or flags and reserved bits we do not know: stock path */
	STEER_PASS_CHECKSUM,      /* outer UDP checksum that can't be confirmed: stock path */
	STEER_PASS_TUNNEL,        /* unknown VNI, port, local address or remote VTEP: stock path */
	STEER_PASS_ENDPOINT,      /* inner destination MAC unknown behind that VNI: stock path */
	STEER_PASS_SENDER,        /* inner source MAC that is fixed behind another VTEP: stock path */
	STEER_PASS_INNER,         /* inner packet is not plain UDP or TCP: stock path */
	STEER_PASS_ECN,           /* congestion mark on a packet that can't carry it (RFC 6040): stock path */
	STEER_REFUSED_SLOT,       /* policy returned a slot that does not exist: stock path */
	STEER_REFUSED_ROOM,       /* no room for metadata or no change of headers: stock path */
	STEER_DROP_STRIP,         /* the tunnel could not be taken off */
	STEER_COUNTERS
};

enum deliver_counter {
	DELIVER_VETH,             /* frames that a worker handed to a container's veth */
	DELIVER_DROP_PROOF,       /* frames in a worker's queue without our metadata */
	DELIVER_DROP_DEVICE,      /* frames that a worker could not hand to a veth: down, or gone */
	DELIVER_DROP_MEMORY,      /* frames for which a worker got no memory */
	DELIVER_COUNTERS
};

enum peer_counter {
	PEER_DELIVERED,           /* packets (after GRO) handed on to a container */
	PEER_SEGMENTS,            /* frames that were in them */
	PEER_STOCK,               /* packets without our metadata: stock path */
	PEER_COUNTERS
};

enum back_counter {
	BACK_SEEN,                /* pure acknowledgements from a container */
	BACK_SHORT,               /* put into the tunnel and sent out of the NIC here */
	BACK_STOCK,               /* of streams or on ways that we do not know: stock path */
	BACK_DROPPED,             /* duplicates that told of nothing but our own disorder */
	BACK_BLANKED,             /* with progress, from which SACK blocks were blanked */
	BACK_DSACK,               /* duplicates that tell what came twice: passed on */
	BACK_LATE,                /* duplicates passed on, for there was no progress for too long */
	BACK_DISARMED,            /* times that a queue of ours had lost a packet */
	BACK_COUNTERS
};

enum order_counter {
	ORDER_SEEN,               /* packets (after GRO) looked at */
	ORDER_MOVED,              /* on another core than the one before of their flow */
	ORDER_BACK,               /* TCP segments that start before one that was seen already */
	ORDER_COUNTERS
};

enum wire_counter {
	WIRE_SENT,                /* frames handed to the NIC */
	WIRE_IDLE,                /* turns with nothing due */
	WIRE_SPUN,                /* ns of waiting: kernel batches in which nothing was due */
	WIRE_LATE,                /* frames that left more than 100 us after their time */
	WIRE_BLOCKED,             /* TCP: turns in which the window was shut */
	WIRE_RESENT,              /* TCP: frames that had been sent before */
	WIRE_REWOUND,             /* TCP: times that nothing was acknowledged for long */
	WIRE_PROBES,              /* TCP: frames that asked whether the window is still shut */
	WIRE_LOST,                /* TCP: frames left out on purpose */
	WIRE_DOUBLED,             /* TCP: frames sent twice on purpose */
	WIRE_OVERTAKEN,           /* TCP: frames sent late on purpose */
	WIRE_ACKS,                /* TCP: acknowledgements that came back */
	WIRE_DUPLICATES,          /* TCP: of these, with nothing new */
	WIRE_SACKS,               /* TCP: with SACK blocks: what came out of order */
	WIRE_DSACKS,              /* TCP: of these, about what came twice */
	WIRE_COUNTERS
};

enum sink_counter {
	SINK_DELIVERED,           /* packets of this run */
	SINK_BYTES,               /* their UDP payload */
	SINK_FOREIGN,             /* packets of another run, or not from the wire */
	SINK_UNLOGGED,            /* sampled packets for which the log had no room */
	SINK_COUNTERS
};

enum tcp_sink_counter {
	TCP_SINK_PACKETS,         /* packets (after GRO) with payload that reached the sockets */
	TCP_SINK_SEGMENTS,        /* segments that were in them */
	TCP_SINK_EARLY,           /* packets that start behind a gap */
	TCP_SINK_LATE,            /* packets that start before what was seen already */
	TCP_SINK_UNLOGGED,        /* sampled packets for which the log had no room */
	TCP_SINK_COUNTERS
};

#endif
