/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What user space tells the wire, and what the wire remembers.
 * Contract: one wire thread writes the state; user space does so only between two calls.
 * The compilation gives what never changes: HEADER_BYTES, the length of all headers, INNER, that of the
 * tunnel's (0: there is none), and IP_VERSION, of the packet that is in it, or alone.
 * Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_WIRE_H
#define OVERSPRAY_WIRE_H

#define WIRE_WORDS 17 /* 136 bytes: outer and inner IPv6 headers take 132 */

struct wire_config {
	__u64 header[WIRE_WORDS]; /* all headers; ports and the UDP checksum are filled in */
	__u64 interval;   /* ns from one batch to the next; 0: as fast as it goes */
	__u32 sum;        /* ones' complement sum of what the UDP checksum covers besides port and stamp */
	__u32 outer_sum;  /* the same of the outer one; 0: it is not filled in */
	__u32 flows;      /* sent in turn */
	__u32 containers; /* flow i is for container i modulo this; their addresses count up by one */
	__u32 first_port; /* UDP source port of flow 0 */
	__u32 outer_port; /* outer UDP source port of flow 0 */
	__u32 run;        /* for the stamp */
	__u32 batch;      /* frames a kernel batch */
	__u32 port_id;    /* of the map wire_port */
};

struct wire_state {
	__u64 now;      /* intended time of this kernel batch */
	__u64 due;      /* of the next one, where there is an interval */
	__u64 left;     /* frames yet to be sent */
	__u32 turn;     /* frame within the kernel batch */
	__u32 idle;     /* 1: this kernel batch is not due yet */
	__u32 flow;     /* of the next frame */
	__u32 sequence; /* of the next frame */
};

#endif
