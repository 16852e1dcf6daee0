/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What user space tells the TCP wire, and what it remembers of its connections.
 * Contract: places in the stream count from 0 at the first byte that the wire sends, in 64 bits, so
 * that nothing but the frames knows of 32-bit sequence numbers that wrap. A segment starts at a
 * multiple of `segment`. Ports in host byte order. Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_WIRE_TCP_H
#define OVERSPRAY_WIRE_TCP_H

#define TCP_WIRE_MAX_FLOWS 256
#define TCP_WIRE_WORDS 20 /* 160 bytes: two IPv6 headers and timestamps take 156 */
#define TCP_WIRE_SHARE 20 /* shares of frames are in 2^-20 */

struct tcp_wire {
	__u64 patience; /* ns without progress after which it goes back to what was acknowledged */
	__u64 epoch;    /* ns at which a connection's timestamp had its first value */
	__u32 segment;  /* payload of a frame, bytes */
	__u32 port;     /* the wire's, of flow 0; flow i has port + i */
	__u32 sink;     /* the receiver's port */
	__u32 flows;
	__u32 ending;    /* 1: nothing new is sent, what was lost still is */
	__u32 lost;      /* share of the frames that are left out on purpose */
	__u32 doubled;   /* that are sent twice */
	__u32 overtaken; /* that are sent three frames late */
};

/* The sending end; only its wire thread writes here. */
struct tcp_flow {
	__u64 next;     /* place of the segment that is sent next */
	__u64 most;     /* no byte from here on was ever sent */
	__u64 seen;     /* acknowledged, when we last looked */
	__u64 since;    /* ns: since when it is that much */
	__u64 held;     /* place of a segment that is kept back */
	__u32 hold;     /* turns for which it still is; 0: none is */
	__u32 first;    /* sequence number of place 0 */
	__u32 stamp;    /* timestamp (RFC 7323) at the epoch, ms */
	__u32 sum;      /* of what the TCP checksum covers, but sequence, timestamp and payload stamp */
	__u64 words[TCP_WIRE_WORDS]; /* the headers */
};

/* The receiving end as its acknowledgements tell; a cache line of its own. Cores that take in two of
 * them at once may write the older one last: the next one puts it right. */
struct tcp_peer {
	__u64 acked; /* all before this place has arrived */
	__u64 edge;  /* nothing from this place on may be sent */
	__u32 first; /* as above */
	__u32 shift; /* window scale */
	__u32 active; /* 1: acknowledgements are for us, not for the stack */
	__u32 ended;  /* it said FIN or RST */
	__u64 line[4];
};

/* Frames that a host loses on its way out, and the random number that says which. */
struct lossy {
	__u32 random; /* not 0 */
	__u32 share;  /* of 2^32 */
	__u64 lost;
};

/* In front of every segment's payload. The rest is the same in all: byte i is TCP_FILL(i). */
struct tcp_stamp {
	__u64 place;    /* of this segment */
	__u64 intended; /* CLOCK_MONOTONIC ns at which it should have left */
};

#endif
