/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What user space tells the sink, and what the sink logs.
 * Contract: a packet is sampled when (sequence & sample_mask) < sample_below. Declarations only:
 * Python reads this file.
 */
#ifndef OVERSPRAY_SINK_H
#define OVERSPRAY_SINK_H

#define SINK_FLOWS 1024 /* flows that are counted each: WIRE_MAX_FLOWS */

struct sink_settings {
	__u32 run;
	__u32 sample_mask;
	__u32 sample_below;
	__u32 log_entries; /* a core's share of the log */
};

/* Latency is told apart by this: the first flow, and all others. */
enum sink_class {
	SINK_FIRST,
	SINK_OTHERS,
	SINK_CLASSES
};

struct arrival {
	__u64 time; /* ns, monotonic */
	__u32 sequence;
	__u32 flow;
};

/* Sink of TCP: what reaches a socket, packet (after GRO) by packet. */
struct tcp_sink_settings {
	__u32 segment;      /* payload of one, bytes */
	__u32 port;         /* the sender's, of flow 0 */
	__u32 flows;
	__u32 sample_mask;
	__u32 sample_below;
	__u32 log_entries;
};

/* Cores that deliver at once race for it: early and old are known to a packet or so, the log is exact. */
struct tcp_sink_flow {
	__u32 first;   /* sequence number of the stream's first byte */
	__u32 highest; /* the byte after the last one seen */
};

#endif
