/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What user space tells the wire, and what the wire remembers.
 * Contract: one wire_settings and one wire_state a core, for each receive queue may have a wire thread
 * of its own. HEADER_BYTES, the headers up to the UDP payload, is given by the compilation.
 * Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_WIRE_H
#define OVERSPRAY_WIRE_H

#define WIRE_MAX_FLOWS 1024
#define WIRE_LONGEST_WAIT 50000 /* ns that a batch without packets may take */
#define WIRE_GAPS 4096 /* quantiles of the gap, a power of two */
#define WIRE_WORDS 17  /* 136 bytes: outer and inner IPv6 headers take 132 */

struct wire_settings {
	__u64 gap;   /* ns between bursts, on average; 0: as fast as it goes */
	__u64 hold;  /* ns that the first packet of a release waits for others */
	__u64 limit; /* packets to send at the most */
	__u64 late;  /* ns after its time from which a packet counts as late */
	__u32 batch; /* calls in a kernel batch */
	__u32 burst; /* packets with the same intended time */
	__u32 train; /* consecutive packets of one flow */
	__u32 first; /* index of the first flow of this thread */
	__u32 flows; /* and how many */
	__u32 random; /* 1: gaps are drawn from wire_gaps */
	__u32 heavy; /* consecutive packets of this thread's first flow */
};

struct wire_state {
	__u64 now;  /* at the start of this kernel batch */
	__u64 next; /* intended time of the next packet */
	__u64 sent;
	__u64 sent_before; /* this kernel batch */
	__u32 turn; /* call within the kernel batch */
	__u32 open; /* a release is going on */
	__u32 in_burst;
	__u32 in_train;
	__u32 flow;
	__u32 random;
};

struct wire_flow {
	__u32 sequence; /* of the next packet */
	__u32 sum;      /* of all that the UDP checksum covers but sequence and time */
	__u32 run;
	__u16 id;
	__u16 pad;
	__u64 words[WIRE_WORDS]; /* the headers */
};

#endif
