/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What user space tells the wire, and what the wire remembers.
 * Contract: each sending thread has a core, and so a lane, of its own, and alone writes it; user space does so
 * only between two calls.
 * The compilation gives what never changes: HEADER_BYTES, the length of all headers, INNER, that of the
 * tunnel's (0: there is none), and IP_VERSION, of the packet that is in it, or alone.
 * Declarations only: Python reads this file.
 */
#ifndef OVERSPRAY_WIRE_H
#define OVERSPRAY_WIRE_H

#define MOST_TURNS 8192 /* places of all lanes together, and so is MOST_GAPS */
#define MOST_GAPS 65536 /* of batches, and of frames */
#define WIRE_WORDS 17 /* 136 bytes: outer and inner IPv6 headers take 132 */

struct wire_config {
	__u64 header[WIRE_WORDS]; /* all headers; ports and the UDP checksum are filled in */
	__u32 sum;        /* ones' complement sum of what the UDP checksum covers besides port and stamp */
	__u32 outer_sum;  /* the same of the outer one; 0: it is not filled in */
	__u32 containers; /* flow i is for container i modulo this; their addresses count up by one */
	__u32 first_port; /* UDP source port of flow 0 */
	__u32 outer_port; /* outer UDP source port of flow 0 */
	__u32 run;        /* for the stamp */
	__u32 batch;      /* frames a kernel batch */
	__u32 port_id;    /* of the map wire_port */
};

/* A lane's frames are of the flows in its part of a table, taken in turn: one that stands there twice gets
 * two shares. */
struct wire_turn {
	__u16 flow;
	__u16 step;     /* places that the flow has in the table: from one of its sequence numbers here to the next */
	__u32 sequence; /* of the next frame from this place */
};

/* What the NIC hands over at once, and when. Worked out beforehand: the verifier dislikes long loops. */
struct wire_batch {
	__u64 gap; /* ns from the hand-over before */
	__u32 frames;
	__u32 pad;
};

struct wire_lane {
	__u64 release;     /* intended time of the last hand-over that was due; 0: none yet */
	__u64 arrival;     /* intended time of the last frame */
	__u64 left;        /* frames yet to be sent */
	__u32 first_turn;  /* where its part of the turns begins */
	__u32 turns;       /* places in that part */
	__u32 turn;        /* next of them */
	__u32 first_batch; /* and so on */
	__u32 batches;     /* 0: as fast as they go */
	__u32 batch;
	__u32 first_gap;
	__u32 gaps;        /* 0: the frames of a batch arrive when it is handed over */
	__u32 gap;
	__u32 place;       /* frame within the kernel batch */
	__u32 ready;       /* frames of this kernel batch that are sent */
	__u32 pad;
};

#endif
