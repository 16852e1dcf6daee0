/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The first 18 bytes of every payload that the wire sends: what the sinks count by.
 * Contract: host byte order (sender and receiver are one machine); 18 bytes, for that is the UDP
 * payload of the smallest Ethernet frame. Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_STAMP_H
#define OVERSPRAY_STAMP_H

struct stamp {
	__u32 run;      /* which run sent it: a late packet of an earlier run does not count */
	__u16 flow;     /* index of the flow */
	__u32 sequence; /* of the flow, from 0 */
	__u64 intended; /* CLOCK_MONOTONIC ns at which it should have left */
} __attribute__((packed));

#endif
